package fleet

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

// today is when fleets of tests are looked at.
var today = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// judged are the results of a whole benchmark, as long as real ones.
func judged(t testing.TB, role k3s.Role, name string) []benchmark.Result {
	t.Helper()
	r, err := k3s.ParseRelease("v1.36.3+k3s1")
	require.NoError(t, err)
	n := node.New(benchmark.Query(role, ""), nil)
	effective, err := k3s.Resolve(n, r, role)
	require.NoError(t, err)
	out := benchmark.Evaluate(benchmark.Input{Node: n, Effective: effective, Benchmark: name, Role: role, Now: today})
	for i := range out {
		if out[i].Status == benchmark.Error || out[i].Status == benchmark.Fail {
			out[i].Status = benchmark.Pass
		}
		if len(out[i].Evidence) == 0 {
			out[i].Evidence = []benchmark.Evidence{{Source: "/etc/rancher/k3s/config.yaml", Line: 3, Detail: "a line of the file"}}
		}
	}
	return out
}

// madeUp writes n reports of kinds kinds into folders of dir, as builds do.
func madeUp(t testing.TB, dir string, n, kinds int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	roles := []k3s.Role{k3s.Server, k3s.Agent}
	results := map[string][]benchmark.Result{}
	for i := range n {
		kind := i % kinds
		role, name := roles[kind%2], []string{"cis-1.12", "cis-2.0", "cis-2.1"}[kind%3]
		key := string(role) + name
		if results[key] == nil {
			results[key] = judged(t, role, name)
		}
		own := append([]benchmark.Result{}, results[key]...)
		for range random.IntN(4) {
			c := &own[random.IntN(len(own))]
			c.Status, c.Remediation = benchmark.Fail, "Set it."
		}
		c := &own[(kind*7)%len(own)]
		c.Status = benchmark.Waived
		c.Waiver = &benchmark.Waiver{
			Control: c.Key, Reason: "Limits are set at the ingress.", Owner: "platform@example.com",
			Expires: today.Truncate(24*time.Hour).AddDate(0, 0, 15*(kind%8)),
		}
		m := report.Meta{
			PluginVersion: "0.1.0", Created: today.Add(-time.Duration(i) * time.Minute), K3sVersion: fmt.Sprintf("v1.36.%d+k3s1", 2+i/kinds%2),
			Role: string(role), Benchmark: name, BenchmarkName: benchmark.FullName(name),
			Node: report.Node{
				Build: fmt.Sprintf("amazon-ebs.node%02d", kind), Access: "ssh", Image: fmt.Sprintf("node-%04d", i),
				OS: "Debian GNU/Linux 12 (bookworm)", Kernels: []string{"6.1.0-31-amd64"}, Architecture: "amd64", Run: fmt.Sprintf("run-%04d", i),
			},
		}
		if role == k3s.Server {
			m.Node.Datastore, m.Cluster = "sqlite", map[string]string{"cluster-cidr": "10.42.0.0/16", "secrets-encryption": fmt.Sprint(i%97 != 0)}
		}
		write(t, filepath.Join(dir, fmt.Sprintf("build-%04d", i), reportFile), report.New(m, own))
	}
}

func write(t testing.TB, file string, v any) {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, data, 0o600))
}
