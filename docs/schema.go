// Package docs holds what the plugin itself reads of its documentation.
package docs

import _ "embed"

// ReportSchema is the JSON schema of report.json, draft 2020-12.
//
//go:embed report.schema.json
var ReportSchema []byte
