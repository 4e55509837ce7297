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

// FuzzAppendText holds how texts and names are written against encoding/json.
func FuzzAppendText(f *testing.F) {
	for b := range 256 {
		f.Add(string([]byte{'a', byte(b), 'z'}))
	}
	for _, s := range []string{"", `"`, `\`, `\"\`, `a"b\c`, nasty, "\u2028é", "<&>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		require.NoError(t, e.Encode(s))
		got := string(appendText([]byte("before"), s))
		require.Equal(t, "before"+want.String(), got+"\n")
		require.Equal(t, got, `before"`+string(memberOf(s))+`"`)
	})
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

// TestJSONHasEveryMember holds report.json against what the tags of Report's
// types say.
func TestJSONHasEveryMember(t *testing.T) {
	for name, r := range reports() {
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		require.NoError(t, e.Encode(r))
		data, err := renderJSON(newView(r))
		require.NoError(t, err)
		assert.Equal(t, want.String(), string(data), name)
	}
}
