package image

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// ownMountsVariable is the id of the process that ownMounts gave a namespace,
// in its environment, which those that it starts inherit.
const ownMountsVariable = "PACKER_K3S_OWN_MOUNTS"

// ownMounts starts this program once more, as the same process, in a mount
// namespace of its own: what it mounts ends with it, however it ends, and no
// other process can keep it busy. Where that is not permitted, it goes on as
// it is.
func ownMounts() {
	if hasOwnMounts() || !mayConfine() {
		return
	}
	program, err := os.Executable()
	if err == nil {
		// Should it go on, then with the thread that has the namespace kept away
		// from all other work.
		runtime.LockOSThread()
		err = unix.Unshare(unix.CLONE_NEWNS)
	}
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "")
	}
	if err == nil {
		err = os.Setenv(ownMountsVariable, strconv.Itoa(os.Getpid()))
	}
	if err == nil {
		err = unix.Exec(program, os.Args, os.Environ())
	}
	log.Printf("[INFO] k3s-image: mounts are visible to all of this host: %s", err)
}

func hasOwnMounts() bool { return os.Getenv(ownMountsVariable) == strconv.Itoa(os.Getpid()) }

// forOthers is where other processes of this host find a directory in which
// something is mounted.
func forOthers(dir string) string {
	if !hasOwnMounts() {
		return dir
	}
	return fmt.Sprintf("/proc/%d/root%s", os.Getpid(), dir)
}

// mountPoint is where a disk's tree is mounted.
type mountPoint struct {
	dir string
	// outside is what other processes find in its place; nil where they find
	// the same.
	outside *os.File
}

// newMountPoint makes a place for the tree in the work directory scratch.
//
// A program that resolves the path that forOthers returns is told the path in
// this namespace, where it would find an empty directory. So the directory lies
// on a file system that is only here: such a program finds nothing at all.
func newMountPoint(scratch string) (*mountPoint, error) {
	if !hasOwnMounts() {
		dir := disk.TreeIn(scratch)
		return &mountPoint{dir: dir}, os.Mkdir(dir, 0o755)
	}
	place := filepath.Join(scratch, "mounts")
	if err := os.Mkdir(place, 0o755); err != nil {
		return nil, err
	}
	outside, err := os.Open(place)
	if err != nil {
		return nil, err
	}
	m := &mountPoint{filepath.Join(place, "root"), outside}
	err = unix.Mount("tmpfs", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=64k")
	if err == nil {
		err = os.Mkdir(m.dir, 0o755)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("a place to mount the disk at: %w", err), m.close())
	}
	return m, nil
}

// astray is an error if something was written to the place that is not the
// tree.
func (m *mountPoint) astray() error {
	if m == nil || m.outside == nil {
		return nil
	}
	names, err := m.outside.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return errors.Join(err, fmt.Errorf("%q was written beside the tree: a program has resolved the path in build.%s, which must be used as it is", names, RootDirectory))
}

func (m *mountPoint) close() error {
	if m == nil || m.outside == nil {
		return nil
	}
	return m.outside.Close()
}
