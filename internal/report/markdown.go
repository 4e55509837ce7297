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
// waivers, what changed since an earlier report, the figures by section, the
// controls that failed, a table of all, and the options. What comes from the node is escaped.
func renderMarkdown(v *view) ([]byte, error) {
	r := v.Report
	var b strings.Builder
	fmt.Fprintf(&b, "# K3s node image: %s\n\n", md(r.Benchmark))
	fmt.Fprintf(&b, "**%s**\n\n", md(v.Verdict()))
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "> **Warning:** %s\n\n", md(w))
	}
	mdFacts(&b, r)
	mdWaived(&b, r)
	mdAttested(&b, r)
	mdDrift(&b, r.Drift)
	mdSummary(&b, v)
	if failed := r.Failed(); len(failed) > 0 {
		b.WriteString("\n## Remediation\n")
		for _, res := range failed {
			mdControl(&b, res)
		}
	}
	b.WriteString("\n## All controls\n")
	for _, s := range v.sections() {
		fmt.Fprintf(&b, "\n### %s\n\n| Control | Level | Status | Found | Expected | Evidence |\n| --- | --- | --- | --- | --- | --- |\n", md(s.name(r)))
		for _, res := range s.Results {
			found := res.Found
			if found == "" {
				found = res.Reason
			}
			mdRow(&b, heading(res), levelOf(res), labelOf(res), found, res.Expected, places(res.Evidence))
		}
	}
	mdOptions(&b, r)
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
		mdRow(b, f.label, f.value)
	}
}

// mdWaived is the table of waivers.
func mdWaived(b *strings.Builder, r Report) {
	waived := r.with(benchmark.Waived)
	if len(waived) == 0 {
		return
	}
	b.WriteString("\n## Waived\n\n| Control | Found | Owner | Until | Reason |\n| --- | --- | --- | --- | --- |\n")
	for _, res := range waived {
		mdRow(b, append([]string{heading(res), res.Found}, waiverCells(res.Waiver)...)...)
	}
}

// mdAttested is the table of what persons attest.
func mdAttested(b *strings.Builder, r Report) {
	all := r.attested()
	if len(all) == 0 {
		return
	}
	b.WriteString("\n## Attested by a person\n\n| Control | By | On | Until | Statement |\n| --- | --- | --- | --- | --- |\n")
	for _, res := range all {
		a := res.Attestation
		mdRow(b, heading(res), a.By, a.When.Format(time.DateOnly), a.Until.Format(time.DateOnly), a.Statement)
	}
}

// mdDrift is the table of what changed since an earlier report.
func mdDrift(b *strings.Builder, d *DriftRecord) {
	if d == nil {
		return
	}
	fmt.Fprintf(b, "\n## Drift since %s\n\n", d.Since.Format(time.RFC3339))
	for _, s := range d.Subject {
		fmt.Fprintf(b, "- %s\n", md(s))
	}
	if len(d.Changes) == 0 {
		b.WriteString("\nNo verdict changed.\n")
		return
	}
	b.WriteString("\n| Drift | Control | Before | Now |\n| --- | --- | --- | --- |\n")
	for _, c := range d.Changes {
		mdRow(b, c.Kind, c.heading(), orAbsent(c.From), orAbsent(c.To))
	}
}

// mdOptions is the table of the options as given.
func mdOptions(b *strings.Builder, r Report) {
	options := r.options()
	if len(options) == 0 {
		return
	}
	b.WriteString("\n## Options as given\n\n| Option | Value |\n| --- | --- |\n")
	for _, f := range options {
		mdRow(b, f.label, f.value)
	}
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
