package selinux

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// A distribution's setfiles gives every file of a system the label that we say.
func TestAccSetfilesAgrees(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("acceptance test: set PACKER_ACC=1 to compare with a real policy and setfiles")
	}
	root := t.TempDir()
	archive := filepath.Join(packertest.Base(t, "selinux"), "rootfs.tar.zst")
	out, err := exec.Command("tar", "--zstd", "-xpf", archive, "-C", root, "--numeric-owner").CombinedOutput()
	require.NoError(t, err, string(out))
	packertest.Label(t, root)

	p, err := Load(func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(root, name)) })
	require.NoError(t, err)
	require.NotNil(t, p)
	var files []File
	var want []string
	require.NoError(t, filepath.WalkDir(root, func(host string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, host)
		if err != nil {
			return err
		}
		label := make([]byte, 4096)
		n, err := unix.Lgetxattr(host, Attribute, label)
		if errors.Is(err, unix.ENODATA) {
			n, err = 1, nil
		}
		if err != nil {
			return err
		}
		kind := byte('-')
		if letter := d.Type().String()[0]; letter != '-' {
			kind = map[byte]byte{'d': 'd', 'L': 'l', 'D': 'b', 'S': 's', 'p': 'p'}[letter]
		}
		files = append(files, File{Path: filepath.Join("/", name), Kind: kind})
		want = append(want, string(label[:n-1]))
		return nil
	}))
	got, err := p.Labels(files)
	require.NoError(t, err)
	kinds := map[string]bool{}
	for i, f := range files {
		kinds[want[i]] = true
		assert.Equal(t, want[i], got[i], "%c %s", f.Kind, f.Path)
	}
	t.Logf("%d files of %d different labels", len(files), len(kinds))
	assert.Greater(t, len(kinds), 50)
}
