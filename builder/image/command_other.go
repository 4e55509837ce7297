//go:build !linux

package image

import (
	"context"
	"io/fs"
	"os"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

func startCommand(context.Context, context.Context, string, *packersdk.RemoteCmd) (<-chan int, error) {
	return nil, disk.ErrNotLinux
}

func mountVolatile(string) (func() error, error) { return nil, disk.ErrNotLinux }

func mayConfine() bool { return false }

// Dispatch needs Linux to do anything.
func Dispatch() {}

func forOthers(dir string) string { return dir }

type mountPoint struct{ dir string }

func newMountPoint(string) (*mountPoint, error) { return nil, disk.ErrNotLinux }

func (*mountPoint) astray() error { return disk.ErrNotLinux }

func (*mountPoint) close() error { return disk.ErrNotLinux }

func keepOwner(*os.File, fs.FileInfo) error { return disk.ErrNotLinux }
