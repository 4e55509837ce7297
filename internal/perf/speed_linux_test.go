package perf

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

// BenchmarkMountedRoot collects a hardened base root file system from its
// directory, computes what K3s would run with and judges it: the whole check
// pass without Packer and without writing reports.
func BenchmarkMountedRoot(b *testing.B) {
	needBench(b)
	tree := sshtest.Base(b)
	hardenTree(b, tree)
	mountedRoot(b, tree)
}

func hardenTree(t testing.TB, tree string) {
	t.Helper()
	r, err := k3s.ParseRelease(release)
	require.NoError(t, err)
	o := harden.Options{Release: r, Role: k3s.Server, Benchmark: cisRelease}
	have, err := rootfs.At(tree).Read(t.Context(), harden.Query(o))
	require.NoError(t, err)
	plan, err := harden.Make(o, have)
	require.NoError(t, err)
	_, err = rootfs.At(tree).Apply(t.Context(), plan.Change, nil)
	require.NoError(t, err)
}

func mountedRoot(b *testing.B, tree string) {
	r, err := k3s.ParseRelease(release)
	require.NoError(b, err)
	query := append(harden.Query(harden.Options{Release: r, Role: k3s.Server, Benchmark: cisRelease}), benchmark.Query(k3s.Server, "")...)
	b.ReportAllocs()
	for b.Loop() {
		n, err := rootfs.At(tree).Read(b.Context(), query)
		require.NoError(b, err)
		effective, err := k3s.Resolve(n, r, k3s.Server)
		require.NoError(b, err)
		results := benchmark.Evaluate(benchmark.Input{Node: n, Effective: effective, Benchmark: cisRelease, Role: k3s.Server, Now: time.Now()})
		require.NotEmpty(b, results)
	}
}

// benchmarkLine is what the go tool prints for a benchmark with -benchmem.
var benchmarkLine = regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+(\d+)\s+([\d.]+) ns/op\s+(\d+) B/op\s+(\d+) allocs/op$`)

// checkPass runs the benchmarks of the packages that judge, and then the whole
// check pass on a tree, which it hardens.
func checkPass(t *testing.T, tree string) []speed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-run", "^$", "-bench", ".", "-benchmem", "./internal/benchmark")
	cmd.Dir = packertest.Root()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	var list []speed
	for _, m := range benchmarkLine.FindAllStringSubmatch(string(out), -1) {
		ns, err := strconv.ParseFloat(m[3], 64)
		require.NoError(t, err)
		list = append(list, speed{Name: m[1], MS: ns / 1e6, KiB: float64(number(t, m[4])) / 1024, Allocs: number(t, m[5]), Measured: int(number(t, m[2]))})
	}
	require.NotEmpty(t, list, string(out))

	hardenTree(t, tree)
	r := testing.Benchmark(func(b *testing.B) { mountedRoot(b, tree) })
	require.NotZero(t, r.N, "the whole check pass did not run on %s", filepath.Base(tree))
	return append(list, speed{
		Name: "MountedRoot", MS: float64(r.NsPerOp()) / 1e6,
		KiB: float64(r.AllocedBytesPerOp()) / 1024, Allocs: r.AllocsPerOp(), Measured: r.N,
	})
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err)
	return n
}
