package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountOptions are what file system types are mounted with. An image may be a
// copy of an xfs that is in use here. The others need not have the host's disk
// flushed as they write: until the image is finished nothing of it has to
// outlive a power cut, and then the whole file is synced. All inodes of an image
// are read, so that ext4 may read more of them at once, in blocks.
var mountOptions = map[string]string{"xfs": "nouuid", "ext4": "nobarrier,inode_readahead_blks=1024", "btrfs": "nobarrier"}

// Mounted is a root file system of an image, mounted at a directory, with the
// other file systems of the image that belong to it.
type Mounted struct {
	// Root is where it is mounted.
	Root      string
	image     string
	access    Access
	partition Partition // of the root
	// loops are the block devices by partition number: one a partition, however
	// often it is mounted, since two devices of one partition are two file
	// systems that overwrite each other.
	loops  map[int]*loop
	mounts []string // directories, in the order in which they were mounted
	covers []string // those of mounts that only keep others from writing
	copies []*vfatCopy
}

// Mount mounts partition p of the raw disk image at the directory dir. A file
// system whose journal cannot be replayed without writing to the image is an
// error, ErrJournal: what is in the journal belongs to the evidence.
func Mount(ctx context.Context, image string, p Partition, dir string, access Access) (*Mounted, error) {
	image, err := resolved(image)
	if err != nil {
		return nil, err
	}
	m := &Mounted{Root: dir, image: image, access: access, partition: p, loops: map[int]*loop{}}
	defer m.release()
	err = m.add(ctx, p, dir, "")
	if err == nil && p.FileSystem.Type == "btrfs" {
		err = m.enterSubvolume(ctx)
	}
	if err != nil {
		m.release()
		return nil, errors.Join(err, m.Unmount())
	}
	return m, nil
}

// add mounts a partition once more.
func (m *Mounted) add(ctx context.Context, p Partition, dir, options string) error {
	l, err := m.device(ctx, p)
	if err != nil {
		return err
	}
	flags := uintptr(unix.MS_NOATIME)
	if m.access.ReadOnly || m.access.Image {
		flags |= unix.MS_RDONLY
	}
	data := strings.Trim(mountOptions[p.FileSystem.Type]+","+options, ",")
	if err := unix.Mount(l.path, dir, p.FileSystem.Type, flags, data); err != nil {
		if flags&unix.MS_RDONLY != 0 && btrfsLog(m.image, p) {
			err = fmt.Errorf("%w: %w", unix.EROFS, err) // which not every kernel says
		}
		return explainMount(p, options, err)
	}
	m.mounts = append(m.mounts, dir)
	return nil
}

// btrfsLog says whether a partition is a btrfs file system with a log that
// mounting it writes back.
func btrfsLog(image string, p Partition) bool {
	const logRoot = 0x10060
	if p.FileSystem.Type != "btrfs" {
		return false
	}
	f, err := os.Open(image)
	if err != nil {
		return false
	}
	defer f.Close()
	address := make([]byte, 8)
	_, err = f.ReadAt(address, p.Start+logRoot)
	return err == nil && !bytes.Equal(address, make([]byte, 8))
}

// device returns the block device of a partition.
func (m *Mounted) device(ctx context.Context, p Partition) (*loop, error) {
	if l := m.loops[p.Number]; l != nil {
		return l, nil
	}
	l, err := attachLoop(ctx, m.image, p.Extent, m.access.Image)
	if err == nil {
		m.loops[p.Number] = l
	}
	return l, err
}

// release lets go of every device: what is mounted from it holds it now, so
// that it goes with the last mount even if this process is killed.
func (m *Mounted) release() {
	for _, l := range m.loops {
		_ = l.close()
	}
}

// ErrJournal is returned when a file system cannot be read without changing
// it, because it was not unmounted cleanly.
var ErrJournal = errors.New("the file system was not unmounted cleanly")

