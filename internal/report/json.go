package report

import (
	"bytes"
	"encoding/json"
)

// renderJSON renders report.json; docs/report.schema.json is its schema.
func renderJSON(r Report) ([]byte, error) { return marshal(r) }

// marshal is how every JSON format is laid out: two spaces, a line break at
// the end, and <, > and & as themselves.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}
