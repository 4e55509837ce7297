package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountOptions are what a file system type needs to be mounted wherever it
// comes from: an image may be a copy of a file system that is in use here.
var mountOptions = map[string]string{"xfs": "nouuid"}

// Mounted is a root file system of an image, mounted at a directory, with the
// other file systems of the image that belong to it.
type Mounted struct {
	// Root is where it is mounted.
	Root   string
	image  string
	access Access
	mounts []mount // in the order in which they were made
}

// mount is one mounted file system.
type mount struct {
	dir  string
	loop *loop
}

// Mount mounts partition p of the raw disk image at the directory dir. A file
// system whose journal cannot be replayed without writing to the image is an
// error, ErrJournal: what is in the journal belongs to the evidence.
func Mount(ctx context.Context, image string, p Partition, dir string, access Access) (*Mounted, error) {
	image, err := filepath.Abs(image)
	if err != nil {
		return nil, err
	}
	m := &Mounted{Root: dir, image: image, access: access}
	if err := m.add(ctx, p, dir, ""); err != nil {
		return nil, err
	}
	if p.FileSystem.Type != "btrfs" || isRoot(dir) {
		return m, nil
	}
	// A btrfs whose root is a subvolume shows its subvolumes instead.
	subvolume, err := rootSubvolume(dir)
	if err == nil {
		err = m.Unmount()
	}
	if err == nil {
		err = m.add(ctx, p, dir, "subvol="+subvolume)
	}
	if err != nil {
		return nil, errors.Join(err, m.Unmount())
	}
	return m, nil
}

// add mounts one more partition.
func (m *Mounted) add(ctx context.Context, p Partition, dir, options string) error {
	l, err := attachLoop(ctx, m.image, p.Extent, m.access.Image)
	if err != nil {
		return err
	}
	flags := uintptr(unix.MS_NOATIME)
	if m.access.ReadOnly || m.access.Image {
		flags |= unix.MS_RDONLY
	}
	data := strings.Trim(mountOptions[p.FileSystem.Type]+","+options, ",")
	err = unix.Mount(l.path, dir, p.FileSystem.Type, flags, data)
	// The mount holds the device from here on.
	err = errors.Join(err, l.close())
	if err != nil {
		return errors.Join(explainMount(p, err), l.gone(m.image))
	}
	m.mounts = append(m.mounts, mount{dir: dir, loop: l})
	return nil
}

// ErrJournal is returned when a file system cannot be read without changing
// it, because it was not unmounted cleanly.
var ErrJournal = errors.New("the file system was not unmounted cleanly")

// explainMount says what a failed mount means.
func explainMount(p Partition, err error) error {
	what := fmt.Sprintf("mounting partition %d (%s)", p.Number, p.FileSystem)
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%s: this host's kernel has no %s: %w", what, p.FileSystem.Type, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: not permitted here (a container needs --privileged; a tar or directory base needs no mount): %w", what, err)
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s: a file system with the same UUID is mounted already: %w", what, err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%s: %w: %w", what, ErrJournal, err)
	default:
		return fmt.Errorf("%s: %w (see dmesg)", what, err)
	}
}

// busyTries and busyPause are how long Unmount waits for others to leave.
const (
	busyTries = 100
	busyPause = 100 * time.Millisecond
)

// Unmount writes everything out and takes all mounts away, last first, and
// returns when the kernel has let the image go. What could not be unmounted
// stays in the list, so that it can be tried again.
func (m *Mounted) Unmount() error {
	for len(m.mounts) > 0 {
		last := m.mounts[len(m.mounts)-1]
		if err := unmountDir(last.dir); err != nil {
			return fmt.Errorf("unmounting %s: %w", last.dir, err)
		}
		m.mounts = m.mounts[:len(m.mounts)-1]
		if err := last.loop.gone(m.image); err != nil {
			return err
		}
	}
	return nil
}

func unmountDir(dir string) error {
	if d, err := os.Open(dir); err == nil {
		err = unix.Syncfs(int(d.Fd()))
		if err := errors.Join(err, d.Close()); err != nil {
			return fmt.Errorf("writing out: %w", err)
		}
	}
	for try := 0; ; try++ {
		err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		if !errors.Is(err, unix.EBUSY) || try == busyTries {
			return err
		}
		time.Sleep(busyPause)
	}
}

// rootMarks are directories of which a root file system has at least one.
var rootMarks = []string{"etc", "usr"}

// isRoot says whether the tree at dir looks like a root file system.
func isRoot(dir string) bool {
	return slices.ContainsFunc(rootMarks, func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	})
}

// rootSubvolume returns the name of the one directory that looks like a root.
func rootSubvolume(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if e.IsDir() && isRoot(filepath.Join(dir, e.Name())) {
			found = append(found, e.Name())
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("the btrfs file system has no root at its top, and %d subvolumes that look like one: %q", len(found), found)
	}
	return found[0], nil
}

// cloneOrCopy copies the raw image from to the file to, sharing its blocks
// where the file system can.
func cloneOrCopy(ctx context.Context, from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, fs.FileMode(0o600))
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		_, err = copySparse(ctx, out, in, chunkSize)
	}
	return errors.Join(err, out.Close())
}
