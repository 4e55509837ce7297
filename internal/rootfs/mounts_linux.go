package rootfs

import (
	"context"
	"errors"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// mountsBelow returns the first path below at, which is resolved already, that
// something is mounted on; empty where there is none.
func (t *tree) mountsBelow(ctx context.Context, at string) (string, error) {
	fi, err := t.lstat(at)
	if err != nil || !fi.IsDir() {
		return "", err
	}
	f, err := t.open(at)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			below := path.Join(at, e.Name())
			mounted, err := mountedAt(f, e.Name())
			switch {
			case err != nil:
				return "", err
			case mounted:
				return below, nil
			case ctx.Err() != nil:
				return "", ctx.Err()
			case !e.IsDir():
				continue
			}
			if found, err := t.mountsBelow(ctx, below); err != nil || found != "" {
				return found, err
			}
		}
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
	}
}

// isMountPoint says whether something is mounted on at, resolved already.
func (t *tree) isMountPoint(at string) (bool, error) {
	dir, err := t.open(path.Dir(at))
	if err != nil {
		return false, err
	}
	defer dir.Close()
	return mountedAt(dir, path.Base(at))
}

// mountedAt says whether something is mounted on name in the open directory dir.
// A list of mounts does not tell: the tree may be another mount namespace's.
func mountedAt(dir *os.File, name string) (bool, error) {
	var at unix.Statx_t
	fd := int(dir.Fd())
	if err := unix.Statx(fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &at); err != nil {
		return false, err
	}
	if at.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return at.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	// Linux before 5.8 tells of other file systems alone.
	var above unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, 0, &above)
	return at.Dev_major != above.Dev_major || at.Dev_minor != above.Dev_minor, err
}
