package cis

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Whatever release and role is baked, what the guide lays down holds before the
// benchmarks that fit the release: hardening and judging know nothing of each
// other, so that each proves the other.
func TestEveryReleaseHoldsBeforeEveryBenchmarkThatFits(t *testing.T) {
	for minor := 19; minor <= 37; minor++ {
		release := k3s.Release{Major: 1, Minor: minor, Patch: 3, Build: 1}
		for _, name := range benchmark.Benchmarks() {
			if _, err := benchmark.Select(release, name); err != nil {
				continue
			}
			for _, role := range []k3s.Role{k3s.Server, k3s.Agent} {
				t.Run(fmt.Sprintf("%s %s %s", release.MinorName(), name, role), func(t *testing.T) {
					x := try(t, newTree(t), map[string]any{
						"k3s_version": release.String(), "benchmark": name, "role": string(role),
					}, nil)
					require.NoError(t, x.err, x.log)
					assert.Equal(t, name, x.report.Benchmark)
					assert.Positive(t, x.report.Summary[benchmark.Pass], x.log)
					assert.Zero(t, x.report.Summary[benchmark.Fail]+x.report.Summary[benchmark.Error], x.log)
				})
			}
		}
	}
}

// TestNewerReleaseIsSaidInTheReport: nothing is proven by a default of a release
// that is not known, and the report says so whatever the mode.
func TestNewerReleaseIsSaidInTheReport(t *testing.T) {
	tree := newTree(t)
	options := map[string]any{"k3s_version": "v1.40.0+k3s1"}
	for _, mode := range []string{modeApply, modeCheck} {
		options["mode"] = mode
		x := try(t, tree, options, nil)
		require.NoError(t, x.err, x.log)
		require.Len(t, x.report.Warnings, 1)
		assert.Contains(t, x.report.Warnings[0], "K3s v1.40.0+k3s1 is newer than the newest release line known here")
		assert.Contains(t, x.log, "WARNING K3s v1.40.0+k3s1 is newer")
		for _, r := range x.report.Results {
			if r.Status != benchmark.Pass {
				continue
			}
			assert.True(t, slices.ContainsFunc(r.Evidence, func(e benchmark.Evidence) bool { return !strings.HasSuffix(e.Source, " default") }), r.ID)
		}
	}
}
