package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// provision is a hook that does what a provisioner would.
type provision func(ctx context.Context, comm packersdk.Communicator, data map[string]any) error

func (p provision) Run(ctx context.Context, name string, _ packersdk.Ui, comm packersdk.Communicator, data any) error {
	if name != packersdk.HookProvision {
		return nil
	}
	generated, ok := data.(map[string]any)
	if !ok {
		return errors.New("no generated data")
	}
	return p(ctx, comm, generated)
}

// leaveMark writes a file the way the k3s-cis provisioner does, without the
// communicator.
func leaveMark(_ context.Context, _ packersdk.Communicator, data map[string]any) error {
	return os.WriteFile(filepath.Join(rootOf(data), "etc/mark"), []byte("made"), 0o600)
}

// rootOf is where generated data says the tree is.
func rootOf(data map[string]any) string {
	root, _ := data[RootDirectory].(string)
	return root
}

// bench is a place for a build, whose every trace must be gone afterwards.
type bench struct {
	t        testing.TB
	dir, out string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	b := &bench{t: t, dir: t.TempDir()}
	b.out = filepath.Join(b.dir, "out")
	work := filepath.Join(b.dir, "work")
	require.NoError(t, os.Mkdir(work, 0o755))
	t.Setenv("TMPDIR", work)
	t.Setenv("PACKER_CACHE_DIR", filepath.Join(b.dir, "cache"))
	t.Cleanup(func() {
		left, err := filepath.Glob(filepath.Join(work, workPrefix+"*"))
		require.NoError(t, err)
		assert.Empty(t, left, "left in the work directory")
		mounts, err := os.ReadFile("/proc/self/mounts")
		require.NoError(t, err)
		assert.NotContains(t, string(mounts), b.dir, "left mounted")
		loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
		require.NoError(t, err)
		for _, loop := range loops {
			if backing, err := os.ReadFile(loop); err == nil {
				assert.NotContains(t, string(backing), b.dir, "left attached")
			}
		}
	})
	return b
}

// tree makes a small root file system on this host.
func (b *bench) tree() string {
	b.t.Helper()
	root := filepath.Join(b.dir, "tree")
	for _, dir := range []string{"etc", "usr/bin", "tmp", "var/lib", "dev", "proc", "sys"} {
		require.NoError(b.t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	require.NoError(b.t, os.WriteFile(filepath.Join(root, "etc/hostname"), []byte("base\n"), 0o644))
	require.NoError(b.t, os.WriteFile(filepath.Join(root, "usr/bin/su"), []byte("x"), 0o755))
	require.NoError(b.t, os.Chmod(filepath.Join(root, "usr/bin/su"), 0o755|fs.ModeSetuid))
	return root
}

func (b *bench) need(tools ...disk.Tool) {
	b.t.Helper()
	if err := disk.Missing(tools...); err != nil {
		b.t.Skip(err)
	}
}

// base makes a base of a kind from the tree and returns its path.
func (b *bench) base(kind string) string {
	b.t.Helper()
	root, path := b.tree(), filepath.Join(b.dir, "base."+kind)
	switch kind {
	case "tar":
		_, err := disk.ArchiveFile(b.t.Context(), root, path, nil)
		require.NoError(b.t, err)
	case "raw", "qcow2":
		b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
		raw := filepath.Join(b.dir, "base.raw")
		require.NoError(b.t, disk.MakeExt4(b.t.Context(), root, raw, 64<<20, nil, b.t.TempDir()))
		if kind == "qcow2" {
			require.NoError(b.t, disk.Convert(b.t.Context(), raw, disk.Raw, path, disk.QCOW2))
		}
	}
	require.NoError(b.t, os.RemoveAll(root))
	return path
}

// needLoop skips where disks cannot be mounted.
func (b *bench) needLoop() {
	b.t.Helper()
	if out, err := exec.Command("losetup", "--find").CombinedOutput(); err != nil {
		b.t.Skipf("no loop devices here: %s", out)
	}
}

func (b *bench) options(base string, more map[string]any) map[string]any {
	o := map[string]any{
		"packer_build_name": "node", "packer_builder_type": "k3s-image",
		"iso_url": base, "iso_checksum": "none", "output_directory": b.out, "vm_name": "node",
	}
	for k, v := range more {
		if v == nil {
			delete(o, k)
			continue
		}
		o[k] = v
	}
	return o
}

func (b *bench) run(ctx context.Context, options map[string]any, hook packersdk.Hook) (packersdk.Artifact, error) {
	b.t.Helper()
	builder := new(Builder)
	_, _, err := builder.Prepare(options)
	require.NoError(b.t, err)
	return builder.Run(ctx, &packersdk.BasicUi{Reader: strings.NewReader(""), Writer: io.Discard, ErrorWriter: io.Discard, PB: &packersdk.NoopProgressTracker{}}, hook)
}

// content reads a file of an image.
func (b *bench) content(image, format, name string) string {
	b.t.Helper()
	if format == "tar" {
		out, err := exec.Command("tar", "-xOf", image, "."+name).Output()
		require.NoError(b.t, err)
		return string(out)
	}
	raw := image
	if format == "qcow2" {
		raw = filepath.Join(b.t.TempDir(), "image.raw")
		require.NoError(b.t, disk.Convert(b.t.Context(), image, disk.QCOW2, raw, disk.Raw))
	}
	debugfs, err := disk.Debugfs.Find()
	require.NoError(b.t, err)
	out, err := exec.Command(debugfs, "-R", "cat "+name, raw).Output()
	require.NoError(b.t, err)
	return string(out)
}

// verify compares an image with its Id and its checksum file, by the programs
// that users do it with.
func (b *bench) verify(image, id string) {
	b.t.Helper()
	algorithm, digest, ok := strings.Cut(id, ":")
	require.True(b.t, ok, id)
	program, ending := []string{"sha256sum"}, ".sha256"
	said := digest + "  " + filepath.Base(image) + "\n"
	if algorithm == "fsverity-sha256" {
		program, ending = []string{"fsverity", "digest"}, ".fsverity"
		said = "sha256:" + digest + " " + filepath.Base(image) + "\n"
	}
	line, err := os.ReadFile(image + ending)
	require.NoError(b.t, err)
	assert.Equal(b.t, said, string(line))
	if _, err := exec.LookPath(program[0]); err != nil {
		b.t.Logf("digest not compared: %s", err)
		return
	}
	cmd := exec.Command(program[0], append(program[1:], filepath.Base(image))...)
	cmd.Dir = filepath.Dir(image)
	out, err := cmd.Output()
	require.NoError(b.t, err)
	assert.Equal(b.t, said, string(out))
}

func (b *bench) text(content string) string {
	path := filepath.Join(b.dir, "base.txt")
	require.NoError(b.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func sha(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
