package benchmark_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// BenchmarkEvaluate judges a hardened server by the newest benchmark.
func BenchmarkEvaluate(b *testing.B) {
	in := hardened(b, "v1.36.3+k3s1", k3s.Server, "cis-2.1").input(b, "cis-2.1")
	b.ReportAllocs()
	for b.Loop() {
		benchmark.Evaluate(in)
	}
}

// BenchmarkJudge does everything that a user waits for once a machine has
// answered, on what a hardened Debian server answers: some hundred entries,
// most of them units of which only the name was asked.
func BenchmarkJudge(b *testing.B) {
	tr := hardened(b, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
	tr.dir("/etc/sysctl.d", 0o755)
	for _, dir := range []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		for i := range 230 {
			unit := node.Entry{Path: fmt.Sprintf("%sunit-%d.service", dir, i), Kind: node.KindFile, Mode: 0o644, Size: 700}
			tr.entries[unit.Path] = unit
		}
	}
	for i := range 8 {
		tr.file(fmt.Sprintf("/etc/init.d/script-%d", i), 0o755, strings.Repeat("# nothing that runs here\n", 100))
		tr.file(fmt.Sprintf("/etc/ssh/ssh_host_key_%d.pub", i), 0o644, "ssh-ed25519 AAAA\n")
		tr.file(fmt.Sprintf("/etc/sysctl.d/%d.conf", i), 0o644, fmt.Sprintf("net.ipv4.conf.eth%d.rp_filter = 1\n", i))
	}
	in := tr.input(b, "cis-2.1")
	resolve := func() *k3s.Effective {
		e, err := k3s.Resolve(in.Node, tr.release, tr.role)
		require.NoError(b, err)
		return e
	}
	for _, step := range []struct {
		name string
		run  func()
	}{
		{"resolve", func() { resolve() }},
		{"followup", func() { benchmark.FollowUp(benchmark.Input{Node: in.Node, Effective: in.Effective}) }},
		{"evaluate", func() { benchmark.Evaluate(in) }},
		{"all", func() {
			again := in
			again.Effective = resolve()
			require.Empty(b, benchmark.FollowUp(benchmark.Input{Node: again.Node, Effective: again.Effective}))
			benchmark.Evaluate(again)
		}},
	} {
		b.Run(step.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				step.run()
			}
		})
	}
}

// BenchmarkManifests shows that cost grows linearly with the manifests.
func BenchmarkManifests(b *testing.B) {
	for _, count := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			tr := hardened(b, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
			for i := range count {
				tr.file(fmt.Sprintf("%sown-%d.yaml", manifests, i), 0o600, fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own-%d}\n", i))
			}
			in := tr.input(b, "cis-2.1")
			b.ReportAllocs()
			for b.Loop() {
				benchmark.Evaluate(in)
			}
		})
	}
}
