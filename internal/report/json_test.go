package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
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

// FuzzIndent holds indent against the standard library's.
func FuzzIndent(f *testing.F) {
	for _, name := range []string{"report.json", "report.sarif"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte(`{"a":[],"b":{},"c":[{},[[]],""],"\\":"\\\\\"{[,:]}","d":[1,-2.5e3,true,null]}`))
	f.Add([]byte(`"\\"`))
	f.Add([]byte(`7`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var compact, want bytes.Buffer
		if json.Compact(&compact, data) != nil {
			return
		}
		compact.WriteByte('\n') // as the encoder ends
		require.NoError(t, json.Indent(&want, compact.Bytes(), "", "  "))
		require.Equal(t, want.String(), string(indent(compact.Bytes())))
	})
}
