// Package docs carries the documents that the plugin itself reads.
package docs

import _ "embed"

// ReportSchema is the JSON Schema (draft 2020-12) of report.json.
//
//go:embed report.schema.json
var ReportSchema []byte
