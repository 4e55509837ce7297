package image

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registry "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

func TestEveryBaseToEveryFormat(t *testing.T) {
	for _, kind := range []string{"tar", "raw", "qcow2", "directory"} {
		for _, format := range []string{"raw", "qcow2", "tar"} {
			t.Run(kind+" to "+format, func(t *testing.T) {
				b := newBench(t)
				b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
				options := b.options("", map[string]any{"format": format})
				var base, before string
				if kind == "directory" {
					options = b.options("", map[string]any{"format": format, "iso_url": nil, "iso_checksum": nil, "rootfs_directory": b.tree()})
				} else {
					if kind != "tar" {
						b.needLoop()
					}
					base = b.base(kind)
					before = sha(t, base)
					options["iso_url"] = base
				}
				var seen map[string]any
				artifact, err := b.run(t.Context(), options, provision(func(ctx context.Context, c packersdk.Communicator, data map[string]any) error {
					seen = data
					return leaveMark(ctx, c, data)
				}))
				require.NoError(t, err)
				assert.Equal(t, "false", seen[RootReadOnly])
				assert.True(t, filepath.IsAbs(rootOf(seen)))
				generated, ok := artifact.State("generated_data").(map[string]any)
				require.True(t, ok)
				assert.Equal(t, seen[RootDirectory], generated[RootDirectory])
				assert.Equal(t, artifact.Id(), generated["ID"])

				image := filepath.Join(b.out, "node."+format)
				assert.Equal(t, []string{image}, artifact.Files())
				entries, err := os.ReadDir(b.out)
				require.NoError(t, err)
				assert.Len(t, entries, 2)
				b.verify(image, artifact.Id())
				assert.Equal(t, "made", b.content(image, format, "/etc/mark"))
				assert.Equal(t, "base\n", b.content(image, format, "/etc/hostname"))
				if base != "" {
					assert.Equal(t, before, sha(t, base), "the base was changed")
				}
				fi, err := os.Stat(image)
				require.NoError(t, err)
				assert.Equal(t, fs.FileMode(0o644), fi.Mode())
				assert.Contains(t, artifact.String(), image)
				require.NoError(t, artifact.Destroy())
				left, err := os.ReadDir(b.out)
				require.NoError(t, err)
				assert.Empty(t, left, "neither the image nor its checksum")
				require.NoError(t, artifact.Destroy(), "a second time")
			})
		}
	}
}

// A raw image has a SHA-256 where that is asked for, and only one checksum
// file at a time, whatever was asked for before.
func TestChecksumOfRaw(t *testing.T) {
	b := newBench(t)
	b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck)
	base := b.base("tar")
	for _, checksum := range []bool{true, false, true} {
		artifact, err := b.run(t.Context(), b.options(base, map[string]any{"format": "raw", "checksum": checksum, "packer_force": true}), provision(leaveMark))
		require.NoError(t, err)
		image := filepath.Join(b.out, "node.raw")
		ending := map[bool]string{true: ".sha256", false: ".fsverity"}[checksum]
		left, err := filepath.Glob(image + ".*")
		require.NoError(t, err)
		assert.Equal(t, []string{image + ending}, left)
		assert.Equal(t, checksum, strings.HasPrefix(artifact.Id(), "sha256:"), artifact.Id())
		b.verify(image, artifact.Id())
	}
	// Neither file is replaced without being told to.
	require.NoError(t, os.Remove(filepath.Join(b.out, "node.raw")))
	_, err := b.run(t.Context(), b.options(base, map[string]any{"format": "raw"}), provision(leaveMark))
	require.ErrorContains(t, err, "node.raw.sha256 is there already")
}

// What a provisioner removes again is not in the image, not even in blocks
// that no file has.
func TestRemovedSecretsAreGone(t *testing.T) {
	for _, kind := range []string{"tar", "raw", "qcow2"} {
		for _, format := range []string{"raw", "qcow2"} {
			t.Run(kind+" to "+format, func(t *testing.T) {
				b := newBench(t)
				b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
				if kind != "tar" {
					b.needLoop()
				}
				b.removeSecret(b.base(kind), format)
			})
		}
	}
	for _, kind := range []string{"xfs", "btrfs"} {
		for _, format := range []string{"raw", "qcow2"} {
			t.Run(kind+" to "+format, func(t *testing.T) {
				b := newBench(t)
				b.need(disk.QemuImg, disk.Tool{Name: "mkfs." + kind, Package: kind + "progs"})
				b.needLoop()
				tree, base, mnt := b.tree(), filepath.Join(b.dir, "base.raw"), filepath.Join(b.dir, "mnt")
				for _, dir := range []string{mnt, filepath.Join(tree, "home"), filepath.Join(tree, "var")} {
					require.NoError(t, os.MkdirAll(dir, 0o755))
				}
				b.sh(`truncate -s 400M "$2"; loop=$(losetup -f --show "$2"); trap 'losetup -d "$loop"' EXIT
					set -- "$loop" "$1" "$3"; `+rootMakers[kind], tree, base, mnt)
				b.removeSecret(base, format)
			})
		}
	}
}

