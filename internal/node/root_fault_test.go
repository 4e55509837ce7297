//go:build linux

package node

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRootFaults(t *testing.T) { testFaults(t, rootTarget) }

func TestRootReadBackFails(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	lay(t, dir, faultTree...)
	for i := range 17 {
		lay(t, dir, "file /z/big/"+string(rune('a'+i))+" 0600")
		require.NoError(t, os.Truncate(filepath.Join(dir, "z/big", string(rune('a'+i))), MaxFileSize))
	}
	before := snapshot(t, dir)
	_, err := Root(dir).Apply(context.Background(), faultChange, faultQuery)
	require.ErrorContains(t, err, "reading back")
	assert.Equal(t, before, snapshot(t, dir), "the tree is as before")
}

// killedEnv names the tree that this test binary is to change, again and
// again, until it is killed.
const killedEnv = "NODE_TEST_CHANGE_UNTIL_KILLED"

func TestRootKilled(t *testing.T) {
	if dir := os.Getenv(killedEnv); dir != "" {
		for {
			_, _ = Root(dir).Apply(context.Background(), faultChange, nil)
			_, _ = Root(dir).Apply(context.Background(), undoing, nil)
		}
	}
	needRoot(t)
	dir := t.TempDir()
	lay(t, dir, faultTree...)
	for i := range 40 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRootKilled$")
		cmd.Env = append(os.Environ(), killedEnv+"="+dir)
		require.NoError(t, cmd.Start())
		time.Sleep(time.Duration(20+3*i) * time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		_, err := Root(dir).Apply(context.Background(), faultChange, nil)
		require.NoError(t, err, "the next run ends")
		assert.NotContains(t, snapshot(t, dir), stagePrefix)
		out, err := Root(dir).Apply(context.Background(), faultChange, nil)
		require.NoError(t, err)
		assert.Empty(t, out.Changed, "and everything is in place")
	}
}
