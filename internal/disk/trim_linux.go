package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// xfsPart is how much of an xfs file system is trimmed at once: less than an
// allocation group, of which Linux leaves out many small extents when it is
// trimmed as a whole.
const xfsPart = 15 << 20

// maxFill is how much free space is written over with zeros where it cannot
// be trimmed block by block, in bytes.
const maxFill = 1 << 30

// The kernel's FITRIM, XFS_IOC_FREE_EOFBLOCKS and EXT4_IOC_CHECKPOINT, as every
// architecture that K3s runs on has them.
const (
	fitrimRequest         = 0xc0185879
	xfsFreeRequest        = 0x8080583a
	xfsFreeSync           = 1
	ext4CheckpointRequest = 0x4004662b
)

// xfsFree is the kernel's struct xfs_fs_eofblocks.
type xfsFree struct {
	version, flags uint32
	_              [30]uint32
}

// trimRange is the kernel's struct fstrim_range, in bytes.
type trimRange struct{ start, length, least uint64 }

// Trim makes holes in the image where the mounted file systems are free, so
// that neither the room nor the contents of removed files stay in it. It
// returns the directories, as the image names them, of file systems for which
// this host cannot do that.
func (m *Mounted) Trim(ctx context.Context) (untrimmed []string, err error) {
	for _, dir := range m.mounts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if slices.Contains(m.covers, dir) || slices.ContainsFunc(m.copies, func(c *vfatCopy) bool { return slices.Contains(c.dirs, dir) }) {
			continue
		}
		done, err := trim(ctx, dir)
		if err != nil {
			return nil, fmt.Errorf("trimming %s: %w", m.inside(dir), err)
		}
		if !done {
			untrimmed = append(untrimmed, m.inside(dir))
		}
	}
	for _, c := range m.copies {
		done, err := c.trim(m.image)
		if err != nil {
			return nil, fmt.Errorf("trimming %s: %w", m.inside(c.dirs[0]), err)
		}
		if !done {
			untrimmed = append(untrimmed, m.inside(c.dirs[0]))
		}
	}
	return untrimmed, nil
}

// trim trims the file system that is mounted at dir, and says whether nothing
// of what was removed is left. One that is mounted read-only stays as it is.
func trim(ctx context.Context, dir string) (bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer d.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &st); err != nil {
		return false, err
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return true, nil
	}
	trimmed, err := fitrim(d)
	if err != nil || (trimmed && st.Bsize >= holeSize) {
		return trimmed, err
	}
	// Blocks that are smaller than the pages of this host are only trimmed
	// where enough of them lie together.
	if st.Type != unix.EXT4_SUPER_MAGIC || int64(st.Bfree*uint64(st.Bsize)) > maxFill || !takeReserve(d) {
		return false, nil
	}
	if err := fillWithZeros(ctx, dir); err != nil {
		return false, err
	}
	_, err = fitrim(d)
	return true, err
}

// takeReserve lets the last blocks of an ext4 file system be used, which it
// keeps back even from root while it is mounted.
func takeReserve(d *os.File) bool {
	var st unix.Stat_t
	if unix.Fstat(int(d.Fd()), &st) != nil {
		return false
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return false
	}
	return os.WriteFile(filepath.Join("/sys/fs/ext4", filepath.Base(device), "reserved_clusters"), []byte("0"), 0) == nil
}

// fitrim discards what is free, where that is supported. What was removed a
// moment ago is free once it is written out.
func fitrim(d *os.File) (supported bool, err error) {
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return false, err
	}
	// An xfs file system frees what was removed in its own time, if it is not
	// told; the others do not know the request.
	_ = ioctl(d, xfsFreeRequest, unsafe.Pointer(&xfsFree{version: 1, flags: xfsFreeSync})) //nolint:gosec // how the kernel takes it
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return false, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &st); err != nil {
		return false, err
	}
	part := ^uint64(0)
	if st.Type == unix.XFS_SUPER_MAGIC {
		part = xfsPart
	}
	for start := uint64(0); ; start += part {
		errno := ioctl(d, fitrimRequest, unsafe.Pointer(&trimRange{start: start, length: part})) //nolint:gosec // how the kernel takes it
		switch {
		case errno == unix.EINVAL && start > 0:
			return true, nil // beyond the end
		case errno == unix.EOPNOTSUPP, errno == unix.ENOTTY, errno == unix.EINVAL:
			return false, nil
		case errno != 0:
			return false, errno
		case part == ^uint64(0):
			return true, nil
		}
	}
}

func ioctl(f *os.File, request uintptr, argument unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(argument))
	runtime.KeepAlive(f)
	return errno
}

// fillWithZeros writes over all free blocks, through a file without a name.
func fillWithZeros(ctx context.Context, dir string) error {
	f, err := os.OpenFile(dir, os.O_WRONLY|unix.O_TMPFILE, 0o600)
	if err != nil {
		return err
	}
	// What is full is not, once it is written out: room had been set aside for
	// it.
	for more := true; more && err == nil; {
		if more, err = writeZeros(ctx, f); err == nil {
			err = f.Sync()
		}
		if errors.Is(err, unix.ENOSPC) {
			err = nil // found out late
		}
	}
	// Blocks of the file's own description are only in the journal so far.
	flags := uint32(0)
	_ = ioctl(f, ext4CheckpointRequest, unsafe.Pointer(&flags)) //nolint:gosec // how the kernel takes it
	return errors.Join(err, f.Close())
}

// writeZeros writes until no block is left, and says whether there was one.
func writeZeros(ctx context.Context, f *os.File) (more bool, err error) {
	zeros := make([]byte, chunkSize)
	for size := chunkSize; size >= 512; {
		if err := ctx.Err(); err != nil {
			return more, err
		}
		n, err := f.Write(zeros[:size])
		more = more || n > 0
		switch {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case err != nil:
			return more, err
		}
	}
	return more, nil
}
