package rootfs

import (
	"context"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// collector gathers entries for one query.
type collector struct {
	tree    *tree
	query   node.Query
	entries map[string]node.Entry
	total   int64
	// hide holds paths, links resolved, that are passed over.
	hide map[string]bool
	// hidden holds why nothing is known of a path, since boot hides it.
	hidden map[string]string
}

// collect answers q from the tree, passing over the paths in hide.
func (t *tree) collect(ctx context.Context, q node.Query, hide map[string]bool) (*node.Node, error) {
	c := &collector{tree: t, query: q, entries: map[string]node.Entry{}, hide: hide, hidden: map[string]string{}}
	for _, p := range q {
		if err := c.pick(ctx, p); err != nil {
			return nil, err
		}
	}
	list := make([]node.Entry, 0, len(c.entries))
	for _, e := range c.entries {
		list = append(list, e)
	}
	return node.New(q, list).Hiding(c.hidden), nil
}

func (c *collector) pick(ctx context.Context, p node.Pick) error {
	if why := c.tree.hides(p.Path); why != "" {
		c.hidden[p.Path] = why
	}
	link, target, err := c.tree.deadLink(p.Path)
	if err != nil {
		return fmt.Errorf("cannot look at %w", err)
	}
	if link != "" {
		e := node.Entry{Path: p.Path, Kind: node.KindLink, Target: target}
		if link != p.Path {
			e.Unread = node.UnreadDead(link)
		}
		return c.put(e)
	}
	parent, err := c.tree.resolve(path.Dir(p.Path))
	if err != nil {
		return fmt.Errorf("cannot look at %w", err)
	}
	at := path.Join(parent, path.Base(p.Path))
	depth := p.Depth
	if depth == node.Deep {
		depth = node.MaxDepth
	}
	return c.visit(ctx, p, p.Path, c.tree.at(at), depth)
}

// visit collects the entry shown as p, which is at s in the tree with all
// parents resolved, and what lies up to depth levels below it.
func (c *collector) visit(ctx context.Context, pick node.Pick, p string, s spot, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fi, err := s.lstat()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look at %s: %w", p, cause(err))
	}
	e := node.Entry{Path: p}
	if fi.Mode()&fs.ModeSymlink != 0 {
		if e.Target, err = s.dir.Readlink(s.name); err != nil {
			return fmt.Errorf("cannot look at %s: %w", p, cause(err))
		}
		var to string
		if to, err = c.tree.resolve(s.path); err == nil {
			s = c.tree.at(to)
			fi, err = s.lstat()
		}
		if errors.Is(err, errLoop) || errors.Is(err, fs.ErrNotExist) {
			e.Kind = node.KindLink
			return c.put(e)
		}
		if err != nil {
			return fmt.Errorf("cannot look at %s: %w", p, cause(err))
		}
	}
	if why, found := node.HiddenBy(c.tree.hidden, path.Join("/", s.path)); found {
		c.hidden[p] = why
	}
	e.Mode = fi.Mode() & node.ModeBits
	e.UID, e.GID = ownerOf(fi)
	switch {
	case fi.Mode().IsRegular():
		e.Kind, e.Size = node.KindFile, fi.Size()
		if pick.Content {
			if err := c.read(&e, s); err != nil {
				return err
			}
		}
		if pick.Section != "" && e.Data == nil {
			e.Sections = c.sections(s, pick.Section)
		}
		return c.put(e)
	case fi.IsDir():
		e.Kind = node.KindDirectory
	default:
		e.Kind = node.KindOther
		return c.put(e)
	}
	switch {
	case depth == 0 && pick.Depth != node.Deep:
		return c.put(e)
	case e.Target != "" && p != pick.Path:
		if !c.query.Follows(p, pick.Content) {
			e.Unread = node.UnreadLink
		}
		return c.put(e)
	case depth == 0:
		e.Unread = node.UnreadDeep
		return c.put(e)
	}
	return c.list(ctx, pick, e, s, depth)
}

