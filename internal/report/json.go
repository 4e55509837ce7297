package report

import (
	"bytes"
	"encoding/json"
)

// renderJSON renders report.json; docs/report.schema.json is its schema, and
// the tags of Report's types name its members.
func renderJSON(v *view) ([]byte, error) { return v.json() }

// marshalJSON lays out v as every JSON format is: with two spaces, <, > and & as
// themselves, and a line break at the end.
func marshalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}
