//go:build linux

package rootfs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

func TestRootFaults(t *testing.T)  { nodetest.Faults(t, rootTarget) }
func TestRootEmptied(t *testing.T) { nodetest.Emptied(t, rootTarget) }

func TestRootReadBackFails(t *testing.T) {
	nodetest.NeedRoot(t)
	dir := t.TempDir()
	nodetest.Lay(t, dir, nodetest.FaultTree...)
	for i := range 17 {
		nodetest.Lay(t, dir, "file /z/big/"+string(rune('a'+i))+" 0600")
		require.NoError(t, os.Truncate(filepath.Join(dir, "z/big", string(rune('a'+i))), node.MaxFileSize))
	}
	before := nodetest.Snapshot(t, dir)
	_, err := At(dir).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
	require.ErrorContains(t, err, "reading back")
	assert.Equal(t, before, nodetest.Snapshot(t, dir), "the tree is as before")
}

// killedEnv names the tree that this test binary is to change, again and
// again, until it is killed.
const killedEnv = "NODE_TEST_CHANGE_UNTIL_KILLED"

func TestRootKilled(t *testing.T) {
	if dir := os.Getenv(killedEnv); dir != "" {
		for {
			_, _ = At(dir).Apply(context.Background(), nodetest.FaultChange, nil)
			_, _ = At(dir).Apply(context.Background(), nodetest.Undoing, nil)
		}
	}
	nodetest.NeedRoot(t)
	dir := t.TempDir()
	nodetest.Lay(t, dir, nodetest.FaultTree...)
	for i := range 40 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRootKilled$")
		cmd.Env = append(os.Environ(), killedEnv+"="+dir)
		require.NoError(t, cmd.Start())
		time.Sleep(time.Duration(20+3*i) * time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		_, err := At(dir).Apply(context.Background(), nodetest.FaultChange, nil)
		require.NoError(t, err, "the next run ends")
		assert.NotContains(t, nodetest.Snapshot(t, dir), node.StagingPrefix)
		out, err := At(dir).Apply(context.Background(), nodetest.FaultChange, nil)
		require.NoError(t, err)
		assert.Empty(t, out.Changed, "and everything is in place")
	}
}
