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
	var compact, b bytes.Buffer
	e := json.NewEncoder(&compact)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	// Not by the encoder's SetIndent, whose buffer grows step by step.
	err := json.Indent(&b, compact.Bytes(), "", "  ")
	return b.Bytes(), err
}
