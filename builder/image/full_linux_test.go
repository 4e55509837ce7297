package image

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// smallDisks mount a host disk of so many MiB at a directory.
var smallDisks = map[string]func(b *bench, dir string, size int){
	"tmpfs": func(b *bench, dir string, size int) {
		b.mount("-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=0755", size), "none", dir)
	},
	"ext4": func(b *bench, dir string, size int) {
		image := filepath.Join(b.t.TempDir(), "host.raw")
		mke2fs, err := disk.Mke2fs.Find()
		require.NoError(b.t, err)
		out, err := exec.Command(mke2fs, "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", image, fmt.Sprintf("%dM", size)).CombinedOutput()
		require.NoError(b.t, err, string(out))
		b.mount("-o", "loop", image, dir)
	},
}

func (b *bench) mount(args ...string) {
	b.t.Helper()
	out, err := exec.Command("mount", args...).CombinedOutput()
	if err != nil {
		b.t.Skipf("no mounts here: %s", out)
	}
	b.t.Cleanup(func() {
		out, err := exec.Command("umount", args[len(args)-1]).CombinedOutput()
		assert.NoError(b.t, err, string(out))
	})
}

// random is so many MiB that nothing makes smaller.
func random(t testing.TB, mib int) []byte {
	t.Helper()
	content := make([]byte, mib<<20)
	_, err := rand.Read(content)
	require.NoError(t, err)
	return content
}

// A disk of the host that fills at any moment ends the build with an error
// that names it, and leaves nothing.
func TestHostDiskIsFull(t *testing.T) {
	const largest = 40 // MiB
	content := random(t, 8)
	for name, tt := range map[string]struct {
		base, format string
		host         string
		option       string // of the disk that fills
		levels       int
	}{
		"raw on tmpfs":           {"raw", "raw", "tmpfs", "output_directory", 20},
		"raw on ext4":            {"raw", "raw", "ext4", "output_directory", 5},
		"qcow2, work on tmpfs":   {"raw", "qcow2", "tmpfs", "TMPDIR", 5},
		"qcow2, work on ext4":    {"qcow2", "qcow2", "ext4", "TMPDIR", 20},
		"qcow2, output on tmpfs": {"raw", "qcow2", "tmpfs", "output_directory", 5},
		"tar, work on tmpfs":     {"tar", "raw", "tmpfs", "TMPDIR", 5},
		"tar, output on tmpfs":   {"tar", "tar", "tmpfs", "output_directory", 5},
	} {
		t.Run(name, func(t *testing.T) {
			kinds := map[string]int{}
			for size := largest / tt.levels; size <= largest; size += largest / tt.levels {
				t.Run(fmt.Sprintf("%d MiB", size), func(t *testing.T) {
					b := newBench(t)
					b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
					b.needLoop()
					base := b.filled(tt.base, content)
					small := os.Getenv("TMPDIR")
					if tt.option == "output_directory" {
						small = b.out
						require.NoError(t, os.Mkdir(small, 0o755))
					}
					smallDisks[tt.host](b, small, size)
					before := entries(t, small)
					artifact, err := b.run(t.Context(), b.options(base, map[string]any{"format": tt.format}),
						provision(func(_ context.Context, _ packersdk.Communicator, data map[string]any) error {
							return os.WriteFile(filepath.Join(rootOf(data), "etc/more"), content, 0o600)
						}))
					if err == nil {
						kinds["made"]++
						b.verify(artifact.Files()[0], artifact.Id())
						return
					}
					kinds["refused"]++
					t.Log(err)
					assert.Nil(t, artifact)
					assert.ErrorContains(t, err, tt.option+": ")
					assert.ErrorContains(t, err, small)
					assert.ErrorContains(t, err, " free")
					assert.Equal(t, before, entries(t, small), "left on the disk")
				})
			}
			assert.NotZero(t, kinds["refused"])
			assert.NotZero(t, kinds["made"], "the largest disk is large enough")
		})
	}
}

// What is certain not to fit is said before it is begun, with what it takes.
func TestRoomIsAskedFor(t *testing.T) {
	const size = 16 // MiB
	content := random(t, size)
	for name, tt := range map[string]struct{ base, format, option string }{
		"a tar of a directory":          {"directory", "tar", "output_directory"},
		"a tar of a disk":               {"raw", "tar", "output_directory"},
		"a file system of a directory":  {"directory", "raw", "output_directory"},
		"one that is then converted":    {"directory", "qcow2", "TMPDIR"},
		"a file system of a tar":        {"tar", "raw", "output_directory"},
		"a directory of zeros, to disk": {"zeros", "raw", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
			options, content := map[string]any{"format": tt.format}, content
			switch tt.base {
			case "directory", "zeros":
				root := b.tree()
				if tt.base == "zeros" {
					content = make([]byte, size<<20)
				}
				require.NoError(t, os.WriteFile(filepath.Join(root, "etc/content"), content, 0o600))
				require.NoError(t, os.Link(filepath.Join(root, "etc/content"), filepath.Join(root, "etc/again")))
				options["rootfs_directory"], options["iso_url"], options["iso_checksum"] = root, nil, nil
			default:
				b.needLoop()
				options["iso_url"] = b.filled(tt.base, content)
			}
			small := b.out
			if tt.option == "TMPDIR" {
				small = os.Getenv("TMPDIR")
			} else {
				require.NoError(t, os.Mkdir(small, 0o755))
			}
			smallDisks["tmpfs"](b, small, size-2)
			before := entries(t, small)
			_, err := b.run(t.Context(), b.options("", options), provision(leaveMark))
			if tt.option == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.option+": not enough room in "+small)
			require.ErrorContains(t, err, fmt.Sprintf(" needs at least %d", size))
			assert.Equal(t, before, entries(t, small), "left on the disk")
		})
	}
}

// filled makes a base of a kind that holds content.
func (b *bench) filled(kind string, content []byte) string {
	b.t.Helper()
	require.NoError(b.t, os.MkdirAll(filepath.Join(b.dir, "tree/etc"), 0o755))
	require.NoError(b.t, os.WriteFile(filepath.Join(b.dir, "tree/etc/content"), content, 0o600))
	return b.base(kind)
}

// entries are the names in a directory.
func entries(t testing.TB, dir string) []string {
	t.Helper()
	found, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names
}
