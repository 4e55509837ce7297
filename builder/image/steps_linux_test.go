package image

import (
	"archive/tar"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// A tar or directory base needs neither mounts nor loop devices nor device
// nodes: the whole build runs with the capabilities of an ordinary container.
func TestOrdinaryContainer(t *testing.T) {
	if os.Getenv("IMAGE_TEST_CONFINED") == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root")
		}
		setpriv, err := exec.LookPath("setpriv")
		if err != nil {
			t.Skip("needs setpriv (package util-linux)")
		}
		cmd := exec.Command(setpriv, "--bounding-set", "-sys_admin,-mknod,-sys_rawio,-sys_ptrace,-net_admin", "--inh-caps", "-all",
			os.Args[0], "-test.run", "^TestOrdinaryContainer$", "-test.v")
		cmd.Env = append(os.Environ(), "IMAGE_TEST_CONFINED=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Contains(t, string(out), "--- PASS: TestOrdinaryContainer/tar")
		return
	}
	root := busybox(t)
	for _, format := range []string{"tar", "raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			b := newBench(t)
			b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
			base := filepath.Join(b.dir, "base.tar")
			_, err := disk.ArchiveFile(t.Context(), root, base, &disk.Held{Devices: []disk.Device{
				{Path: "/dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Major: 5, Minor: 1},
			}})
			require.NoError(t, err)
			_, err = b.run(t.Context(), b.options(base, map[string]any{"format": format}),
				provision(func(ctx context.Context, c packersdk.Communicator, data map[string]any) error {
					own, ok := c.(*communicator)
					require.True(t, ok)
					got := runIn(t, own, "echo $((1+1)) > /etc/sum", nil)
					require.Zero(t, got.status, got.errOut)
					return leaveMark(ctx, c, data)
				}))
			require.NoError(t, err)
			image := filepath.Join(b.out, "node."+format)
			assert.Equal(t, "made", b.content(image, format, "/etc/mark"))
			assert.Equal(t, "2\n", b.content(image, format, "/etc/sum"))
			if format == "tar" {
				f, err := os.Open(image)
				require.NoError(t, err)
				defer f.Close()
				assert.Contains(t, names(t, f), "./dev/console")
			}
		})
	}
}

func names(t testing.TB, f *os.File) []string {
	t.Helper()
	var out []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			return out
		}
		out = append(out, h.Name)
	}
}

func TestPreflightSaysAllAtOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	notAnImage := filepath.Join(t.TempDir(), "base.tar")
	require.NoError(t, os.WriteFile(notAnImage, []byte("hello"), 0o600))
	t.Setenv("TMPDIR", "/two\nlines")
	state := new(multistep.BasicStateBag)
	state.Put("ui", packersdk.TestUi(t))
	state.Put(workKey, &work{})
	step := &stepPreflight{Directory: "/none", URLs: []string{notAnImage}, Format: disk.Tar}
	assert.Equal(t, multistep.ActionHalt, step.Run(t.Context(), state))
	err, _ := state.Get("error").(error)
	require.ErrorContains(t, err, "rootfs_directory: stat /none")
	require.ErrorContains(t, err, "iso_url: "+notAnImage+": holds 5 bytes")
	require.ErrorContains(t, err, `TMPDIR: "/two\nlines" has more than one line`)
}

func TestPreflightWantsOnlyWhatIsNeeded(t *testing.T) {
	for name, tt := range map[string]struct {
		base      disk.Format
		directory bool
		output    disk.Format
		want      []disk.Tool
	}{
		"tar to tar":           {base: disk.Tar, output: disk.Tar},
		"tar to raw":           {base: disk.Tar, output: disk.Raw, want: []disk.Tool{disk.Mke2fs, disk.Debugfs, disk.E2fsck}},
		"directory to qcow2":   {directory: true, output: disk.QCOW2, want: []disk.Tool{disk.QemuImg, disk.Mke2fs, disk.Debugfs, disk.E2fsck}},
		"directory in place":   {directory: true},
		"raw to raw":           {base: disk.Raw, output: disk.Raw},
		"raw to tar":           {base: disk.Raw, output: disk.Tar},
		"qcow2 looked at":      {base: disk.QCOW2, want: []disk.Tool{disk.QemuImg}},
		"not known yet, qcow2": {output: disk.QCOW2, want: []disk.Tool{disk.QemuImg}},
	} {
		assert.Equal(t, tt.want, toolsFor(tt.base, tt.directory, tt.output), name)
	}
}

func TestLocalBase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.tar")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	assert.Equal(t, path, localBase([]string{path}))
	assert.Equal(t, path, localBase([]string{"file://" + path}))
	assert.Empty(t, localBase([]string{"https://example.com" + path}))
	assert.Empty(t, localBase([]string{path, path}))
	assert.Empty(t, localBase([]string{filepath.Dir(path)}))
	assert.Empty(t, localBase(nil))
}

// TestMakeDirectories: builds that run at once make their common parent once,
// and each takes away what it made itself.
func TestMakeDirectories(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		for range 200 {
			parent := filepath.Join(t.TempDir(), "a", "b")
			type result struct {
				made []string
				err  error
			}
			results := make(chan result)
			for _, name := range []string{"1", "2", "3", "4"} {
				go func() {
					made, err := makeDirectories(filepath.Join(parent, name), nil)
					results <- result{made, err}
				}()
			}
			var all []string
			for range 4 {
				r := <-results
				require.NoError(t, r.err)
				all = append(all, r.made...)
			}
			assert.ElementsMatch(t, []string{
				filepath.Dir(parent), parent,
				filepath.Join(parent, "1"), filepath.Join(parent, "2"), filepath.Join(parent, "3"), filepath.Join(parent, "4"),
			}, all)
		}
	})
	t.Run("in the way", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
		require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "link")))
		_, err := makeDirectories(filepath.Join(dir, "file"), nil)
		require.ErrorContains(t, err, "is no directory")
		_, err = makeDirectories(filepath.Join(dir, "link", "below"), nil)
		require.ErrorIs(t, err, fs.ErrExist)
	})
}