// removeSecret has a provisioner write a token to the disk and remove it, and
// looks for it in the image.
func (b *bench) removeSecret(base, format string) {
	b.t.Helper()
	const token = "token-that-was-removed"
	_, err := b.run(b.t.Context(), b.options(base, map[string]any{"format": format}), provision(func(_ context.Context, _ packersdk.Communicator, data map[string]any) error {
		// One that is kept with the inode or in a tree, where file systems do
		// that, and one that has blocks of its own.
		removed := []string{filepath.Join(rootOf(data), "etc/short"), filepath.Join(rootOf(data), "etc/long")}
		for i, name := range removed {
			if err := os.WriteFile(name, bytes.Repeat([]byte(token+"\n"), 1+i*1000), 0o600); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(rootOf(data), "etc/kept"), []byte("text-that-was-"+"kept"), 0o600); err != nil {
			return err
		}
		syscall.Sync() // it has been on the disk
		return errors.Join(os.Remove(removed[0]), os.Remove(removed[1]))
	}))
	require.NoError(b.t, err)
	image := filepath.Join(b.out, "node."+format)
	if format == "qcow2" {
		raw := filepath.Join(b.dir, "made.raw")
		require.NoError(b.t, disk.Convert(b.t.Context(), image, disk.QCOW2, raw, disk.Raw))
		image = raw
	}
	content, err := os.ReadFile(image)
	require.NoError(b.t, err)
	assert.Contains(b.t, string(content), "text-that-was-kept")
	assert.Zero(b.t, bytes.Count(content, []byte(token)))
}

func TestFailuresLeaveNothing(t *testing.T) {
	provisionError := errors.New("the check failed")
	failing := provision(func(ctx context.Context, c packersdk.Communicator, data map[string]any) error {
		_ = leaveMark(ctx, c, data)
		return provisionError
	})
	damaged := func(b *bench, kind string) string {
		path := b.base(kind)
		content, err := os.ReadFile(path)
		require.NoError(b.t, err)
		require.NoError(b.t, os.WriteFile(path, content[:len(content)-len(content)/3], 0o600))
		return path
	}
	tests := map[string]struct {
		loop    bool
		base    func(b *bench) string
		options map[string]any
		hook    packersdk.Hook
		want    string
	}{
		"provisioner, tar":    {base: func(b *bench) string { return b.base("tar") }, hook: failing, want: "the check failed"},
		"provisioner, disk":   {loop: true, base: func(b *bench) string { return b.base("raw") }, hook: failing, options: map[string]any{"format": "raw"}, want: "the check failed"},
		"provisioner, qcow2":  {loop: true, base: func(b *bench) string { return b.base("qcow2") }, hook: failing, want: "the check failed"},
		"archive cut off":     {base: func(b *bench) string { return damaged(b, "tar") }, hook: provision(leaveMark), want: "iso_url:"},
		"disk too small":      {base: func(b *bench) string { return b.base("tar") }, options: map[string]any{"disk_size": "20M"}, hook: failing, want: "disk_size: 20MiB is too small: the files need"},
		"disk made smaller":   {loop: true, base: func(b *bench) string { return b.base("raw") }, options: map[string]any{"disk_size": "32M"}, hook: provision(leaveMark), want: "disk_size: 32MiB is smaller than the base's disk"},
		"wrong architecture":  {base: func(b *bench) string { return b.base("tar") }, options: map[string]any{"architecture": "arm64"}, hook: provision(leaveMark), want: "architecture: the tree holds no program"},
		"partition of a tar":  {base: func(b *bench) string { return b.base("tar") }, options: map[string]any{"partition": "1"}, hook: provision(leaveMark), want: "partition: only a disk has partitions, and the base is a tar"},
		"partition of a disk": {loop: true, base: func(b *bench) string { return b.base("raw") }, options: map[string]any{"partition": "2"}, hook: provision(leaveMark), want: "has no partition table; remove it"},
		"no base":             {base: func(b *bench) string { return filepath.Join(b.dir, "none.tar") }, hook: provision(leaveMark), want: "error downloading base"},
		"not an image":        {base: func(b *bench) string { return b.text("hello") }, hook: provision(leaveMark), want: "iso_url:"},
		"empty disk":          {base: func(b *bench) string { return b.text(strings.Repeat("\x00", 1<<20)) }, hook: provision(leaveMark), want: "no partition table and no ext4, xfs or btrfs file system"},
		"output is a file": {base: func(b *bench) string {
			require.NoError(b.t, os.WriteFile(b.out, nil, 0o600))
			return b.base("tar")
		}, hook: provision(leaveMark), want: "output_directory:"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
			if tt.loop {
				b.needLoop()
			}
			base := tt.base(b)
			artifact, err := b.run(t.Context(), b.options(base, tt.options), tt.hook)
			require.ErrorContains(t, err, tt.want)
			assert.Nil(t, artifact)
			if fi, err := os.Stat(b.out); err == nil {
				assert.False(t, fi.IsDir(), "the output directory was left")
			}
		})
	}
}

