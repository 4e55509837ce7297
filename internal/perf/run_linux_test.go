package perf

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

// sample is what one run of a way gave.
type sample struct {
	seconds         float64
	channels, trips int
	in, out         int64
}

// once runs a way on a fresh machine, through a proxy.
func once(t testing.TB, tree string, w work, by way, trip time.Duration) sample {
	t.Helper()
	m, end := sshtest.Start(t, tree)
	defer end()
	p := sshtest.NewProxy(t, m.Addr(), trip)
	dir := t.TempDir()
	cmd := by.command(t, target{port: p.Port, key: m.Key, dir: dir})
	// A file, not a pipe, which a client that stays behind would hold open.
	output, err := os.Create(filepath.Join(dir, "output"))
	require.NoError(t, err)
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output

	started := time.Now()
	err = cmd.Run()
	s := sample{seconds: time.Since(started).Seconds(), channels: m.Channels(), trips: p.RoundTrips()}
	s.in, s.out = p.Bytes()
	if err != nil {
		said, _ := os.ReadFile(output.Name())
		require.NoError(t, err, "%s:\n%s", by.name, said)
	}
	if by.works {
		require.NoError(t, w.done(m), "%s has not done the work", by.name)
	}
	return s
}

// middle is the median of what some runs of a way gave, each figure by itself.
func middle(runs []sample) sample {
	return sample{
		seconds: median(runs, func(s sample) float64 { return s.seconds }),
		trips:   median(runs, func(s sample) int { return s.trips }),
		in:      median(runs, func(s sample) int64 { return s.in }),
		out:     median(runs, func(s sample) int64 { return s.out }),
		// The most, since one channel too many would be one too many.
		channels: slices.MaxFunc(runs, func(a, b sample) int { return a.channels - b.channels }).channels,
	}
}

func median[T int | int64 | float64](runs []sample, of func(sample) T) T {
	values := make([]T, len(runs))
	for i, r := range runs {
		values[i] = of(r)
	}
	return medianOf(values)
}

func medianOf[T int | int64 | float64](runs []T) T {
	values := slices.Sorted(slices.Values(runs))
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

// room is how much room a file takes, in MiB.
func room(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	st, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	return st.Blocks * 512 >> 20
}

// progress says on standard error what is being measured.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// compare runs every way at one delay and returns a row each, and what
// connecting alone with Packer takes. Ways take turns, so that what else the
// machine does meets them all.
func compare(t testing.TB, tree string, w work, ways []way, trip time.Duration, runs int) ([]row, sample) {
	t.Helper()
	var rows []row
	samples := map[string][]sample{}
	for turn := range runs {
		for _, by := range ways {
			if turn >= by.most && by.most > 0 {
				continue
			}
			progress("%s at %s, run %d of %d", by.name, trip, turn+1, runs)
			samples[by.name] = append(samples[by.name], once(t, tree, w, by, trip))
		}
	}
	for _, by := range ways {
		rows = append(rows, newRow(by.name, trip, len(w.files), samples[by.name], middle(samples[by.than])))
	}
	return rows, middle(samples[packerConnect])
}

// grow runs ours with more and more manifests of the user's beside, at one
// delay. base is what connecting alone takes there.
func grow(t testing.TB, tree string, w work, counts []int, trip time.Duration, runs int, base sample, with func(manifests []string) way) []row {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for i := range slices.Max(counts) {
		name := filepath.Join(dir, fmt.Sprintf("own-%04d.yaml", i))
		require.NoError(t, os.WriteFile(name, fmt.Appendf(nil, manifest, i), 0o600))
		names = append(names, name)
	}
	samples := make([][]sample, len(counts))
	for turn := range runs {
		for i, count := range counts {
			progress("%d files more at %s, run %d of %d", count, trip, turn+1, runs)
			samples[i] = append(samples[i], once(t, tree, w, with(names[:count]), trip))
		}
	}
	var rows []row
	for i, count := range counts {
		rows = append(rows, newRow(ours, trip, len(w.files)+count, samples[i], base))
	}
	return rows
}

// manifest is what a user bakes beside, about as long as most are.
const manifest = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: own-%04d
  namespace: default
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: web
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: front
    ports:
    - port: 8080
      protocol: TCP
`
