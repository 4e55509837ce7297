package rootfs_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// A file of the build host is written as it was read, of any size, or nothing is.
func TestSource(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the files of a node belong to root")
	}
	data := strings.Repeat("0123456789abcdef", node.MaxFileSize/16+1)
	sum := sha256.Sum256([]byte(data))
	for name, c := range map[string]struct {
		spoil func(file string) error
		want  string
	}{
		"whole":   {},
		"other":   {spoil: func(f string) error { return os.WriteFile(f, []byte(strings.ToUpper(data)), 0o600) }, want: "on the build host has the SHA-256"},
		"shorter": {spoil: func(f string) error { return os.Truncate(f, 1000) }, want: "on the build host does not have the"},
		"longer":  {spoil: func(f string) error { return os.WriteFile(f, []byte(data+"x"), 0o600) }, want: "on the build host does not have the"},
		"gone":    {spoil: os.Remove, want: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			file, tree := filepath.Join(t.TempDir(), "source"), t.TempDir()
			require.NoError(t, os.WriteFile(file, []byte(data), 0o600))
			if c.spoil != nil {
				require.NoError(t, c.spoil(file))
			}
			change := node.Change{Write: []node.Entry{
				{Path: "/etc/first", Kind: node.KindFile, Mode: 0o600, Data: []byte("first")},
				{Path: "/opt/bin/k3s", Kind: node.KindFile, Mode: 0o755, Source: &node.Source{Path: file, Size: int64(len(data)), SHA256: sum}},
			}}
			apply := func() (*node.Outcome, error) {
				return rootfs.At(tree).Apply(t.Context(), change, node.Query{{Path: "/opt/bin/k3s"}})
			}
			out, err := apply()
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				left, err := os.ReadDir(tree)
				require.NoError(t, err)
				assert.Empty(t, left)
				return
			}
			require.NoError(t, err)
			assert.Contains(t, out.Changed, "/opt/bin/k3s")
			e, presence := out.Node.Lookup("/opt/bin/k3s")
			assert.Equal(t, node.Present, presence)
			assert.Equal(t, int64(len(data)), e.Size)
			written, err := os.ReadFile(filepath.Join(tree, "opt/bin/k3s"))
			require.NoError(t, err)
			assert.True(t, bytes.Equal([]byte(data), written))

			out, err = apply()
			require.NoError(t, err)
			assert.Empty(t, out.Changed)
			require.NoError(t, os.WriteFile(filepath.Join(tree, "opt/bin/k3s"), []byte(strings.ToUpper(data)), 0o755))
			out, err = apply()
			require.NoError(t, err)
			assert.Equal(t, []string{"/opt/bin/k3s"}, out.Changed, "as long, and another")
		})
	}
}

// What does not fit is refused before anything is written, and fits once there is room.
func TestSourceRoom(t *testing.T) {
	nodetest.NeedRoot(t)
	file, tree := filepath.Join(t.TempDir(), "source"), t.TempDir()
	data := bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16)
	require.NoError(t, os.WriteFile(file, data, 0o600))
	nodetest.Lay(t, tree, "dir /etc 0755", "dir /opt/images 0755")
	opt := filepath.Join(tree, "opt/images")
	nodetest.Mounted(t, opt, "-t", "tmpfs", "-o", "size=5m", "tmpfs")
	source := &node.Source{Path: file, Size: int64(len(data)), SHA256: sha256.Sum256(data)}
	change := node.Change{Write: []node.Entry{
		{Path: "/etc/first", Kind: node.KindFile, Mode: 0o600, Data: []byte("first")},
		{Path: "/opt/images/a/b.tar", Kind: node.KindFile, Mode: 0o600, Source: source},
		{Path: "/opt/images/c.tar", Kind: node.KindFile, Mode: 0o600, Source: source},
	}}
	before := nodetest.Snapshot(t, tree)
	_, err := rootfs.At(tree).Apply(t.Context(), change, nil)
	require.ErrorContains(t, err, "the file system of /opt/images has 5.2")
	require.ErrorContains(t, err, "and what comes there needs 6.291MB")
	assert.Equal(t, before, nodetest.Snapshot(t, tree))

	nodetest.Run(t, "mount", "-o", "remount,size=20m", opt)
	_, err = rootfs.At(tree).Apply(t.Context(), change, nil)
	require.NoError(t, err)
	for _, name := range []string{"a/b.tar", "c.tar"} {
		written, err := os.ReadFile(filepath.Join(opt, name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, written))
	}
}