// What others put into the output directory (think of the report of a failed
// check) stays when a build fails.
func TestFailureKeepsReports(t *testing.T) {
	b := newBench(t)
	_, err := b.run(t.Context(), b.options(b.base("tar"), map[string]any{"format": "tar"}),
		provision(func(context.Context, packersdk.Communicator, map[string]any) error {
			require.NoError(t, os.MkdirAll(filepath.Join(b.out, "report"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(b.out, "report/report.json"), []byte("{}"), 0o644))
			return errors.New("a control failed")
		}))
	require.Error(t, err)
	entries, err := os.ReadDir(b.out)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.FileExists(t, filepath.Join(b.out, "report/report.json"))
}

func TestForce(t *testing.T) {
	b := newBench(t)
	base := b.base("tar")
	options := func(force bool) map[string]any {
		return b.options(base, map[string]any{"format": "tar", "packer_force": force})
	}
	_, err := b.run(t.Context(), options(false), provision(leaveMark))
	require.NoError(t, err)
	image := filepath.Join(b.out, "node.tar")
	first := sha(t, image)

	_, err = b.run(t.Context(), options(false), provision(leaveMark))
	require.ErrorContains(t, err, image+" is there already; run packer build -force to replace it")
	assert.Equal(t, first, sha(t, image))

	_, err = b.run(t.Context(), options(true), provision(func(context.Context, packersdk.Communicator, map[string]any) error {
		assert.Equal(t, first, sha(t, image), "the old image is there until the new one is ready")
		return errors.New("no")
	}))
	require.Error(t, err)
	assert.Equal(t, first, sha(t, image), "a failed build replaced the image")

	_, err = b.run(t.Context(), options(true), provision(func(_ context.Context, _ packersdk.Communicator, data map[string]any) error {
		return os.WriteFile(filepath.Join(rootOf(data), "etc/mark"), []byte("second"), 0o600)
	}))
	require.NoError(t, err)
	assert.Equal(t, "second", b.content(image, "tar", "/etc/mark"))
}

func TestTwoBuildsOfOneImage(t *testing.T) {
	b := newBench(t)
	base := b.base("tar")
	options := b.options(base, map[string]any{"format": "tar"})
	_, err := b.run(t.Context(), options, provision(func(ctx context.Context, _ packersdk.Communicator, _ map[string]any) error {
		_, err := b.run(ctx, options, provision(leaveMark))
		require.ErrorIs(t, err, disk.ErrLocked)
		return nil
	}))
	require.NoError(t, err)
}

func TestCancel(t *testing.T) {
	for _, kind := range []string{"tar", "raw"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t)
			if kind == "raw" {
				b.needLoop()
			}
			base := b.base(kind)
			ctx, cancel := context.WithCancel(t.Context())
			_, err := b.run(ctx, b.options(base, map[string]any{"format": "tar"}),
				provision(func(ctx context.Context, _ packersdk.Communicator, _ map[string]any) error {
					cancel()
					<-ctx.Done()
					time.Sleep(50 * time.Millisecond)
					return ctx.Err()
				}))
			require.EqualError(t, err, "the build was cancelled; there is no image")
			assert.NoDirExists(t, b.out)
		})
	}
}

