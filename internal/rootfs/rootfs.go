package rootfs

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Directory is a node in a directory of this host: a mounted image, an
// unpacked root file system. Nothing in it is ever executed, no device or pipe
// is opened, and no symbolic link leads out of it.
type Directory struct {
	dir    string
	hidden map[string]string
}

var _ node.Target = (*Directory)(nil)

// At returns the node whose root is the directory dir of this host.
func At(dir string) *Directory { return &Directory{dir: dir} }

// Hiding returns the same node with directories of which nothing in the tree
// is seen once it has booted, by what they show then instead. Nothing is known
// of what is below them, and nothing is written there.
func (r *Directory) Hiding(hidden map[string]string) *Directory {
	return &Directory{dir: r.dir, hidden: hidden}
}

// open opens the tree.
func (r *Directory) open() (*tree, error) {
	t, err := openTree(r.dir)
	if err != nil || len(r.hidden) == 0 {
		return t, err
	}
	t.hidden = map[string]string{}
	for dir, why := range r.hidden {
		if resolved, err := t.resolve(dir); err == nil {
			dir = resolved
		}
		t.hidden[dir] = why
	}
	return t, nil
}

// seen is c without what a booted node would not see, and the paths that were
// left out.
func (t *tree) seen(c node.Change) (node.Change, []string) {
	if len(t.hidden) == 0 {
		return c, nil
	}
	var out []string
	left := func(p string) bool { return t.hides(p) != "" }
	named := func(p string) bool {
		if !left(p) {
			return false
		}
		out = append(out, p)
		return true
	}
	c.Write = slices.DeleteFunc(slices.Clone(c.Write), func(e node.Entry) bool { return named(e.Path) })
	c.Links = maps.Clone(c.Links)
	for _, p := range slices.Sorted(maps.Keys(c.Links)) {
		if named(p) {
			delete(c.Links, p)
		}
	}
	c.Modes = maps.Clone(c.Modes)
	for _, p := range slices.Sorted(maps.Keys(c.Modes)) {
		if named(p) {
			delete(c.Modes, p)
		}
	}
	c.Remove = slices.DeleteFunc(slices.Clone(c.Remove), named)
	c.Keep = maps.Clone(c.Keep)
	maps.DeleteFunc(c.Keep, func(from, to string) bool { return left(from) || left(to) })
	c.Preconditions = slices.DeleteFunc(slices.Clone(c.Preconditions), func(a node.Precondition) bool { return left(a.Path) })
	return c, out
}

// Read collects q. It writes nothing, access times included where the system
// allows that. The error names what could not be looked at, or the limit that
// the tree exceeds.
func (r *Directory) Read(ctx context.Context, q node.Query) (*node.Node, error) {
	if err := q.Check(); err != nil {
		return nil, fmt.Errorf("reading the root directory: %w", err)
	}
	t, err := r.open()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return t.collect(ctx, q, nil)
}

// Apply puts c in place and reads q back from the disk. Kernel parameters are
// passed over: a directory has no running kernel. On error the tree is as it
// was before, and the error names the path that was in the way.
func (r *Directory) Apply(ctx context.Context, c node.Change, q node.Query) (*node.Outcome, error) {
	started := time.Now()
	if err := q.Check(); err != nil {
		return nil, fmt.Errorf("reading the root directory: %w", err)
	}
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("changing the root directory: %w", err)
	}
	t, err := r.open()
	if err != nil {
		return nil, err
	}
	defer t.Close()

	out := &node.Outcome{Way: "root directory"}
	c, out.Hidden = t.seen(c)
	holds, err := t.preconditionsHold(ctx, c.Preconditions)
	if err != nil {
		return nil, err
	}
	x := t.begin()
	if out.Stale = !holds; holds {
		if err := x.run(ctx, c); err != nil {
			return nil, err
		}
		out.Changed = x.changed
	}
	if out.Node, err = t.collect(ctx, q, x.own()); err != nil {
		return nil, x.rollback(fmt.Errorf("reading back: %w", err))
	}
	if err := x.finish(); err != nil {
		return nil, err
	}
	out.Took = time.Since(started)
	return out, nil
}

// Open opens the regular file at path p of the node for reading, for contents
// too large to be collected. The error is fs.ErrNotExist where nothing is.
func (r *Directory) Open(p string) (*os.File, error) {
	t, err := r.open()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	resolved, err := t.resolve(p)
	if err != nil {
		return nil, err
	}
	fi, err := t.lstat(resolved)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, cause(err))
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", p)
	}
	f, err := t.open(resolved)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, cause(err))
	}
	return f, nil
}