// list collects directory e, which is at s, and what is in it.
func (c *collector) list(ctx context.Context, pick node.Pick, e node.Entry, s spot, depth int) error {
	f, err := s.open()
	if err == nil {
		defer f.Close()
		s.dir, err = s.dir.OpenRoot(s.name)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.Unread = cause(err).Error()
		return c.put(e)
	}
	defer s.dir.Close()
	// The directory goes in before its children, so that the limit on
	// entries stops a walk early.
	if err := c.put(e); err != nil {
		return err
	}
	for {
		names, err := f.Readdirnames(1024)
		for _, name := range names {
			child := spot{dir: s.dir, name: name, path: path.Join(s.path, name)}
			if c.hide[child.path] {
				continue
			}
			if !node.PlainName(name) {
				e.Unread = node.UnreadName
				continue
			}
			if err := c.visit(ctx, pick, path.Join(e.Path, name), child, depth-1); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			e.Unread = cause(err).Error()
			break
		}
	}
	return c.put(e)
}

// read fills in the bytes of file e, which is at s, or says why not.
func (c *collector) read(e *node.Entry, s spot) error {
	if have := c.entries[e.Path]; have.Data != nil {
		e.Data = have.Data
		return nil
	}
	if e.Unread = node.Unreadable(e.Path); e.Unread != "" {
		return nil
	}
	if e.Size > node.MaxFileSize {
		e.Unread = node.UnreadLarge
		return nil
	}
	if c.total+e.Size > node.MaxTotalSize {
		return fmt.Errorf("cannot collect %s: more than %d MiB of content", e.Path, node.MaxTotalSize>>20)
	}
	data, err := s.readFile()
	switch {
	case errors.Is(err, errLarge):
		e.Unread = node.UnreadLarge
	case err != nil:
		e.Unread = cause(err).Error()
	default:
		e.Data, e.Size = data, int64(len(data))
		c.total += e.Size
	}
	return nil
}

// sections reads the sections of a name of the EFI program at s; nil where it is
// none, or they are more than is collected.
func (c *collector) sections(s spot, name string) [][]byte {
	f, err := s.open()
	if err != nil {
		return nil
	}
	defer f.Close()
	program, err := pe.NewFile(f)
	if err != nil || len(program.Sections) == 0 { // as of a file of zeros
		return nil
	}
	out := [][]byte{}
	for _, section := range program.Sections {
		if section.Name != name {
			continue
		}
		size := int64(section.Size)
		if size > node.MaxFileSize || c.total+size > node.MaxTotalSize {
			return nil
		}
		data, err := section.Data()
		if err != nil {
			return nil
		}
		c.total += size
		out = append(out, data)
	}
	return out
}

var (
	errLarge   = errors.New(node.UnreadLarge)
	errChanged = errors.New("changed while it was read")
)

// readFile returns the bytes of the regular file at s.
func (s spot) readFile() ([]byte, error) {
	f, err := s.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return nil, err
	} else if !fi.Mode().IsRegular() {
		return nil, errChanged
	}
	data, err := io.ReadAll(io.LimitReader(f, node.MaxFileSize+1))
	if err == nil && len(data) > node.MaxFileSize {
		err = errLarge
	}
	return data, err
}

// put keeps e. Where two picks cover a path, what each of them learned stays.
func (c *collector) put(e node.Entry) error {
	if have, ok := c.entries[e.Path]; ok {
		if e.Data == nil {
			e.Data = have.Data
		}
		if e.Unread == "" {
			e.Unread = have.Unread
		}
		if e.Sections == nil {
			e.Sections = have.Sections
		}
	} else if len(c.entries) >= node.MaxEntries {
		return fmt.Errorf("cannot collect %s: more than %d entries", e.Path, node.MaxEntries)
	}
	c.entries[e.Path] = e
	return nil
}
