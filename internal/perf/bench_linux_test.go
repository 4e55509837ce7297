package perf

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

// needBench skips what takes minutes unless `make bench` asked for it.
func needBench(t testing.TB) {
	t.Helper()
	if os.Getenv("K3S_CIS_BENCH") == "" {
		t.Skip("takes minutes: run make bench")
	}
}

// middleTrip is the delay that targets are about.
const middleTrip = 50 * time.Millisecond

// TestBench measures everything, prints the table and writes
// bench-results.json to the top of the source tree.
func TestBench(t *testing.T) {
	needBench(t)
	// An agent would be one channel more, and is not what is measured.
	t.Setenv("SSH_AUTH_SOCK", "")
	p := packertest.New(t, nil)
	tree := sshtest.Base(t)
	w := newWork(t)
	r := results{Created: time.Now().UTC().Format(time.RFC3339), CPUs: runtime.NumCPU(), Load: []string{load(t)}}

	// How many bytes ours exchanges, which the bare command then does too. It
	// also fills the caches.
	ways := allWays(t, p, w, 0, 0)
	alone, all := once(t, tree, w, ways[0], 0), once(t, tree, w, ways[1], 0)
	ways = allWays(t, p, w, all.in-alone.in, all.out-alone.out)
	var connect sample
	for _, trip := range []time.Duration{0, middleTrip, 3 * middleTrip} {
		runs := 3
		if trip == middleTrip {
			runs = 15 // targets hang on hundredths of a second
		}
		rows, alone := compare(t, tree, w, ways, trip, runs)
		r.Ways = append(r.Ways, rows...)
		if trip == middleTrip {
			connect = alone
		}
	}
	r.Growth = grow(t, tree, w, []int{10, 100, 1000}, middleTrip, 3, connect, func(manifests []string) way {
		return way{ours, packerConnect, true, 0, packerWay(p, "root", hardenWith(manifests))}
	})
	r.Images = compareImages(t, p, tree, w, 3)
	r.CheckPass = checkPass(t, tree) // hardens the tree
	r.Load = append(r.Load, load(t))
	r.Targets = append(r.goals(), imageGoals(r.Images)...)
	r.install(t, p, 3)
	r.rehearse(t, 5)

	require.NoError(t, r.write(filepath.Join(packertest.Root(), "bench-results.json")))
	require.NoError(t, r.print(os.Stdout))
}

// find returns the row of a way at the delay that targets are about.
func (r results) find(name string) row {
	for _, l := range r.Ways {
		if l.Way == name && l.RoundTripMS == middleTrip.Milliseconds() {
			return l
		}
	}
	return row{}
}

// load is the load average of the last minute.
func load(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("/proc/loadavg")
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(data), " ")
	return first
}
