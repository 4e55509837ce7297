package report

import (
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// What pages and tables about several reports share with those about one.

// Label names a verdict on its own, such as "Not applicable".
func Label(s benchmark.Status) string { return labels[s] }

// PageStyle is the style of report.html.
func PageStyle() string { return pageStyle }

// PagePolicy is the content security policy of a page that runs nothing but its
// own style and script.
func PagePolicy(style, script string) string { return policy(cspHash(style), cspHash(script)) }

// MarkdownRow is a row of a table, its cells escaped.
func MarkdownRow(cells ...string) string {
	var b strings.Builder
	mdRow(&b, cells...)
	return b.String()
}

// Markdown is s as text that Markdown leaves alone, on one line.
func Markdown(s string) string { return md(s) }

// Distance is how far a verdict is from proven, from 0 for a pass to 3 for what
// keeps an image from being made.
func Distance(s benchmark.Status) int { return distance[s] }

// CompareIDs orders controls as a benchmark does: 1.2.9 before 1.2.10, and names
// after numbers.
func CompareIDs(a, b string) int {
	return compareSections(ranked(a), ranked(b))
}

// ranked puts an id that is a name behind those that are numbers.
func ranked(id string) string {
	if id == "" || id[0] < '0' || id[0] > '9' {
		return "999." + id
	}
	return id
}

// Cell is s as the cell of a spreadsheet: what a program would take for a formula
// begins with an apostrophe.
func Cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
