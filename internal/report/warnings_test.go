package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWarnings: a warning stands in the log and at the head of every format,
// before any result, and comes back from report.json.
func TestWarnings(t *testing.T) {
	const warning = "K3s v1.40 is newer than the newest release line known here"
	meta := fixtureMeta()
	meta.Warnings = []string{warning, "a second\x1b one"}
	r := New(meta, fixtureResults())
	// What a result says first, and the log's first word of one.
	first := map[string]string{
		"report.json": `"results"`, "report.md": "## Figures", "report.html": `id="controls"`, "report.junit.xml": "<testcase",
		"kube-bench.json": `"tests"`,
	}
	for _, f := range formats() {
		t.Run(f.name, func(t *testing.T) {
			data, err := f.render(newView(r))
			require.NoError(t, err)
			text := string(data)
			at := strings.Index(text, warning)
			require.GreaterOrEqual(t, at, 0)
			assert.Contains(t, text, "a second")
			if result, known := first[f.name]; known {
				assert.Less(t, at, strings.Index(text, result))
			}
			switch f.name {
			case "report.sarif":
				assert.Contains(t, text, `"toolExecutionNotifications"`)
				checkSARIF(t, r, data)
			case "report.oscal.json":
				assert.Contains(t, text, `"remarks": "`+warning)
				checkOSCAL(t, r, data)
			case "report.junit.xml":
				assert.Contains(t, text, `name="warning" value="`+warning)
				checkJUnit(t, r, data)
			case "report.json":
				again, err := LoadReport(data)
				require.NoError(t, err)
				assert.Equal(t, r.Warnings, again.Warnings)
			}
		})
	}
	log := r.Log()
	at := strings.Index(log, "WARNING K3s v1.40 is newer")
	require.Positive(t, at, log)
	assert.Less(t, at, strings.Index(log, "FAIL "))
	assert.NotContains(t, log, "\x1b")
}
