// Package disktest gives tests a disk whose power can be cut: a file system on a
// loop device. What its backing file holds at a moment is what a machine finds
// after its power went away then; what only the page cache has is not in it.
package disktest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// fileSystem is how one kind of file system is made and mounted.
type fileSystem struct {
	megabytes int64 // the smallest that its tool makes
	make      []string
	options   string // to mount a copy beside the original
}

var fileSystems = map[string]fileSystem{
	"ext4":  {16, []string{"mkfs.ext4", "-q"}, "loop"},
	"xfs":   {320, []string{"mkfs.xfs", "-q"}, "loop,nouuid"},
	"btrfs": {128, []string{"mkfs.btrfs", "-q"}, "loop"},
}

// Disk is a mounted file system of a test's own.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	kind, image string
	mounted     bool
}

// New makes a file system of a kind, one of ext4, xfs and btrfs, and mounts it
// until the test ends. It needs root.
func New(t testing.TB, kind string) *Disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a file system is mounted")
	}
	fs, known := fileSystems[kind]
	require.True(t, known, kind)
	at := t.TempDir()
	d := &Disk{Dir: filepath.Join(at, "mounted"), kind: kind, image: filepath.Join(at, "image")}
	require.NoError(t, os.Mkdir(d.Dir, 0o755))
	require.NoError(t, os.WriteFile(d.image, nil, 0o600))
	require.NoError(t, os.Truncate(d.image, fs.megabytes<<20))
	command(t, append(fs.make, d.image)...)
	command(t, "mount", "-o", "loop", d.image, d.Dir)
	d.mounted = true
	t.Cleanup(func() { d.Unmount(t) })
	return d
}

// Fill writes a file "filled" to the disk until about size bytes are left on it
// for root.
func (d *Disk) Fill(t testing.TB, size int64) {
	t.Helper()
	f, err := os.Create(filepath.Join(d.Dir, "filled"))
	require.NoError(t, err)
	written, err := io.Copy(f, zeros{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Truncate(max(0, written-size)))
	require.NoError(t, errors.Join(f.Sync(), f.Close()))
}

// zeros has as many zeros as are read.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Unmount unmounts the disk before the test ends: btrfs cannot be mounted beside
// its own copy on every kernel.
func (d *Disk) Unmount(t testing.TB) {
	t.Helper()
	if d.mounted {
		command(t, "umount", d.Dir)
		d.mounted = false
	}
}

// Cut is a disk as it was when its power went away.
type Cut struct{ kind, image string }

// Cut cuts the power of a copy of d; d itself goes on.
func (d *Disk) Cut(t testing.TB) *Cut {
	t.Helper()
	c := &Cut{d.kind, filepath.Join(t.TempDir(), "image")}
	command(t, "cp", "--sparse=always", d.image, c.image)
	return c
}

// Mount starts the machine again: the journal is replayed. It returns where the
// file system is mounted until the test ends.
func (c *Cut) Mount(t testing.TB) string {
	t.Helper()
	dir := c.image + ".mounted"
	require.NoError(t, os.Mkdir(dir, 0o755))
	if c.kind == "btrfs" {
		command(t, "btrfs", "device", "scan", "--forget")
	}
	command(t, "mount", "-o", fileSystems[c.kind].options, c.image, dir)
	t.Cleanup(func() { command(t, "umount", dir) })
	return dir
}

func command(t testing.TB, words ...string) {
	t.Helper()
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	require.NoError(t, err, "%v: %s", words, out)
}
