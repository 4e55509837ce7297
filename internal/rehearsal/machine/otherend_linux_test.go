package machine_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/machine"
)

// otherEnd is set where this program is what a rehearsal is ordered from.
const otherEnd = "MACHINE_TEST_OTHER_END"

// killMoments are at how many moments of a rehearsal something is killed.
func killMoments() int {
	if os.Getenv("PACKER_ACC") != "" {
		return 20
	}
	return 3
}

// spread is how long after the begin of a rehearsal the last of these moments is.
const spread = 1200 * time.Millisecond

// requireBegun waits until something of a rehearsal goes on.
func requireBegun(t *testing.T, runs func() string) {
	t.Helper()
	require.Eventually(t, func() bool { return runs() != "" }, 30*time.Second, 5*time.Millisecond, "it does not begin")
}

// TestOtherEndKilled kills what holds the other end of the connection, at several
// moments: Packer, or the session of an SSH server, which leave the machine alone with
// pipes that nobody reads or writes any more.
func TestOtherEndKilled(t *testing.T) {
	if at := os.Getenv(otherEnd); at != "" {
		root, pid, _ := strings.Cut(at, " ")
		p := &place{root: root, pid: pid}
		_, _ = machine.Run(t.Context(), p.machine(), p.request(t, time.Minute, true))
		return
	}
	p := newPlace(t, "", "hang", "forks")
	before := p.state(t)
	for i := range killMoments() {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestOtherEndKilled$")
		cmd.Env = append(os.Environ(), otherEnd+"="+p.root+" "+p.pid)
		require.NoError(t, cmd.Start())
		requireBegun(t, func() string { return p.runs(t) })
		time.Sleep(time.Duration(i) * spread / time.Duration(killMoments()))
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		assert.Eventually(t, func() bool { return p.runs(t) == "" }, 20*time.Second, 100*time.Millisecond, "killed at moment %d", i)
	}
	r := p.request(t, 2*time.Second, true)
	_, err := machine.Run(t.Context(), p.machine(), r)
	require.NoError(t, err)
	assert.Eventually(t, func() bool { return p.state(t) == before }, 5*time.Second, 100*time.Millisecond)
	assert.Equal(t, before, p.state(t), "the machine is as it was after one more run")
}
