//go:build unix

package node

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func rootTarget(_ *testing.T, dir string) Target { return Root(dir) }

func TestRootReading(t *testing.T)  { testReading(t, rootTarget) }
func TestRootLimits(t *testing.T)   { testLimits(t, rootTarget) }
func TestRootApplying(t *testing.T) { testApplying(t, rootTarget) }

func TestRootMissing(t *testing.T) {
	_, err := Root(filepath.Join(t.TempDir(), "none")).Read(context.Background(), Query{{Path: "/etc"}})
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
		n, err := Root(dir).Read(context.Background(), Query{{Path: p, Content: true}})
		require.NoError(t, err)
		e, _ := n.Lookup(p)
		assert.Equal(t, KindLink, e.Kind)
		_, err = Root(dir).Apply(context.Background(), Change{Write: []Entry{file(p, 0o600, "x")}}, nil)
		require.ErrorContains(t, err, "leads nowhere")
	}
	data, err := os.ReadFile(filepath.Join(outside, "secret"))
	require.NoError(t, err)
	assert.Equal(t, "outside", string(data))
}

func TestRootCancelled(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, "file /c/a 0644 old")
	before := snapshot(t, dir)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Root(dir).Read(ctx, Query{{Path: "/c"}})
	require.ErrorIs(t, err, context.Canceled)
	_, err = Root(dir).Apply(ctx, Change{Write: []Entry{file("/c/a", 0o600, "new")}}, nil)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, before, snapshot(t, dir))
}

func TestRootLeftoversOfAKilledRunGo(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	lay(t, dir, "file /c/a 0644 old", "file /c/.k3s-cis-dead/1.new 0600 half")
	out, err := Root(dir).Apply(context.Background(), Change{Write: []Entry{file("/c/a", 0o600, "new")}}, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"/c/a"}, out.Changed)
	assert.NotContains(t, snapshot(t, dir), stagePrefix)
}
