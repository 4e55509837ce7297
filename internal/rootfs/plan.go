package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// plan finds out which paths have to become different. It writes nothing and
// reports everything that is in the way at once.
func (x *transaction) plan(ctx context.Context, c node.Change) error {
	var errs []error
	try := func(p string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot change %s: %w", p, cause(err)))
		}
	}
	planned := map[string]string{} // resolved path → path as named
	// Parents first, whatever the order they came in.
	write := slices.SortedFunc(slices.Values(c.Write), func(a, b node.Entry) int { return strings.Compare(a.Path, b.Path) })
	for _, e := range write {
		if err := ctx.Err(); err != nil {
			return err
		}
		try(e.Path, x.planWrite(e, c.Keep[e.Path], planned))
	}
	for _, p := range slices.Sorted(maps.Keys(c.Links)) {
		try(p, x.planLink(p, c.Links[p], planned))
	}
	for _, p := range slices.Sorted(maps.Keys(c.Modes)) {
		try(p, x.planMode(p, c.Modes[p], planned))
	}
	for _, p := range c.Remove {
		try(p, x.planRemove(p, c.Keep[p], planned))
	}
	for _, p := range c.RemoveAll {
		if err := ctx.Err(); err != nil {
			return err
		}
		try(p, x.planRemoveAll(ctx, p, c.RemoveAll, planned))
	}
	return errors.Join(errs...)
}

func (x *transaction) planWrite(e node.Entry, keep string, planned map[string]string) error {
	at, fi, err := x.destination(e.Path)
	if err != nil {
		return err
	}
	if other, taken := planned[at]; taken {
		return fmt.Errorf("it is the same file as %s, through a symbolic link", other)
	}
	switch {
	case fi == nil:
	case e.Kind == node.KindDirectory && !fi.IsDir():
		return errors.New("it is there already and is not a directory")
	case e.Kind == node.KindFile && !fi.Mode().IsRegular():
		return errors.New("it is there already and is not a regular file")
	}
	if fi == nil {
		if err := x.planParents(path.Dir(e.Path), path.Dir(at), planned); err != nil {
			return err
		}
	}
	planned[at] = e.Path
	s := step{shown: e.Path, at: at, exists: fi != nil, old: fi, entry: e}
	if fi == nil {
		x.steps = append(x.steps, s)
		return nil
	}
	uid, gid := ownerOf(fi)
	same := fi.Mode()&node.ModeBits == e.Mode && uid == e.UID && gid == e.GID
	if e.Kind == node.KindFile {
		bytesSame, err := x.tree.sameContent(at, fi, e)
		if err != nil {
			return err
		}
		if !bytesSame && keep != "" {
			if err := x.planCopy(at, fi, keep, planned); err != nil {
				return err
			}
		}
		same = same && bytesSame
	}
	if !same {
		x.steps = append(x.steps, s)
	}
	return nil
}

// destination returns where writing to p ends up and what is there, nil for
// nothing. A symbolic link to something inside the root is written through,
// because its target is what K3s opens; one that leads nowhere is refused,
// because nothing says that its target is where the user wants the file.
func (x *transaction) destination(p string) (string, fs.FileInfo, error) {
	link, target, err := x.tree.deadLink(p)
	if err != nil {
		return "", nil, err
	}
	if link != "" {
		return "", nil, fmt.Errorf("%s is a symbolic link to %s, which leads nowhere", link, target)
	}
	at, err := x.tree.resolve(p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	if err != nil {
		return "", nil, errors.New("a parent of it is not a directory")
	}
	fi, err := x.tree.lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		fi, err = nil, nil
	}
	for dir := path.Dir(at); !x.above[dir]; dir = path.Dir(dir) {
		x.above[dir] = true
	}
	return at, fi, err
}

