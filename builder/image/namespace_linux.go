package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// devices are the nodes that a command finds in its /dev: no disk of this
// host's is among them.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// deviceLinks are the links that a command finds in its /dev.
var deviceLinks = map[string]string{
	"fd":     "/proc/self/fd",
	"stdin":  "/proc/self/fd/0",
	"stdout": "/proc/self/fd/1",
	"stderr": "/proc/self/fd/2",
	"ptmx":   "pts/ptmx",
}

// hostControls are what changes this host in a /proc that is otherwise the
// namespace's own.
var hostControls = []string{"sys", "sysrq-trigger", "acpi", "bus", "fs", "irq", "mtrr", "scsi"}

// furnish gives the tree at root what programs expect of a running system:
// /proc, /sys and /dev, of which none lets them change this host, and this
// host's name servers. What the tree has no directory for, and what may not
// be mounted here, it goes without.
func furnish(root string) error {
	for _, f := range []struct {
		name    string
		furnish func(root string) error
	}{
		{"/proc", mountProc},
		{"/sys", func(root string) error {
			return mountOn(root, "sys", "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}},
		{"/dev", mountDev},
		{resolverPath, lendResolver},
	} {
		err := f.furnish(root)
		if err != nil && !errors.Is(err, errGoWithout) {
			return fmt.Errorf("a %s for commands: %w", f.name, err)
		}
	}
	return nil
}

// errGoWithout is returned where a tree has no place for a mount, or the
// mount is not permitted.
var errGoWithout = errors.New("not mounted")

// plainDirectory returns the path of a directory of the tree, which may not
// be a link, so that nothing outside the tree is mounted over.
func plainDirectory(root, name string) (string, error) {
	dir := filepath.Join(root, name)
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return "", errGoWithout
	}
	return dir, err
}

func mountOn(root, name, kind string, flags uintptr, data string) error {
	dir, err := plainDirectory(root, name)
	if err != nil {
		return err
	}
	err = unix.Mount(kind, dir, kind, flags, data)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", errGoWithout, err)
	}
	return err
}

// mountProc mounts the namespace's own /proc.
func mountProc(root string) error {
	if err := mountOn(root, "proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	for _, name := range hostControls {
		place := filepath.Join(root, "proc", name)
		err := unix.Mount(place, place, "", unix.MS_BIND|unix.MS_REC, "")
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil {
			err = readOnly(place)
		}
		if err != nil {
			return fmt.Errorf("/proc/%s: %w", name, err)
		}
	}
	return nil
}

// readOnly makes the mount at place read-only here, wherever else it is
// mounted.
func readOnly(place string) error {
	return unix.Mount("", place, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

// mountDev mounts a small /dev. This host's own is not lent: a command that
// clears its /dev would clear this host's.
func mountDev(root string) error {
	if err := mountOn(root, "dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "mode=0755,size=16m"); err != nil {
		return err
	}
	dev := filepath.Join(root, "dev")
	for _, name := range devices {
		place := filepath.Join(dev, name)
		if err := os.WriteFile(place, nil, 0o666); err != nil {
			return err
		}
		// Read-only: to be written to, but to keep its mode and owner.
		if err := unix.Mount("/dev/"+name, place, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		if err := unix.Mount("", place, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
			return err
		}
	}
	for name, target := range deviceLinks {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		name, kind, data string
		flags            uintptr
	}{
		{"pts", "devpts", "newinstance,mode=0620,ptmxmode=0666,gid=5", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"shm", "tmpfs", "mode=1777", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV},
	} {
		if err := os.Mkdir(filepath.Join(dev, m.name), 0o755); err != nil {
			return err
		}
		if err := mountOn(dev, m.name, m.kind, m.flags, m.data); err != nil {
			return err
		}
	}
	return nil
}

// resolverPath is where a system keeps its name servers.
const resolverPath = "/etc/resolv.conf"

// lendResolver lets a tree without name servers of its own use this host's.
// Where its resolv.conf is empty, this host's is mounted on it, read-only.
// Where it is a link to what a resolver makes in /run while the system runs,
// this host's is put there, so that the link stays what it is.
func lendResolver(root string) error {
	place, err := securejoin.SecureJoin(root, resolverPath)
	if err != nil {
		return err
	}
	info, err := os.Lstat(place)
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(place, filepath.Join(root, volatile)+"/"):
		return copyResolver(place)
	case errors.Is(err, fs.ErrNotExist):
		return errGoWithout // a link that leads nowhere
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Size() > 0:
		return nil // its own
	}
	err = unix.Mount(resolverPath, place, "", unix.MS_BIND, "")
	if errors.Is(err, unix.ENOENT) {
		return errGoWithout // this host has none
	}
	if err != nil {
		return err
	}
	return readOnly(place)
}

// copyResolver makes place a copy of this host's resolv.conf.
func copyResolver(place string) error {
	servers, err := os.ReadFile(resolverPath)
	if errors.Is(err, fs.ErrNotExist) {
		return errGoWithout
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return err
	}
	return os.WriteFile(place, servers, 0o644) //nolint:gosec // below the mount point of the tree
}

// placeForResolver makes an empty resolv.conf in a tree that has none, for
// this host's to be mounted on. The returned function takes it away again.
func placeForResolver(root string) (leave func()) {
	nothing := func() {}
	place := filepath.Join(root, resolverPath)
	if _, err := plainDirectory(root, filepath.Dir(resolverPath)); err != nil {
		return nothing
	}
	f, err := os.OpenFile(place, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nothing
	}
	_ = f.Close()
	return func() {
		if info, err := os.Lstat(place); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
			_ = os.Remove(place)
		}
	}
}

// volatile is the directory whose content ends with a build, as it would with
// a running system.
const volatile = "run"

// mountVolatile gives the tree at root a /run in memory, which all commands
// and uploads of a build share. The returned function takes it away.
func mountVolatile(root string) (leave func() error, err error) {
	err = mountOn(root, volatile, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755")
	if errors.Is(err, errGoWithout) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("a /%s in memory for commands: %w", volatile, err)
	}
	return func() error {
		return unix.Unmount(filepath.Join(root, volatile), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}, nil
}
