package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/k3s-cis/packer-plugin-k3s/internal/selinux"
)

// setLabel labels an open file for SELinux. A file system that keeps no labels
// is passed over: it is labelled as a whole when it is mounted.
func setLabel(f *os.File, label string) error {
	return labelling(label, unix.Fsetxattr(int(f.Fd()), selinux.Attribute, append([]byte(label), 0), 0))
}

// setLinkLabel labels the symbolic link name in an open directory.
func setLinkLabel(dir *os.File, name, label string) error {
	return labelling(label, unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name), selinux.Attribute, append([]byte(label), 0), 0))
}

// labelling says what came of setting a label.
func labelling(label string, err error) error {
	switch {
	case err == nil, errors.Is(err, unix.ENOTSUP):
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("its SELinux label %s cannot be set (which takes the rights of root, CAP_SYS_ADMIN among them): %w", label, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("its SELinux label %s is unknown to the policy of this host: %w", label, err)
	}
	return fmt.Errorf("its SELinux label %s: %w", label, err)
}

// labelOf returns the label of an open file, empty where it has none.
func labelOf(f *os.File) (string, error) {
	value := make([]byte, 4096) // what the kernel allows
	n, err := unix.Fgetxattr(int(f.Fd()), selinux.Attribute, value)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("its SELinux label: %w", err)
	}
	return string(bytes.TrimRight(value[:n], "\x00")), nil
}
