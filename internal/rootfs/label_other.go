//go:build !linux

package rootfs

import (
	"errors"
	"os"
)

func setLabel(*os.File, string) error {
	return errors.New("SELinux labels can be set on Linux only")
}

func setLinkLabel(*os.File, string, string) error {
	return errors.New("SELinux labels can be set on Linux only")
}

func labelOf(*os.File) (string, error) { return "", nil }
