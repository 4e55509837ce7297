package image

import (
	"errors"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// devices are the nodes that a command finds in its /dev.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// deviceLinks are the links that a command finds in its /dev.
var deviceLinks = map[string]string{
	"fd":     "/proc/self/fd",
	"stdin":  "/proc/self/fd/0",
	"stdout": "/proc/self/fd/1",
	"stderr": "/proc/self/fd/2",
	"ptmx":   "pts/ptmx",
}

// furnish gives the calling thread, which must be thrown away afterwards, a
// mount namespace of its own in which the tree at root has /proc, /sys, /dev
// and this host's resolv.conf. Where mounting is not permitted, commands run
// without them. The returned function undoes what is visible to others.
func furnish(root string) (leave func()) {
	nothing := func() {}
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		log.Printf("[INFO] k3s-image: commands run without /proc, /sys and /dev: no mount namespace: %s", err)
		return nothing
	}
	// Slave: what is unmounted outside goes away inside, and nothing that is
	// mounted inside is seen outside.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		log.Printf("[INFO] k3s-image: commands run without /proc, /sys and /dev: %s", err)
		return nothing
	}
	try := func(what string, err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Printf("[INFO] k3s-image: commands run without %s: %s", what, err)
		}
	}
	try("/proc", mountOn(root, "proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
	try("/sys", mountOn(root, "sys", "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
	try("/dev", mountDev(root))
	leave, err := lendResolver(root)
	try("/etc/resolv.conf", err)
	return leave
}

// plainDirectory returns the path of a directory of the tree, which may not
// be a link, so that nothing outside the tree is mounted over.
func plainDirectory(root, name string) (string, error) {
	dir := filepath.Join(root, name)
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", errors.New("is no directory")
	}
	return dir, nil
}

func mountOn(root, name, kind string, flags uintptr, data string) error {
	dir, err := plainDirectory(root, name)
	if err != nil {
		return err
	}
	return unix.Mount(kind, dir, kind, flags, data)
}

// mountDev mounts a small /dev. This host's own is not lent: a command that
// clears its /dev would clear this host's.
func mountDev(root string) error {
	if err := mountOn(root, "dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=16m"); err != nil {
		return err
	}
	dev := filepath.Join(root, "dev")
	for _, name := range devices {
		place := filepath.Join(dev, name)
		if err := os.WriteFile(place, nil, 0o666); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+name, place, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	for name, target := range deviceLinks {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	for name, mount := range map[string][2]string{
		"pts": {"devpts", "newinstance,mode=0620,ptmxmode=0666,gid=5"},
		"shm": {"tmpfs", "mode=1777"},
	} {
		if err := os.Mkdir(filepath.Join(dev, name), 0o755); err != nil {
			return err
		}
		if err := mountOn(dev, name, mount[0], unix.MS_NOSUID|unix.MS_NOEXEC, mount[1]); err != nil {
			return err
		}
	}
	return nil
}

// hostResolver is where this host keeps its name servers.
const hostResolver = "/etc/resolv.conf"

// lendResolver lets a tree without name servers of its own use this host's: it
// mounts this host's resolv.conf, read-only, on the tree's where that is
// missing or empty. One that had to be made to mount on is taken away again.
func lendResolver(root string) (leave func(), err error) {
	leave = func() {}
	if _, err := os.Stat(hostResolver); err != nil {
		return leave, err
	}
	if _, err := plainDirectory(root, "etc"); err != nil {
		return leave, err
	}
	place := filepath.Join(root, "etc", "resolv.conf")
	info, err := os.Lstat(place)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f, err := os.OpenFile(place, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return leave, err
		}
		_ = f.Close()
		leave = func() { removeIfEmpty(place) }
	case err != nil:
		return leave, err
	case !info.Mode().IsRegular() || info.Size() > 0:
		return leave, nil // its own
	}
	if err := unix.Mount(hostResolver, place, "", unix.MS_BIND, ""); err != nil {
		return leave, err
	}
	return leave, unix.Mount("", place, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// removeIfEmpty removes the empty file that a mount needed.
func removeIfEmpty(place string) {
	_ = unix.Unmount(place, unix.MNT_DETACH)
	if info, err := os.Lstat(place); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		_ = os.Remove(place)
	}
}
