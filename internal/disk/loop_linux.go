package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	loopControl = "/dev/loop-control"
	loopMajor   = 7
	// loopTries is how often a free device is asked for: between asking and
	// taking, another process may have taken it.
	loopTries = 64
	// settle is how long the kernel may take to let a file system or a loop
	// device go.
	settle = 15 * time.Second
)

// loop is a part of a file as a block device. The kernel frees it when its
// last user is gone, so that not even a killed process leaves one behind.
type loop struct {
	path string
	file *os.File
}

// attachLoop makes the extent of the image a block device. The part is named
// by its place and not by a partition number: partition devices come late, and
// in a container never.
func attachLoop(ctx context.Context, image string, e Extent, readOnly bool) (*loop, error) {
	mode := os.O_RDWR
	if readOnly {
		mode = os.O_RDONLY
	}
	backing, err := os.OpenFile(image, mode, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("no loop devices here (a container needs --privileged -v /dev:/dev; a tar or directory base needs none): %w", err)
	}
	defer control.Close()
	for range loopTries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("asking for a free loop device: %w", err)
		}
		l, err := takeLoop(n, backing, e, readOnly, mode)
		if errors.Is(err, unix.EBUSY) {
			continue
		}
		return l, err
	}
	return nil, errors.New("no free loop device: others took every one that was offered")
}

// takeLoop configures loop device n, or returns EBUSY when it is taken.
func takeLoop(n int, backing *os.File, e Extent, readOnly bool, mode int) (*loop, error) {
	path := fmt.Sprintf("/dev/loop%d", n)
	file, err := os.OpenFile(path, mode, 0)
	if errors.Is(err, fs.ErrNotExist) {
		// A container's /dev does not follow the kernel's.
		if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(loopMajor, uint32(n)))); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("making %s: %w", path, err)
		}
		file, err = os.OpenFile(path, mode, 0)
	}
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{
		Fd: uint32(backing.Fd()),
		Info: unix.LoopInfo64{
			Offset: uint64(e.Start), Sizelimit: uint64(e.Size), Flags: unix.LO_FLAGS_AUTOCLEAR,
		},
	}
	if readOnly {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], backing.Name())
	err = unix.IoctlLoopConfigure(int(file.Fd()), &config)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY) {
		// Kernels before 5.8 need two steps.
		err = configureOld(file, backing, &config.Info)
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	// Some kernels mount no device that is open for writing. The device lives
	// as long as someone has it open or mounted.
	held, err := os.Open(path)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return &loop{path: path, file: held}, nil
}

func configureOld(device, backing *os.File, info *unix.LoopInfo64) error {
	if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_SET_FD, int(backing.Fd())); err != nil {
		return err
	}
	if err := unix.IoctlLoopSetStatus64(int(device.Fd()), info); err != nil {
		return errors.Join(err, unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0))
	}
	return nil
}

// close lets the device go: at once, or once what is mounted from it is gone.
func (l *loop) close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// gone waits until the kernel has freed the device, after which everything
// that was written to it is in the image.
func (l *loop) gone(image string) error {
	state := filepath.Join("/sys/block", filepath.Base(l.path), "loop", "backing_file")
	for end := time.Now().Add(settle); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if backing, _ := os.ReadFile(state); strings.TrimSuffix(string(backing), "\n") != image {
			return nil // without a backing file there is no such entry
		}
	}
	return fmt.Errorf("%s still uses %s after %s", l.path, image, settle)
}
