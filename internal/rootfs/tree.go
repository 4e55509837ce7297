package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// tree is an open root directory. Paths given to it are paths of the node;
// symbolic links are followed as a process confined to the root would follow
// them, so that an absolute link starts at the root and no link leaves it.
// os.Root guards every access once more, should the tree change meanwhile.
type tree struct {
	dir string
	fs  *os.Root
	// hidden holds what a booted node has in the place of a directory, links
	// resolved.
	hidden map[string]string
}

func openTree(dir string) (*tree, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("root directory %q: %w", dir, err)
	}
	r, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("root directory %q cannot be opened: %w", dir, cause(err))
	}
	return &tree{dir: abs, fs: r}, nil
}

// hides says what a booted node has in the place of p, or "".
func (t *tree) hides(p string) string {
	if len(t.hidden) == 0 {
		return ""
	}
	resolved, err := t.resolve(p)
	if err != nil {
		resolved = p
	}
	why, _ := node.HiddenBy(t.hidden, resolved)
	return why
}

func (t *tree) Close() error { return t.fs.Close() }

// rel turns a resolved path of the node into one that os.Root takes.
func rel(p string) string {
	if p == "/" {
		return "."
	}
	return filepath.FromSlash(strings.TrimPrefix(p, "/"))
}

// resolve returns p with every symbolic link followed. Components that do not
// exist are kept as they are. A loop is errLoop.
func (t *tree) resolve(p string) (string, error) {
	full, err := securejoin.SecureJoin(t.dir, filepath.FromSlash(p))
	if err != nil {
		if errors.Is(err, syscall.ELOOP) {
			return "", errLoop
		}
		if errors.Is(err, syscall.ENOTDIR) {
			return "", fs.ErrNotExist
		}
		return "", fmt.Errorf("%s: %w", p, cause(err))
	}
	inside, err := filepath.Rel(t.dir, full)
	if err != nil {
		return "", fmt.Errorf("%s: %w", p, err)
	}
	return path.Join("/", filepath.ToSlash(inside)), nil
}

var errLoop = errors.New("too many levels of symbolic links")

// spot is where something lies in a tree, its parents resolved: at a name below
// an open directory. From there it is a shorter way than from the root.
type spot struct {
	dir  *os.Root
	name string
	path string // from the root
}

// at is the spot of p, whose parents are resolved already.
func (t *tree) at(p string) spot { return spot{t.fs, rel(p), p} }

// lstat describes p, whose parents are resolved already.
func (t *tree) lstat(p string) (fs.FileInfo, error) { return t.at(p).lstat() }

// open opens p, which is resolved already, for reading, without a trace.
func (t *tree) open(p string) (*os.File, error) { return t.at(p).open() }

// readFile returns the bytes of the regular file at p, resolved already.
func (t *tree) readFile(p string) ([]byte, error) { return t.at(p).readFile() }

func (s spot) lstat() (fs.FileInfo, error) {
	fi, err := s.dir.Lstat(s.name)
	if errors.Is(err, syscall.ENOTDIR) {
		err = fs.ErrNotExist
	}
	return fi, err
}

func (s spot) open() (*os.File, error) {
	f, err := s.dir.OpenFile(s.name, quietFlags, 0)
	if errors.Is(err, fs.ErrPermission) && quietFlags != readFlags {
		// Only the owner may ask that the access time stay.
		f, err = s.dir.OpenFile(s.name, readFlags, 0)
	}
	return f, err
}

// deadLink looks for the first symbolic link on the way to p, p included,
// that leads nowhere. It returns the link's path and its target.
func (t *tree) deadLink(p string) (link, target string, err error) {
	at := "/"
	for _, part := range strings.Split(strings.TrimPrefix(p, "/"), "/") {
		here := path.Join(at, part)
		fi, err := t.lstat(here)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return "", "", nil
			}
			return "", "", fmt.Errorf("%s: %w", here, cause(err))
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			at = here
			continue
		}
		target, err := t.fs.Readlink(rel(here))
		if err != nil {
			return "", "", fmt.Errorf("%s: %w", here, cause(err))
		}
		next, err := t.resolve(here)
		if err == nil {
			_, err = t.lstat(next)
		}
		switch {
		case errors.Is(err, errLoop), errors.Is(err, fs.ErrNotExist):
			return here, target, nil
		case err != nil:
			return "", "", fmt.Errorf("%s: %w", here, cause(err))
		}
		at = next
	}
	return "", "", nil
}

// cause drops the operation and path that the standard library puts before an
// error: the path is one of the host, and callers say what they were doing.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}
