package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// labels names a status on its own.
var labels = map[benchmark.Status]string{
	benchmark.Pass:          "Pass",
	benchmark.Fail:          "Fail",
	benchmark.Error:         "Error",
	benchmark.Waived:        "Waived",
	benchmark.Deferred:      "Deferred",
	benchmark.Manual:        "Manual",
	benchmark.NotApplicable: "Not applicable",
}

// renderMarkdown renders report.md (GitHub's dialect): the verdict, the
// figures by section, the controls that failed, the waived ones, and a table of
// all. What comes from the node is escaped.
func renderMarkdown(v *view) ([]byte, error) {
	r := v.Report
	var b strings.Builder
	fmt.Fprintf(&b, "# K3s node image: %s\n\n", md(r.Benchmark))
	fmt.Fprintf(&b, "**%s**\n\n", md(v.Verdict()))
	mdFacts(&b, r)
	mdSummary(&b, v)
	if failed := r.Failed(); len(failed) > 0 {
		b.WriteString("\n## Remediation\n")
		for _, res := range failed {
			mdControl(&b, res)
		}
	}
	if waived := r.with(benchmark.Waived); len(waived) > 0 {
		b.WriteString("\n## Waived\n\n| Control | Found | Owner | Until | Reason |\n| --- | --- | --- | --- | --- |\n")
		for _, res := range waived {
			mdRow(&b, append([]string{heading(res), res.Found}, waiverCells(res.Waiver)...)...)
		}
	}
	b.WriteString("\n## All controls\n")
	for _, s := range v.sections() {
		fmt.Fprintf(&b, "\n### %s\n\n| Control | Status | Found | Expected | Evidence |\n| --- | --- | --- | --- | --- |\n", md(s.name(r)))
		for _, res := range s.Results {
			found := res.Found
			if found == "" {
				found = res.Reason
			}
			mdRow(&b, heading(res), labels[res.Status], found, res.Expected, places(res.Evidence))
		}
	}
	return []byte(b.String()), nil
}

// waiverCells are the cells of a waiver: owner, last day, reason.
func waiverCells(w *benchmark.Waiver) []string {
	if w == nil {
		return []string{"", "", ""}
	}
	return []string{w.Owner, w.Expires.Format(time.DateOnly), w.Reason}
}

// mdFacts says what was judged.
func mdFacts(b *strings.Builder, r Report) {
	b.WriteString("| | |\n| --- | --- |\n")
	for _, f := range r.facts() {
		mdRow(b, f[0], f[1])
	}
}

// facts are the report's head: names and values, without empty values.
func (r Report) facts() [][2]string {
	var out [][2]string
	for _, f := range [][2]string{
		{"K3s", r.K3sVersion},
		{"Role", Roles(r.Role)},
		{"Datastore", r.Node.Datastore},
		{"Benchmark", r.Benchmark},
		{"Packer build", r.Node.Build},
		{"Read through", r.Node.Access},
		{"Judged", r.Created.Format(time.RFC3339)},
		{"Plugin", r.PluginVersion},
	} {
		if f[1] != "" {
			out = append(out, f)
		}
	}
	return out
}

// mdSummary is the table of figures: a row a section.
func mdSummary(b *strings.Builder, v *view) {
	b.WriteString("\n## Figures\n\n| Section | Controls |")
	for _, s := range benchmark.Statuses {
		fmt.Fprintf(b, " %s |", labels[s])
	}
	b.WriteString("\n| --- | ---: |" + strings.Repeat(" ---: |", len(benchmark.Statuses)) + "\n")
	row := func(name string, total int, n map[benchmark.Status]int) {
		cells := []string{name, strconv.Itoa(total)}
		for _, s := range benchmark.Statuses {
			cells = append(cells, strconv.Itoa(n[s]))
		}
		mdRow(b, cells...)
	}
	for _, s := range v.sections() {
		row(s.name(v.Report), len(s.Results), s.Summary)
	}
	row("All", len(v.Results), v.Summary)
}

// mdControl is the paragraph of a control that failed.
func mdControl(b *strings.Builder, res benchmark.Result) {
	fmt.Fprintf(b, "\n### %s: %s\n\n", labels[res.Status], md(heading(res)))
	for _, l := range [][2]string{
		{"Found", res.Found},
		{"Expected", res.Expected},
		{"Because", res.Reason},
	} {
		if l[1] != "" {
			fmt.Fprintf(b, "- %s: %s\n", l[0], md(l[1]))
		}
	}
	for _, e := range res.Evidence {
		fmt.Fprintf(b, "- Evidence: %s\n", md(quote(e)))
	}
	if res.Remediation != "" {
		fmt.Fprintf(b, "\n%s\n", md(res.Remediation))
	}
}

// mdRow is a row of a table.
func mdRow(b *strings.Builder, cells ...string) {
	for _, c := range cells {
		b.WriteString("| ")
		_, _ = mdEscapes.WriteString(b, c) // a Builder takes everything
		b.WriteString(" ")
	}
	b.WriteString("|\n")
}

// mdEscapes escape everything that means something in Markdown or HTML.
var mdEscapes = strings.NewReplacer(
	"\n", "<br>", "&", "&amp;", "<", "&lt;", ">", "&gt;",
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "|", `\|`, "[", `\[`, "]", `\]`,
	"~", `\~`, "#", `\#`, "!", `\!`, "$", `\$`, "@", "&#64;",
)

// md is s as text that Markdown leaves alone, on one line.
func md(s string) string { return mdEscapes.Replace(s) }
