package report

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
