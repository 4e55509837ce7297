package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
)

// room refuses a change whose large files do not fit, before a byte of them is
// written. Each waits beside its place until all are there, so that what it replaces
// does not make room for it.
func (x *transaction) room() error {
	type fileSystem struct {
		needed int64
		free   uint64
		at     string
	}
	found := map[uint64]*fileSystem{} // by device
	for _, s := range x.steps {
		if s.entry.Source == nil {
			continue
		}
		dir := path.Dir(s.at)
		for {
			if _, err := x.tree.lstat(dir); err == nil || dir == "/" {
				break
			} else if !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("cannot look at %s: %w", dir, cause(err))
			}
			dir = path.Dir(dir)
		}
		f, err := x.tree.open(dir)
		if err != nil {
			return fmt.Errorf("cannot look at %s: %w", dir, cause(err))
		}
		var at unix.Stat_t
		var space unix.Statfs_t
		err = errors.Join(unix.Fstat(int(f.Fd()), &at), unix.Fstatfs(int(f.Fd()), &space), f.Close())
		if err != nil {
			return fmt.Errorf("cannot tell how much room there is at %s: %w", dir, err)
		}
		if found[at.Dev] == nil {
			found[at.Dev] = &fileSystem{free: space.Bavail * uint64(space.Bsize), at: dir}
		}
		found[at.Dev].needed += s.entry.Source.Size
	}
	var errs []error
	for _, dev := range slices.Sorted(maps.Keys(found)) {
		if on := found[dev]; on.needed > 0 && uint64(on.needed) > on.free {
			errs = append(errs, fmt.Errorf("the file system of %s has %s free, and what comes there needs %s: make it larger",
				on.at, units.HumanSize(float64(on.free)), units.HumanSize(float64(on.needed))))
		}
	}
	return errors.Join(errs...)
}
