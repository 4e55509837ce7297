package report

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// renderJSON renders report.json; docs/report.schema.json is its schema, and
// the tags of Report's types name its members.
func renderJSON(v *view) ([]byte, error) { return v.json() }

// marshalReport is r as report.json has it, laid out as every JSON format is.
func marshalReport(r Report) ([]byte, error) {
	data, err := json.Marshal(r, jsontext.WithIndent("  "), json.Deterministic(true), jsonv1.OmitEmptyWithLegacySemantics(true))
	return append(data, '\n'), err
}
