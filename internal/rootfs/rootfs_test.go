//go:build unix

package rootfs

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

func rootTarget(_ *testing.T, dir string) node.Target { return At(dir) }

func TestRootReading(t *testing.T)  { nodetest.Reading(t, rootTarget) }
func TestRootLimits(t *testing.T)   { nodetest.Limits(t, rootTarget) }
func TestRootApplying(t *testing.T) { nodetest.Applying(t, rootTarget) }

func TestRootMissing(t *testing.T) {
	_, err := At(filepath.Join(t.TempDir(), "none")).Read(context.Background(), node.Query{{Path: "/etc"}})
	require.ErrorContains(t, err, "cannot be opened")
}

func TestRootNeverLeaves(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("outside"), 0o600))
	dir := t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "abs")))
	up, err := filepath.Rel(dir, outside)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(up, filepath.Join(dir, "up")))
	for _, p := range []string{"/abs/secret", "/up/secret"} {
		n, err := At(dir).Read(context.Background(), node.Query{{Path: p, Content: true}})
		require.NoError(t, err)
		e, _ := n.Lookup(p)
		assert.Equal(t, node.KindLink, e.Kind)
		_, err = At(dir).Apply(context.Background(), node.Change{Write: []node.Entry{nodetest.File(p, 0o600, "x")}}, nil)
		require.ErrorContains(t, err, "leads nowhere")
	}
	data, err := os.ReadFile(filepath.Join(outside, "secret"))
	require.NoError(t, err)
	assert.Equal(t, "outside", string(data))
}

func TestRootCancelled(t *testing.T) {
	dir := t.TempDir()
	nodetest.Lay(t, dir, "file /c/a 0644 old")
	before := nodetest.Snapshot(t, dir)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := At(dir).Read(ctx, node.Query{{Path: "/c"}})
	require.ErrorIs(t, err, context.Canceled)
	_, err = At(dir).Apply(ctx, node.Change{Write: []node.Entry{nodetest.File("/c/a", 0o600, "new")}}, nil)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, before, nodetest.Snapshot(t, dir))
}

func TestRootLeftoversOfAKilledRunGo(t *testing.T) {
	nodetest.NeedRoot(t)
	dir := t.TempDir()
	nodetest.Lay(t, dir, "file /c/a 0644 old", "file /c/.k3s-cis-dead/1.new 0600 half")
	out, err := At(dir).Apply(context.Background(), node.Change{Write: []node.Entry{nodetest.File("/c/a", 0o600, "new")}}, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"/c/a"}, out.Changed)
	assert.NotContains(t, nodetest.Snapshot(t, dir), node.StagingPrefix)
}

// Sections are read of programs of whatever size, and of nothing else.
func TestRootSections(t *testing.T) {
	large := nodetest.Program(t, ".text", "x", ".line", "first", ".linux", string(make([]byte, node.MaxFileSize)), ".line", "second")
	for name, c := range map[string]struct {
		text string
		want [][]byte
	}{
		"a large program":           {large, [][]byte{[]byte("first"), []byte("second")}},
		"one without such sections": {nodetest.Program(t, ".text", string(make([]byte, node.MaxFileSize))), [][]byte{}},
		"one that is cut off":       {large[:len(large)-1], nil},
		"no program":                {string(make([]byte, node.MaxFileSize+1)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "efi"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "efi/a.efi"), []byte(c.text), 0o600))
			// Whatever else asks for the same path.
			n, err := At(dir).Read(context.Background(), node.Query{
				{Path: "/efi", Depth: 1}, {Path: "/efi", Depth: 1, Content: true, Section: ".line"}, {Path: "/efi", Depth: 1, Content: true},
			})
			require.NoError(t, err)
			e, _ := n.Lookup("/efi/a.efi")
			assert.Equal(t, node.UnreadLarge, e.Unread)
			assert.Equal(t, c.want, e.Sections)
		})
	}
}
