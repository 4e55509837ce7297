package report

import (
	"html/template"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// FuzzText holds how page escapes against html/template, in both places that
// page writes texts to.
func FuzzText(f *testing.F) {
	t := template.Must(template.New("").Parse(`<p id="{{.}}" data-status="{{.}}" datetime="{{.}}">{{.}}</p>`))
	for b := range 256 {
		f.Add(string([]byte{'a', byte(b), 'z'}))
	}
	f.Add(nasty)
	f.Fuzz(func(tt *testing.T, s string) {
		var want strings.Builder
		require.NoError(tt, t.Execute(&want, s))
		var got page
		got.between(`<p id="`, s, `"`)
		got.between(` data-status="`, s, `"`)
		got.between(` datetime="`, s, `">`)
		got.between(``, s, `</p>`)
		// A plus sign is escaped for scripts that take a page for UTF-7.
		require.Equal(tt, strings.ReplaceAll(want.String(), "&#43;", "+"), got.out.String())
	})
}

// TestControlEscapesEveryText puts what a reader must not find as HTML into
// each text of a section and of a control, and finds each text.
func TestControlEscapesEveryText(t *testing.T) {
	const evil = `'<b>&`
	s := pageSection{section: section{ID: evil, Title: evil, Results: []benchmark.Result{{ID: "1", Key: "k"}}}, anchor: evil}
	var short, full page
	short.entry(s)
	full.section(s)
	for _, out := range []string{short.out.String(), full.out.String()} {
		assert.NotContains(t, out, "<b>")
		assert.NotContains(t, out, "'")
	}
	assert.Equal(t, 4, strings.Count(short.out.String(), template.HTMLEscapeString(evil)))
	assert.Equal(t, 5, strings.Count(full.out.String(), template.HTMLEscapeString(evil)))
	res := benchmark.Result{
		ID: evil, Key: evil + "key", Title: evil, Section: evil, Found: evil, Expected: evil, Reason: evil,
		Evidence:    []benchmark.Evidence{{Source: evil, Line: 1, Detail: evil}},
		Remediation: evil,
		Waiver:      &benchmark.Waiver{Control: evil, Reason: evil, Owner: evil, Role: evil, Build: evil},
	}
	for status, texts := range map[benchmark.Status]int{benchmark.Fail: 13, benchmark.Waived: 13, evil: 13 + 3} {
		res.Status = status
		var p page
		p.control(res)
		out := p.out.String()
		assert.NotContains(t, out, "<b>", status)
		assert.NotContains(t, out, "'", status)
		assert.Equal(t, texts, strings.Count(out, template.HTMLEscapeString(evil)), status)
	}
}
