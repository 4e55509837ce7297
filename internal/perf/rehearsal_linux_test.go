package perf

import (
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/machine"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/tree"
	"github.com/k3s-cis/packer-plugin-k3s/internal/remote"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

// TestMain lets this program be the first process of a rehearsal in a tree.
func TestMain(m *testing.M) {
	tree.Dispatch()
	os.Exit(m.Run())
}

// rehearsalRow is what rehearsing a first start costs in one place.
type rehearsalRow struct {
	Where       string `json:"where"`
	RoundTripMS int64  `json:"round_trip_ms"`
	// Seconds is the median of Runs, and Adds the median of what they took beyond the
	// time until what was started in K3s's place was up.
	Seconds float64   `json:"seconds"`
	Adds    float64   `json:"adds_seconds"`
	Runs    []float64 `json:"runs_seconds"`
}

// The places of rehearsals, as the table has them.
const (
	rehearsedOverSSH = "rehearsal {} over SSH"
	rehearsedInTree  = "rehearsal {} in a tree"
)

// rehearse measures rehearsals of a node whose K3s is the launcher, over SSH with each
// delay and in a tree, and says what of them is aimed at.
func (r *results) rehearse(t testing.TB, runs int) {
	t.Helper()
	log.SetOutput(io.Discard) // in which the communicator tells every command
	defer log.SetOutput(os.Stderr)
	root := sshtest.Base(t)
	node := launchertest.OnSQLite
	node.Lay(t, root)
	launchertest.Install(t, root)
	node.Move(t, root, "/opt/bin/k3s") // which is not on the host's /usr
	m, end := sshtest.Start(t, root)
	defer end()
	for _, trip := range []time.Duration{0, middleTrip, 3 * middleTrip} {
		proxy := sshtest.NewProxy(t, m.Addr(), trip)
		there := remote.New(m.Connect(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(proxy.Port)), "root", false), remote.Options{})
		r.Rehearsals = append(r.Rehearsals, rehearsals(t, rehearsedOverSSH, trip, runs, func() (*rehearsal.Observation, error) {
			return machine.Run(t.Context(), there, node.Request(t, root, time.Minute, false))
		}))
	}
	r.Rehearsals = append(r.Rehearsals, rehearsals(t, rehearsedInTree, 0, runs, func() (*rehearsal.Observation, error) {
		return tree.Run(t.Context(), root, node.Request(t, root, time.Minute, false))
	}))
	for _, l := range r.Rehearsals {
		switch {
		case l.Where == rehearsedInTree:
			r.Targets = append(r.Targets, atMost("seconds that a rehearsal adds in a tree", l.Adds, 1))
		case l.RoundTripMS == middleTrip.Milliseconds():
			r.Targets = append(r.Targets, atMost("seconds that a rehearsal adds over SSH at 50 ms", l.Adds, 1.5))
		}
	}
}

// rehearsals measures some runs, each of which has to be a first start that went as
// K3s's do.
func rehearsals(t testing.TB, where string, trip time.Duration, runs int, run func() (*rehearsal.Observation, error)) rehearsalRow {
	t.Helper()
	row := rehearsalRow{Where: where, RoundTripMS: trip.Milliseconds()}
	var adds []float64
	for turn := range runs {
		progress("%s at %s, run %d of %d", where, trip, turn+1, runs)
		began := time.Now()
		seen, err := run()
		took := time.Since(began)
		require.NoError(t, err)
		launchertest.RequireFirstStart(t, seen, false)
		row.Runs = append(row.Runs, took.Seconds())
		adds = append(adds, (took - seen.UpAfter).Seconds())
	}
	row.Seconds, row.Adds = medianOf(row.Runs), medianOf(adds)
	return row
}

// TestBenchRehearsal measures rehearsals alone.
func TestBenchRehearsal(t *testing.T) {
	needBench(t)
	r := results{CPUs: runtime.NumCPU(), Load: []string{load(t)}}
	r.rehearse(t, 5)
	require.NoError(t, r.print(os.Stdout))
}
