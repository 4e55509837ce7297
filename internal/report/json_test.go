package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

func TestJSON(t *testing.T) {
	data, err := renderJSON(newView(fixture()))
	require.NoError(t, err)
	golden(t, "report.json", data)
	back, err := LoadReport(data)
	require.NoError(t, err, "what is written passes the schema")
	assert.Equal(t, fixture(), back)
}

// TestJSONIsLaidOut holds the layout of every JSON format against json.Indent's.
func TestJSONIsLaidOut(t *testing.T) {
	for name, r := range reports() {
		for _, f := range formats() {
			data, err := f.render(newView(r))
			require.NoError(t, err)
			if !json.Valid(data) {
				assert.NotContains(t, f.name, "json", name)
				continue
			}
			var compact, want bytes.Buffer
			require.NoError(t, json.Compact(&compact, data))
			require.NoError(t, json.Indent(&want, compact.Bytes(), "", "  "))
			assert.Equal(t, want.String()+"\n", string(data), "%s of %s", f.name, name)
		}
	}
}

// TestJSONIsNotCutShort: what cannot be written is an error, not a shorter file.
func TestJSONIsNotCutShort(t *testing.T) {
	r := Report{Results: []benchmark.Result{{ID: "1.1", Key: "k", Title: "not \xff UTF-8", Status: benchmark.Fail}}}
	for _, f := range formats() {
		if strings.HasSuffix(f.name, ".json") || f.name == "report.sarif" {
			_, err := f.render(newView(r))
			require.ErrorContains(t, err, "UTF-8", f.name)
		}
	}
}
