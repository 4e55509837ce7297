package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// rehearsedReport has a control that a first start proved, and one that it did not.
func rehearsedReport() Report {
	seen := []benchmark.Evidence{{Source: "/var/lib/rancher/k3s/server/tls/client-ca.key", Detail: "0666 root:root", Phase: benchmark.Rehearsed}}
	return New(fixtureMeta(), []benchmark.Result{
		{ID: "1.1.13", Key: "a", Title: "a", Section: "1.1", Status: benchmark.Pass, Found: "x", Expected: "x", Phase: benchmark.Rehearsed, Evidence: seen},
		{ID: "1.1.14", Key: "b", Title: "b", Section: "1.1", Status: benchmark.Pass, Found: "x", Expected: "x", Evidence: seen[:1]},
		{ID: "1.1.21", Key: "c", Title: "c", Section: "1.1", Status: benchmark.Fail, Found: "x", Expected: "x", Phase: benchmark.Rehearsed, Evidence: seen},
	})
}

// TestPhaseInEveryFormat: whoever reads any of them sees what was rehearsed.
func TestPhaseInEveryFormat(t *testing.T) {
	r := rehearsedReport()
	for _, f := range formats() {
		data, err := f.render(newView(r))
		require.NoError(t, err)
		assert.Contains(t, string(data), benchmark.Rehearsed, f.name)
	}
	data, err := renderJSON(newView(r))
	require.NoError(t, err)
	again, err := LoadReport(data)
	require.NoError(t, err)
	assert.Equal(t, r, again)
}

func TestVerdictCountsRehearsed(t *testing.T) {
	assert.Equal(t, "cis-2.1: 2 of 3 controls proven, 1 of them by a rehearsed first start, 1 failed", rehearsedReport().Verdict())
	assert.NotContains(t, fixture().Verdict(), "rehearsed")
}

func TestLoadRefusesAnotherPhase(t *testing.T) {
	data := edited(t, func(doc map[string]any) { result(doc, 0)["phase"] = "yesterday" })
	_, err := LoadReport(data)
	require.ErrorContains(t, err, "/results/0/phase")
}
