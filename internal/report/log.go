package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mitchellh/go-wordwrap"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// logWidth keeps the block within 100 columns behind the name of the build
// that Packer puts before every line.
const logWidth = 80

// Log returns the block for the Packer log, wrapped, without colours: what was judged
// by what; a paragraph for every control that failed or could not be judged
// (id and title, then what was found, what is expected, the place and the
// remediation); the waived ones with owner and last day; and the totals. The last
// line is Verdict's and is never wrapped.
func (r Report) Log() string {
	var b strings.Builder
	writeWrapped(&b, "", r.subject(), 2)
	for _, w := range r.Warnings {
		b.WriteString("\n")
		writeWrapped(&b, "WARNING ", w, 8)
	}
	for _, group := range byCause(r.Failed()) {
		b.WriteString("\n")
		writeFailure(&b, group)
	}
	if waived := r.with(benchmark.Waived); len(waived) > 0 {
		b.WriteString("\n")
		for _, res := range waived {
			writeWaived(&b, res)
		}
	}
	if n := len(r.attested()); n > 0 {
		fmt.Fprintf(&b, "\n%s: %d of %d manual\n", benchmark.Attested, n, r.Summary[benchmark.Manual])
	}
	b.WriteString("\n")
	for _, f := range []string{fromOwn, fromImage} {
		if n, total := r.tallied(f); total > 0 {
			fmt.Fprintf(&b, "%s: %s\n", f, totals(n, total))
		}
	}
	b.WriteString(r.Verdict() + "\n")
	return b.String()
}

// Verdict is the whole judgement in one line, such as
//
//	cis-2.1: 82 of 134 controls proven, 37 manual, 12 deferred to first boot, 3 not applicable
//
// It counts the benchmark's controls, so that the figure can be held against
// the benchmark; counts of zero are left out. The plugin's controls of the
// image and the user's own are not mixed into that figure, but when any of
// them failed or could not be judged the line says so at its end.
func (r Report) Verdict() string {
	v := r.Benchmark + ": " + totals(r.tallied(fromCIS))
	for _, f := range []string{fromImage, fromOwn} {
		n, _ := r.tallied(f)
		if bad := tally(n, benchmark.Fail, benchmark.Error); bad != "" {
			v += "; " + f + ": " + bad
		}
	}
	return v
}

// subject says what was judged and by what.
func (r Report) subject() string {
	parts := []string{"K3s " + r.K3sVersion, Roles(r.Role)}
	if r.Node.Datastore != "" {
		parts = append(parts, r.Node.Datastore)
	}
	if r.Node.Build != "" {
		parts = append(parts, "build "+r.Node.Build)
	}
	if r.Node.Access != "" {
		parts = append(parts, "read through "+r.Node.Access)
	}
	return "Check after " + r.Benchmark + ": " + strings.Join(parts, ", ")
}

// tallied counts the results of the controls that come from f, by status and
// in all.
func (r Report) tallied(f string) (n map[benchmark.Status]int, total int) {
	n = map[benchmark.Status]int{}
	for _, res := range r.Results {
		if from(res) == f {
			n[res.Status]++
			total++
			if res.Status == benchmark.Pass && res.Phase != "" {
				n[rehearsed]++
			}
		}
	}
	return n, total
}

// rehearsed counts among the proven those that a first start proved.
const rehearsed benchmark.Status = "rehearsed"

// totals says how many of the controls are proven and what the others are.
func totals(n map[benchmark.Status]int, total int) string {
	s := fmt.Sprintf("%d of %d controls proven", n[benchmark.Pass], total)
	if n[rehearsed] > 0 {
		s += fmt.Sprintf(", %d of them by a rehearsed first start", n[rehearsed])
	}
	if rest := tally(n, benchmark.Fail, benchmark.Error, benchmark.Waived, benchmark.Manual, benchmark.Deferred, benchmark.NotApplicable); rest != "" {
		s += ", " + rest
	}
	return s
}

// words says a status in a sentence; label names it on its own.
var words = map[benchmark.Status]string{
	benchmark.Pass:          "proven",
	benchmark.Fail:          "failed",
	benchmark.Error:         "could not be judged",
	benchmark.Waived:        "waived",
	benchmark.Deferred:      "deferred to first boot",
	benchmark.Manual:        "manual",
	benchmark.NotApplicable: "not applicable",
}