// explainMount says what a failed mount means.
func explainMount(p Partition, options string, err error) error {
	what := fmt.Sprintf("mounting partition %d (%s)", p.Number, p.FileSystem)
	switch {
	case errors.Is(err, unix.ENOENT) && options != "":
		return fmt.Errorf("%s: it has no subvolume %s: %w", what, options, err)
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
	var errs []error
	for len(m.mounts) > 0 {
		err := m.unmountLast()
		errs = append(errs, err)
		if err != nil && !errors.Is(err, errUnwritten) {
			return errors.Join(errs...)
		}
	}
	m.covers, m.copies = nil, nil
	for number, l := range m.loops {
		errs = append(errs, l.gone(m.image))
		delete(m.loops, number)
	}
	return errors.Join(errs...)
}

func (m *Mounted) unmountLast() error {
	last := m.mounts[len(m.mounts)-1]
	err := unmountDir(last)
	if err == nil || errors.Is(err, errUnwritten) {
		m.mounts = m.mounts[:len(m.mounts)-1]
	}
	if err != nil {
		return fmt.Errorf("unmounting %s: %w", last, err)
	}
	return nil
}

// errUnwritten is returned for a file system that is unmounted, but not all of
// which could be written out: the disk below it is full or fails.
var errUnwritten = errors.New("unmounted, but not all of it could be written out")

func unmountDir(dir string) error {
	var unwritten error
	if d, err := os.Open(dir); err == nil {
		if err := errors.Join(unix.Syncfs(int(d.Fd())), d.Close()); err != nil {
			unwritten = fmt.Errorf("%w: %w", errUnwritten, err)
		}
	}
	for try := 0; ; try++ {
		err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		if err == nil {
			return unwritten
		}
		if !errors.Is(err, unix.EBUSY) || try == busyTries {
			return errors.Join(err, unwritten)
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

// enterSubvolume mounts the subvolume that is the root in place of what the
// file system shows without being told.
func (m *Mounted) enterSubvolume(ctx context.Context) error {
	options, err := rootSubvolumes(m.Root)
	if err != nil || options == nil {
		return err
	}
	for _, option := range options {
		if err = m.unmountLast(); err != nil {
			return err
		}
		if err = m.add(ctx, m.partition, m.Root, option); err == nil && isRoot(m.Root) {
			return nil
		} else if err != nil {
			err = errors.Join(err, m.add(ctx, m.partition, m.Root, ""))
		}
	}
	return err
}

// errNoSubvolume is returned for a btrfs file system of which no subvolume is
// known to be the root.
var errNoSubvolume = errors.New("the btrfs file system has no root at its top")

// rootSubvolumes returns the options to mount the root subvolume with, best
// first, of a btrfs file system that is mounted at dir; none where it is the
// root already. Each root names its own subvolume in its fstab.
func rootSubvolumes(dir string) ([]string, error) {
	if isRoot(dir) {
		if option := fstabSubvolume(dir); option != "" {
			return []string{option, ""}, nil
		}
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found, sure []string
	for _, e := range entries {
		host := filepath.Join(dir, e.Name())
		if !e.IsDir() || !isRoot(host) {
			continue
		}
		found = append(found, e.Name())
		if strings.Trim(strings.TrimPrefix(fstabSubvolume(host), "subvol="), "/") == e.Name() {
			sure = append(sure, e.Name())
		}
	}
	switch {
	case len(sure) == 1:
		return []string{"subvol=" + sure[0]}, nil
	case len(found) == 1:
		own := "subvol=" + found[0]
		if option := fstabSubvolume(filepath.Join(dir, found[0])); option != "" && option != own {
			return []string{option, own}, nil
		}
		return []string{own}, nil
	}
	return nil, fmt.Errorf("%w, and %d subvolumes that look like one: %q", errNoSubvolume, len(found), found)
}

// fstabSubvolume is the option by which the fstab of the tree at dir names the
// subvolume of its root directory, or "".
func fstabSubvolume(dir string) string {
	lines, _ := readFstab(dir) // what is wrong with it is said when it is followed
	for _, l := range lines {
		if l.dir == "/" {
			return l.subvolume()
		}
	}
	return ""
}
