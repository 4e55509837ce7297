package report

import (
	"html/template"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// TestPageEscapesEveryText puts what a reader must not find as HTML into each
// text of a control, and finds each text.
func TestPageEscapesEveryText(t *testing.T) {
	const evil = `'<b>&`
	res := benchmark.Result{
		ID: evil, Key: evil + "key", Title: evil, Section: evil, Found: evil, Expected: evil, Reason: evil,
		Evidence:    []benchmark.Evidence{{Source: evil, Line: 1, Detail: evil}},
		Remediation: evil,
		Waiver:      &benchmark.Waiver{Control: evil, Reason: evil, Owner: evil, Role: evil, Build: evil},
	}
	texts := func(status benchmark.Status) int {
		res.Status = status
		out, err := renderHTML(newView(Report{Results: []benchmark.Result{res}}))
		require.NoError(t, err)
		page := string(out)
		assert.NotContains(t, page, "<b>", status)
		assert.NotContains(t, page, evil, status)
		return strings.Count(page, template.HTMLEscapeString(evil))
	}
	// Two of the section in the list of sections, two of its heading, thirteen of
	// the control; a waiver has a line of seven texts above, a failure is linked to
	// there by its number and title.
	assert.Equal(t, 24, texts(benchmark.Waived))
	assert.Equal(t, 19, texts(benchmark.Fail))
}
