package disk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tool is a program that this package runs.
type Tool struct {
	// Name is the command.
	Name string
	// Package is the Debian and Ubuntu package that has it.
	Package string
}

// The tools. None is needed to make or read a tar.
var (
	Mke2fs  = Tool{"mke2fs", "e2fsprogs"}
	Debugfs = Tool{"debugfs", "e2fsprogs"}
	E2fsck  = Tool{"e2fsck", "e2fsprogs"}
	QemuImg = Tool{"qemu-img", "qemu-utils"}

	// XZUtils is faster than the library that is used without it.
	XZUtils = Tool{"xz", "xz-utils"}

	Sfdisk    = Tool{"sfdisk", "fdisk"}
	Resize2fs = Tool{"resize2fs", "e2fsprogs"}
	XFSGrowfs = Tool{"xfs_growfs", "xfsprogs"}
	Btrfs     = Tool{"btrfs", "btrfs-progs"}
)

// sbin is looked in besides PATH: an ordinary user's PATH often lacks the
// directories that system tools are in.
var sbin = []string{"/usr/sbin", "/sbin", "/usr/local/sbin"}

// Find returns the path of the tool.
func (t Tool) Find() (string, error) {
	if p, err := exec.LookPath(t.Name); err == nil {
		return p, nil
	}
	for _, dir := range sbin {
		p := filepath.Join(dir, t.Name)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: not found on PATH (Debian package %s)", t.Name, t.Package)
}

// Missing returns one error that names every tool that is not installed and
// the command that installs them all, or nil.
func Missing(tools ...Tool) error {
	var names, packages []string
	seen := map[string]bool{}
	for _, t := range tools {
		if _, err := t.Find(); err == nil || seen[t.Name] {
			continue
		}
		seen[t.Name] = true
		names = append(names, fmt.Sprintf("%s (package %s)", t.Name, t.Package))
		if !seen[t.Package+"/"] {
			seen[t.Package+"/"] = true
			packages = append(packages, t.Package)
		}
	}
	if names == nil {
		return nil
	}
	return errors.New("missing tools: " + strings.Join(names, ", ") +
		"; on Debian and Ubuntu: apt-get install " + strings.Join(packages, " "))
}