func TestDirectoryInPlace(t *testing.T) {
	b := newBench(t)
	root := b.tree()
	artifact, err := b.run(t.Context(), b.options("", map[string]any{
		"iso_url": nil, "iso_checksum": nil, "rootfs_directory": root,
	}), provision(leaveMark))
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(root, "etc/mark"))
	assert.Empty(t, artifact.Files())
	assert.Equal(t, root, artifact.Id())
	assert.Nil(t, artifact.State(registry.ArtifactStateURI))
	assert.NoDirExists(t, b.out)
	require.NoError(t, artifact.Destroy())
	assert.DirExists(t, root, "what the user had before is not destroyed")
}

func TestDirectoryThatIsTheHost(t *testing.T) {
	b := newBench(t)
	link := filepath.Join(b.dir, "link")
	require.NoError(t, os.Symlink("/", link))
	_, err := b.run(t.Context(), b.options("", map[string]any{"iso_url": nil, "iso_checksum": nil, "rootfs_directory": link}), provision(leaveMark))
	require.ErrorContains(t, err, "is this host's own root")
	assert.NoFileExists(t, "/etc/mark")
}

func TestReadOnlyChangesNothing(t *testing.T) {
	for _, kind := range []string{"tar", "raw", "qcow2", "directory"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t)
			options := b.options("", map[string]any{"read_only": true, "output_directory": nil, "vm_name": nil})
			var path string
			if kind == "directory" {
				path = b.tree()
				delete(options, "iso_url")
				delete(options, "iso_checksum")
				options["rootfs_directory"] = path
			} else {
				if kind != "tar" {
					b.needLoop()
				}
				path = b.base(kind)
				options["iso_url"] = path
			}
			var before string
			if kind != "directory" {
				before = sha(t, path)
			}
			artifact, err := b.run(t.Context(), options, provision(func(_ context.Context, c packersdk.Communicator, data map[string]any) error {
				assert.Equal(t, "true", data[RootReadOnly])
				var hostname bytes.Buffer
				require.NoError(t, c.Download("/etc/hostname", &hostname))
				assert.Equal(t, "base\n", hostname.String())
				require.ErrorContains(t, c.Upload("/etc/x", strings.NewReader("x"), nil), "read_only = true")
				if kind == "raw" || kind == "qcow2" {
					require.ErrorContains(t, os.WriteFile(filepath.Join(rootOf(data), "x"), nil, 0o600), "read-only file system")
				}
				return nil
			}))
			require.NoError(t, err)
			assert.Empty(t, artifact.Files())
			assert.Equal(t, path, artifact.Id())
			assert.Contains(t, artifact.String(), "nothing was changed")
			if before != "" {
				assert.Equal(t, before, sha(t, path))
			}
			assert.NoDirExists(t, b.out)
		})
	}
}

func TestGrownDisk(t *testing.T) {
	b := newBench(t)
	b.needLoop()
	b.need(disk.Resize2fs)
	base := b.base("raw")
	_, err := b.run(t.Context(), b.options(base, map[string]any{"format": "raw", "disk_size": "200M"}),
		provision(func(_ context.Context, _ packersdk.Communicator, data map[string]any) error {
			// More than the base's 64 MiB.
			return os.WriteFile(filepath.Join(rootOf(data), "big"), bytes.Repeat([]byte("x"), 120<<20), 0o600)
		}))
	require.NoError(t, err)
	fi, err := os.Stat(filepath.Join(b.out, "node.raw"))
	require.NoError(t, err)
	assert.EqualValues(t, 200<<20, fi.Size())
}

func TestHCPMetadata(t *testing.T) {
	b := newBench(t)
	base := b.base("tar")
	artifact, err := b.run(t.Context(), b.options(base, map[string]any{"format": "tar"}), provision(leaveMark))
	require.NoError(t, err)
	metadata, ok := artifact.State(registry.ArtifactStateURI).(*registry.Image)
	require.True(t, ok)
	require.NoError(t, metadata.Validate())
	assert.Equal(t, artifact.Id(), metadata.ImageID)
	assert.Equal(t, "k3s-image", metadata.ProviderName)
	assert.Equal(t, base, metadata.SourceImageID)
	assert.Equal(t, "tar", metadata.Labels["format"])
	assert.Equal(t, BuilderID, artifact.BuilderId())
	assert.Nil(t, artifact.State("something else"))
}