// tally lists the counts of the statuses, without those that are zero.
func tally(n map[benchmark.Status]int, statuses ...benchmark.Status) string {
	var parts []string
	for _, s := range statuses {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], words[s]))
		}
	}
	return strings.Join(parts, ", ")
}

// byCause puts the controls together that failed, or could not be judged, for one
// and the same cause, where the first of them stands.
func byCause(failed []benchmark.Result) [][]benchmark.Result {
	type cause struct {
		status                     benchmark.Status
		found, reason, remediation string
	}
	var out [][]benchmark.Result
	groups := map[cause]int{}
	for _, res := range failed {
		c := cause{res.Status, res.Found, res.Reason, res.Remediation}
		i, known := groups[c]
		if !known {
			i = len(out)
			groups[c], out = i, append(out, nil)
		}
		out[i] = append(out[i], res)
	}
	return out
}

// maxControls is how many controls of one cause the log names.
const maxControls = 20

// writeFailure writes the paragraph of a failed control, or of several that have
// one cause.
func writeFailure(b *strings.Builder, group []benchmark.Result) {
	res, ids := group[0], ""
	head := res.ID
	if res.Key != res.ID {
		head += " (" + res.Key + ")"
	}
	head += " " + res.Title
	if n := len(group); n > 1 {
		head = fmt.Sprintf("%d controls %s for one cause", n, words[res.Status])
		res.Expected = ""
		ids = group[0].ID
		for _, other := range group[1:min(n, maxControls)] {
			ids += ", " + other.ID
		}
		if n > maxControls {
			ids += fmt.Sprintf(" and %d more", n-maxControls)
		}
	}
	writeWrapped(b, strings.ToUpper(string(res.Status))+" ", head, 6)
	for _, l := range []struct{ label, text string }{
		{"controls", ids},
		{"found", res.Found},
		{"expected", res.Expected},
		{"because", res.Reason},
		{"at", places(res.Evidence)},
		{"remediation", res.Remediation},
	} {
		if l.text != "" {
			writeWrapped(b, fmt.Sprintf("      %-12s", l.label), l.text, 18)
		}
	}
}

// maxPlaces is how many places of evidence the log names; the reports in
// files name all.
const maxPlaces = 4

// places lists where the evidence stands, each place once.
func places(evidence []benchmark.Evidence) string {
	if len(evidence) == 1 {
		return place(evidence[0]) // as is nearly always
	}
	var out []string
	seen := map[string]bool{}
	for _, e := range evidence {
		if p := place(e); !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	if more := len(out) - maxPlaces; more > 0 {
		out = append(out[:maxPlaces], fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

// place names where a piece of evidence stands: path:line, path, or the
// source's name.
func place(e benchmark.Evidence) string {
	if e.Line > 0 {
		return e.Source + ":" + strconv.Itoa(e.Line)
	}
	return e.Source
}

// quote says in one line what a piece of evidence is and where it stands.
func quote(e benchmark.Evidence) string {
	return strings.TrimSuffix(place(e)+": "+phased(e), ": ")
}

// writeWaived writes the line of a waived control.
func writeWaived(b *strings.Builder, res benchmark.Result) {
	s := res.ID + " " + res.Title + ": " + res.Found
	if w := res.Waiver; w != nil {
		s += fmt.Sprintf("; accepted by %s until %s: %s", w.Owner, w.Expires.Format(time.DateOnly), w.Reason)
	}
	writeWrapped(b, "WAIVED ", s, 7)
}

// writeWrapped writes head and s, wrapped to logWidth, with the following
// lines indented by indent columns. A word that is too long is not broken, so
// that paths can be copied.
func writeWrapped(b *strings.Builder, head, s string, indent int) {
	wrapped := wordwrap.WrapString(strings.TrimSpace(s), uint(logWidth-indent))
	hanging := strings.ReplaceAll(wrapped, "\n", "\n"+strings.Repeat(" ", indent))
	b.WriteString(head + hanging + "\n")
}
