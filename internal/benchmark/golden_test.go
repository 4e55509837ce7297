package benchmark_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGoldenVerdicts fixes the verdict on every control of a node that the
// guide hardens, for every benchmark and role.
func TestGoldenVerdicts(t *testing.T) {
	for _, b := range bases() {
		t.Run(b.benchmark+"/"+string(b.role), func(t *testing.T) {
			var out strings.Builder
			fmt.Fprintf(&out, "# %s %s, %s\n", b.benchmark, b.release, b.role)
			for _, r := range benchmark.Evaluate(hardened(t, b.release, b.role, b.benchmark).input(t, b.benchmark)) {
				assert.NotContains(t, []benchmark.Status{benchmark.Fail, benchmark.Error}, r.Status, "%s: %s", r.Key, r.Found)
				fmt.Fprintf(&out, "%-14s %-7s %s\n", r.Status, strings.TrimPrefix(r.ID, r.Key), r.Key)
			}
			golden(t, filepath.Join("testdata", fmt.Sprintf("%s-%s.txt", b.benchmark, b.role)), out.String())
		})
	}
}

// TestGoldenResults fixes every word of a report on the newest benchmark.
func TestGoldenResults(t *testing.T) {
	for _, role := range []k3s.Role{k3s.Server, k3s.Agent} {
		var out strings.Builder
		for _, r := range benchmark.Evaluate(hardened(t, "v1.36.3+k3s1", role, "cis-2.1").input(t, "cis-2.1")) {
			fmt.Fprintf(&out, "%s %s [%s] %s: %s\n  found: %s\n  expected: %s\n", r.ID, r.Key, r.Section, r.Status, r.Title, r.Found, r.Expected)
			if r.Reason != "" {
				fmt.Fprintf(&out, "  reason: %s\n", r.Reason)
			}
			for _, e := range r.Evidence {
				fmt.Fprintf(&out, "  evidence: %s", e.Source)
				if e.Line > 0 {
					fmt.Fprintf(&out, ":%d", e.Line)
				}
				fmt.Fprintf(&out, ": %s\n", e.Detail)
			}
			fmt.Fprintf(&out, "  remediation: %s\n", r.Remediation)
		}
		golden(t, fmt.Sprintf("testdata/results-%s.txt", role), out.String())
	}
}

// TestGuideVerdicts: what the K3s self-assessment passes and files or
// arguments can decide, passes here.
func TestGuideVerdicts(t *testing.T) {
	all := assessments(t)
	for _, b := range bases() {
		if b.role != k3s.Server {
			continue
		}
		found := map[string]benchmark.Result{}
		for _, r := range benchmark.Evaluate(hardened(t, b.release, b.role, b.benchmark).input(t, b.benchmark)) {
			found[r.Key] = r
		}
		for _, p := range all[b.benchmark] {
			c, judged := controlOf(b, p.key)
			if p.result != "pass" || !judged || c.Phase(b.benchmark) == benchmark.PhaseOperator {
				continue
			}
			switch r := found[p.key]; {
			case r.Status == benchmark.Pass, r.Status == benchmark.Deferred, r.Status == benchmark.NotApplicable && strings.HasPrefix(r.Reason, "the datastore is sqlite"):
			case p.key == "apiserver.admission.eventratelimit":
				// The guide enables it without limits, at which the API server exits.
				assert.Equal(t, benchmark.Manual, r.Status)
			default:
				t.Errorf("%s %s: %s, which the guide passes: %s", b.benchmark, p.key, r.Status, r.Found)
			}
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run the test with -update to write it")
	assert.Equal(t, string(want), got)
}
