package cis

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

// Whatever release and role is baked, what the guide lays down holds before the
// benchmarks that fit the release: hardening and judging know nothing of each
// other, so that each proves the other.
func TestEveryReleaseHoldsBeforeEveryBenchmarkThatFits(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the files of a node belong to root")
	}
	for minor := 19; minor <= 37; minor++ {
		release := k3s.Release{Major: 1, Minor: minor, Patch: 3, Build: 1}
		for _, benchmark := range cis.Benchmarks() {
			if _, err := cis.Select(release, benchmark); err != nil {
				continue
			}
			for _, role := range []k3s.Role{k3s.Server, k3s.Agent} {
				t.Run(fmt.Sprintf("%s %s %s", release.MinorName(), benchmark, role), func(t *testing.T) {
					r, log, err := provision(t, map[string]any{
						"k3s_version": release.String(), "benchmark": benchmark, "role": string(role),
					})
					require.NoError(t, err, log)
					assert.Equal(t, benchmark, r.Benchmark)
					assert.Positive(t, r.Summary[cis.Pass], log)
					assert.Zero(t, r.Summary[cis.Fail]+r.Summary[cis.Error], log)
				})
			}
		}
	}
}

// provision runs the provisioner on an empty tree.
func provision(t *testing.T, raw map[string]any) (report.Report, string, error) {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, os.Mkdir(tree, 0o755))
	raw["report_dir"] = filepath.Join(t.TempDir(), "report")
	var p Provisioner
	require.NoError(t, p.Prepare(raw))
	ui := new(packersdk.MockUi)
	err := p.Provision(t.Context(), ui, nil, map[string]any{rootDirectoryKey: tree})
	log := ui.ErrorMessage
	for _, said := range ui.SayMessages {
		log += said.Message + "\n"
	}
	data, readErr := os.ReadFile(filepath.Join(raw["report_dir"].(string), "report.json"))
	if readErr != nil {
		return report.Report{}, log, err
	}
	r, loadErr := report.LoadReport(data)
	require.NoError(t, loadErr)
	return r, log, err
}
