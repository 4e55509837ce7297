package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// devices are the nodes of /dev: no disk of this host's is among them.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// hostControls are what changes this host in a /proc that is otherwise the
// namespace's own; what is in netControls of it is the namespace's too.
var hostControls = []string{"sys", "sysrq-trigger", "acpi", "bus", "fs", "irq", "mtrr", "scsi"}

const netControls = "sys/net"

const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// furnish gives the tree what K3s expects of a running system, and directories
// that have to be file systems of their own.
func furnish(stage string, over []string) error {
	place := func(name string) (string, error) {
		// Whatever links the tree has, nothing of this host is mounted over.
		at, err := securejoin.SecureJoin(stage, name)
		if err != nil {
			return "", err
		}
		return at, os.MkdirAll(at, 0o755)
	}
	proc, err := place("/proc")
	if err != nil {
		return err
	}
	if err := mountProc(proc); err != nil {
		return err
	}
	sys, err := place("/sys")
	if err != nil {
		return err
	}
	if err := unix.Mount("sysfs", sys, "sysfs", unix.MS_RDONLY|quiet, ""); err != nil {
		return fmt.Errorf("/sys: %w", err)
	}
	dev, err := place("/dev")
	if err != nil {
		return err
	}
	if err := mountDev(dev); err != nil {
		return fmt.Errorf("/dev: %w", err)
	}
	for _, name := range append([]string{"/tmp"}, over...) {
		at, err := place(name)
		if err != nil {
			return err
		}
		mode := "mode=0755"
		if name == "/tmp" {
			mode = "mode=1777"
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, mode+",size=512m"); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// mountProc mounts the namespace's own /proc, in which the kernel's parameters
// are read-only but for those of the network.
func mountProc(proc string) error {
	if err := unix.Mount("proc", proc, "proc", quiet, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	for _, name := range hostControls {
		at := filepath.Join(proc, name)
		err := unix.Mount(at, at, "", unix.MS_BIND|unix.MS_REC, "")
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil && name == "sys" {
			net := filepath.Join(proc, netControls)
			err = unix.Mount(net, net, "", unix.MS_BIND, "")
		}
		if err == nil {
			err = unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|quiet, "")
		}
		if err != nil {
			return fmt.Errorf("/proc/%s: %w", name, err)
		}
	}
	return nil
}

// mountDev mounts a small /dev.
func mountDev(dev string) error {
	if err := unix.Mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=16m"); err != nil {
		return err
	}
	for _, name := range devices {
		at := filepath.Join(dev, name)
		if err := os.WriteFile(at, nil, 0o666); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+name, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, link := range [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}} {
		if err := os.Symlink(link[0], filepath.Join(dev, link[1])); err != nil {
			return err
		}
	}
	shm := filepath.Join(dev, "shm")
	if err := os.Mkdir(shm, 0o1777); err != nil {
		return err
	}
	return unix.Mount("tmpfs", shm, "tmpfs", quiet, "mode=1777,size=64m")
}
