package benchmark_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// base is a kind of node that mutants are made of: one for each benchmark and
// role, on a release that the benchmark fits.
type base struct {
	benchmark, release string
	role               k3s.Role
}

func bases() []base {
	var out []base
	for _, b := range []base{
		{benchmark: "cis-1.6", release: "v1.21.14+k3s1"},
		{benchmark: "cis-1.23", release: "v1.23.17+k3s1"},
		{benchmark: "cis-1.24", release: "v1.24.17+k3s1"},
		{benchmark: "cis-1.7", release: "v1.25.16+k3s4"},
		{benchmark: "cis-1.8", release: "v1.26.15+k3s1"},
		{benchmark: "cis-1.9", release: "v1.27.16+k3s1"},
		{benchmark: "cis-1.10", release: "v1.30.14+k3s1"},
		{benchmark: "cis-1.11", release: "v1.31.14+k3s1"},
		{benchmark: "cis-1.12", release: "v1.33.5+k3s1"},
		{benchmark: "cis-2.0", release: "v1.35.1+k3s1"},
		{benchmark: "cis-2.1", release: "v1.36.3+k3s1"},
	} {
		for _, role := range []k3s.Role{k3s.Server, k3s.Agent} {
			b.role = role
			out = append(out, b)
		}
	}
	return out
}

// psp says whether pods are judged by PodSecurityPolicy on the base.
func (b base) psp() bool {
	return slices.Contains([]string{"cis-1.6", "cis-1.23", "cis-1.24"}, b.benchmark)
}

// mutant breaks one thing on a node.
type mutant struct {
	// control is the key of the control that must notice.
	control string
	// given brings the node to where the control does not fail, if the
	// hardened node is not there by itself.
	given func(*testing.T, *tree)
	// from is the control's verdict before the mutation: pass if empty.
	from benchmark.Status
	// breaks is the mutation.
	breaks func(*testing.T, *tree)
	// turns is what the control turns to: fail if empty.
	turns benchmark.Status
	// also lists the other controls whose verdict changes, and to what.
	also map[string]benchmark.Status
	// on limits the mutant to some bases; nil means every base that has the
	// control.
	on func(base) bool
}

// fails declares dependants that turn to fail too.
func fails(keys ...string) map[string]benchmark.Status {
	out := map[string]benchmark.Status{}
	for _, k := range keys {
		out[k] = benchmark.Fail
	}
	return out
}

func statuses(t *testing.T, tr *tree, b base) map[string]benchmark.Status {
	t.Helper()
	out := map[string]benchmark.Status{}
	for _, r := range benchmark.Evaluate(tr.input(t, b.benchmark)) {
		out[r.Key] = r.Status
	}
	return out
}

// TestMutation breaks one thing at a time on a node that passes, and wants
// exactly the control in question and its declared dependants to notice. It
// covers every control that files or arguments decide, on every benchmark.
func TestMutation(t *testing.T) {
	mutants := slices.Concat(argumentMutants(), fileMutants(), policyMutants(), nodeMutants(), hygieneMutants())
	known := map[string]bool{}
	killed, total := 0, 0
	for _, b := range bases() {
		if os.Getenv("PACKER_ACC") == "" && !slices.Contains([]string{"cis-1.24", "cis-2.1"}, b.benchmark) {
			continue // the rest takes a minute: make mutation, make testacc
		}
		hardened := hardened(t, b.release, b.role, b.benchmark, func(o *harden.Options) { o.Benchmark = b.benchmark })
		plain := statuses(t, hardened, b)
		for key, s := range plain {
			assert.NotContains(t, []benchmark.Status{benchmark.Fail, benchmark.Error}, s, "%v: %s before any mutation", b, key)
		}
		covered := map[string]int{}
		for i, m := range mutants {
			known[m.control] = true
			c, ok := controlOf(b, m.control)
			if !ok || m.on != nil && !m.on(b) {
				continue
			}
			_ = c
			covered[m.control]++
			total++
			name := fmt.Sprintf("%s/%s/%s/%d", b.benchmark, b.role, m.control, i)
			if t.Run(name, func(t *testing.T) { m.run(t, hardened, b, plain) }) {
				killed++
			}
		}
		for _, c := range benchmark.ControlsOf(b.benchmark) {
			// What only a first start shows has its own mutants: TestFirstStartMutants.
			if _, ok := controlOf(b, c.Key); ok && plain[c.Key] != "" {
				assert.NotZero(t, covered[c.Key], "%v: no mutant for %s", b, c.Key)
			}
		}
	}
	for _, b := range benchmark.Benchmarks() {
		for _, c := range benchmark.ControlsOf(b) {
			delete(known, c.Key)
		}
	}
	assert.Empty(t, known, "mutants for controls that do not exist")
	fmt.Fprintf(os.Stdout, "killed %d of %d\n", killed, total)
}

// controlOf returns the control of that key if it is judged on the base.
func controlOf(b base, key string) (benchmark.Control, bool) {
	r, err := k3s.ParseRelease(b.release)
	if err != nil {
		return benchmark.Control{}, false
	}
	for _, c := range benchmark.ControlsOf(b.benchmark) {
		if c.Key == key {
			return c, c.Judged(b.benchmark, b.role) && c.AppliesFrom(r)
		}
	}
	return benchmark.Control{}, false
}

func (m mutant) run(t *testing.T, hardened *tree, b base, before map[string]benchmark.Status) {
	tr := hardened.clone()
	if m.given != nil {
		m.given(t, tr)
		before = statuses(t, tr, b)
	}
	from, turns := m.from, m.turns
	if from == "" {
		from = benchmark.Pass
	}
	if turns == "" {
		turns = benchmark.Fail
	}
	require.Equal(t, from, before[m.control], "before the mutation")
	m.breaks(t, tr)
	after := statuses(t, tr, b)
	want := map[string]benchmark.Status{m.control: turns}
	for key, s := range m.also {
		if _, judged := controlOf(b, key); judged {
			want[key] = s
		}
	}
	got := map[string]benchmark.Status{}
	for key, s := range after {
		if before[key] != s {
			got[key] = s
		}
	}
	assert.Equal(t, want, got, "what changed")
}
