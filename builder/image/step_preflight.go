package image

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
	"github.com/k3s-cis/packer-plugin-k3s/internal/fetch"
)

// stepPreflight stops a build that cannot end well before it begins: on
// another system, without root, without the tools, without its directory. All
// that is wrong is said at once.
type stepPreflight struct {
	URLs      []string
	Directory string
	Format    disk.Format
}

func (s *stepPreflight) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	if runtime.GOOS != "linux" {
		return halt(state, fmt.Errorf("k3s-image works on Linux only: this is %s", runtime.GOOS))
	}
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("k3s-image needs root, for the owners and modes of the image's files: run Packer with sudo"))
	}
	if s.Directory != "" {
		if info, err := os.Stat(s.Directory); err != nil {
			errs = append(errs, fmt.Errorf("rootfs_directory: %w", err))
		} else if !info.IsDir() {
			errs = append(errs, fmt.Errorf("rootfs_directory: %s is no directory; for an archive or a disk image use iso_url", s.Directory))
		}
	}
	if dir := os.Getenv("TMPDIR"); strings.Contains(dir, "\n") {
		errs = append(errs, fmt.Errorf("TMPDIR: %q has more than one line, which the scripts of debugfs cannot; choose another directory", dir))
	}
	base := disk.Format("")
	if path := localBase(s.URLs); path != "" {
		kind, err := disk.Identify(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("iso_url: %w", err))
		}
		base = kind.Format
	}
	errs = append(errs, disk.Missing(toolsFor(base, s.Directory != "", s.Format)...))
	if err := errors.Join(errs...); err != nil {
		return halt(state, err)
	}
	return multistep.ActionContinue
}

func (s *stepPreflight) Cleanup(multistep.StateBag) {}

// localBase returns the path of a base that is a file on this host, or "".
func localBase(urls []string) string {
	if len(urls) != 1 {
		return ""
	}
	if path := fetch.LocalFile(urls[0]); path != "" {
		return path
	}
	u, err := url.Parse(urls[0])
	if err != nil || (u.Scheme != "" && u.Scheme != "file") {
		return ""
	}
	path := u.Path
	if u.Host != "" && u.Host != "localhost" {
		path = u.Host + path // file://relative/path
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}

// toolsFor lists the programs that a build runs. A base that is not known yet
// has the format "".
func toolsFor(base disk.Format, directory bool, output disk.Format) []disk.Tool {
	var tools []disk.Tool
	if base == disk.QCOW2 || output == disk.QCOW2 {
		tools = append(tools, disk.QemuImg)
	}
	if (directory || base == disk.Tar) && (output == disk.Raw || output == disk.QCOW2) {
		tools = append(tools, disk.Mke2fs, disk.Debugfs, disk.E2fsck)
	}
	return tools
}