// planParents adds the directories that are missing above a new path.
func (x *transaction) planParents(shown, at string, planned map[string]string) error {
	if _, done := planned[at]; done {
		return nil
	}
	fi, err := x.tree.lstat(at)
	if err == nil {
		if !fi.IsDir() {
			return fmt.Errorf("%s is not a directory", shown)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := x.planParents(path.Dir(shown), path.Dir(at), planned); err != nil {
		return err
	}
	planned[at] = shown
	x.steps = append(x.steps, step{shown: shown, at: at, entry: node.Entry{Kind: node.KindDirectory, Mode: 0o755}})
	return nil
}

// planLink adds a symbolic link unless it is there.
func (x *transaction) planLink(p, to string, planned map[string]string) error {
	parent, dir, err := x.destination(path.Dir(p))
	if err != nil {
		return err
	}
	at := path.Join(parent, path.Base(p))
	if other, taken := planned[at]; taken {
		return fmt.Errorf("it is the same file as %s, through a symbolic link", other)
	}
	switch _, err := x.tree.lstat(at); {
	case err == nil:
		if found, err := x.tree.fs.Readlink(rel(at)); err != nil || found != to {
			return fmt.Errorf("it is there already and is not a symbolic link to %s", to)
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if dir == nil {
		if err := x.planParents(path.Dir(p), parent, planned); err != nil {
			return err
		}
	} else if !dir.IsDir() {
		return fmt.Errorf("%s is not a directory", path.Dir(p))
	}
	planned[at] = p
	x.steps = append(x.steps, step{shown: p, at: at, entry: node.Entry{Kind: node.KindLink, Target: to}})
	return nil
}

// planMode gives the file at p another mode, where one is.
func (x *transaction) planMode(p string, mode fs.FileMode, planned map[string]string) error {
	at, fi, err := x.there(p)
	if err != nil || fi == nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return errors.New("it is there already and is not a regular file")
	}
	if other, taken := planned[at]; taken {
		return fmt.Errorf("it is the same file as %s, through a symbolic link", other)
	}
	planned[at] = p
	if fi.Mode()&node.ModeBits == mode {
		return nil
	}
	e := node.Entry{Path: p, Kind: node.KindFile, Mode: mode}
	e.UID, e.GID = ownerOf(fi)
	x.steps = append(x.steps, step{shown: p, at: at, exists: true, old: fi, entry: e, kept: true})
	return nil
}

func (x *transaction) planRemove(p, keep string, planned map[string]string) error {
	at, fi, err := x.there(p)
	if err != nil || fi == nil {
		return err
	}
	if fi.IsDir() {
		return errors.New("it is a directory, and only files are removed")
	}
	if other, taken := planned[at]; taken {
		return fmt.Errorf("it is the same file as %s, through a symbolic link", other)
	}
	if keep != "" && fi.Mode().IsRegular() {
		if err := x.planCopy(at, fi, keep, planned); err != nil {
			return err
		}
	}
	planned[at] = p
	x.steps = append(x.steps, step{shown: p, at: at, exists: true, old: fi, remove: true})
	return nil
}

// there returns where p is, its parents resolved, and what is there, nil for
// nothing. A link there is itself and not what it leads to.
func (x *transaction) there(p string) (string, fs.FileInfo, error) {
	parent, fi, err := x.destination(path.Dir(p))
	if err != nil || fi == nil || !fi.IsDir() {
		return "", nil, err
	}
	x.above[parent] = true
	at := path.Join(parent, path.Base(p))
	fi, err = x.tree.lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil, nil
	}
	return at, fi, err
}

// planRemoveAll removes what is at p, whatever that is; of a directory that
// something is mounted on, what is in it. all are the paths that are removed so.
func (x *transaction) planRemoveAll(ctx context.Context, p string, all []string, planned map[string]string) error {
	at, fi, err := x.there(p)
	if err != nil || fi == nil {
		return err
	}
	below, err := x.tree.mountsBelow(ctx, at)
	if err != nil {
		return err
	}
	if below != "" {
		return fmt.Errorf("something is mounted on %s: unmount it, or keep what is there", below)
	}
	for _, other := range slices.Sorted(maps.Keys(planned)) {
		if node.Within(at, other) && !slices.Contains(all, planned[other]) {
			return fmt.Errorf("%s, which is to change too, lies there through a symbolic link", planned[other])
		}
	}
	targets := map[string]fs.FileInfo{at: fi}
	if mounted, err := x.tree.isMountPoint(at); err != nil {
		return err
	} else if mounted {
		if targets, err = x.tree.children(at); err != nil {
			return err
		}
		x.above[at] = true
	}
	for _, at := range slices.Sorted(maps.Keys(targets)) {
		if planned[at] != "" {
			continue // another name of it, through a symbolic link
		}
		planned[at] = p
		x.steps = append(x.steps, step{shown: p, at: at, exists: true, old: targets[at], remove: true})
	}
	return nil
}

// children are the entries of the directory at, resolved already.
func (t *tree) children(at string) (map[string]fs.FileInfo, error) {
	f, err := t.open(at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	out := map[string]fs.FileInfo{}
	for _, name := range names {
		if strings.HasPrefix(name, node.StagingPrefix) {
			continue
		}
		child := path.Join(at, name)
		if out[child], err = t.lstat(child); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// planCopy adds the copy of the file at from unless there is one already.
func (x *transaction) planCopy(from string, fi fs.FileInfo, keep string, planned map[string]string) error {
	parent, dir, err := x.destination(path.Dir(keep))
	if err != nil {
		return fmt.Errorf("its copy %s: %w", keep, err)
	}
	at := path.Join(parent, path.Base(keep))
	if _, err := x.tree.lstat(at); err == nil {
		return nil
	}
	if dir == nil {
		if err := x.planParents(path.Dir(keep), parent, planned); err != nil {
			return fmt.Errorf("its copy %s: %w", keep, err)
		}
	}
	data, err := x.tree.readFile(from)
	if err != nil {
		return err
	}
	planned[at] = keep
	x.steps = append(x.steps, step{shown: keep, at: at, entry: node.Entry{
		Path: keep, Kind: node.KindFile, Mode: fi.Mode() & 0o600, Data: data,
	}})
	return nil
}
