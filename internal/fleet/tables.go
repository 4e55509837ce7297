package fleet

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

// renderJSON renders fleet.json.
func renderJSON(f *Fleet, _ []string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	err := e.Encode(f)
	return b.Bytes(), err
}

// renderCSV renders fleet.csv: a line an image, a column a control.
func renderCSV(f *Fleet, _ []string) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	head := []string{
		"source", "kind", "image", "created", "k3s_version", "role", "benchmark", "os", "architecture", "run", "commit",
	}
	for _, s := range benchmark.Statuses {
		head = append(head, string(s))
	}
	for _, c := range f.Controls {
		head = append(head, c.heading())
	}
	records := [][]string{head}
	for _, i := range f.Images {
		line := []string{
			i.Source, i.Kind, i.Node.Image, i.Created.Format(time.RFC3339), i.K3sVersion, i.Role, i.Benchmark, i.OS, i.Architecture, i.Run, i.Commit,
		}
		for _, s := range benchmark.Statuses {
			line = append(line, strconv.Itoa(i.Summary[s]))
		}
		for c := range f.Controls {
			line = append(line, string(statusOf(i.Verdicts[c])))
		}
		records = append(records, line)
	}
	for _, record := range records {
		for n := range record {
			record[n] = report.Cell(record[n])
		}
	}
	if err := w.WriteAll(records); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// heading is the control's number and key.
func (c Control) heading() string {
	if c.ID == c.Key {
		return c.Key
	}
	return c.ID + " " + c.Key
}

// Days before which waivers are shown together.
var spans = []int{0, 30, 60, 90}

// span says when a waiver ends.
func (w Waiver) span() string {
	for _, days := range spans {
		if w.Days < days {
			if days == 0 {
				return "ended"
			}
			return fmt.Sprintf("within %d days", days)
		}
	}
	return "later"
}

// renderMarkdown renders fleet.md: all but the images × controls.
func renderMarkdown(f *Fleet, violations []string) ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# K3s node images\n\n**%s**\n", report.Markdown(f.verdict()))
	for _, v := range violations {
		fmt.Fprintf(&b, "\n- %s", report.Markdown(v))
	}
	if len(violations) > 0 {
		b.WriteString("\n")
	}
	table := func(title string, head []string, rows [][]string) {
		if len(rows) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s|%s\n", title, report.MarkdownRow(head...), strings.Repeat(" --- |", len(head)))
		for _, row := range rows {
			b.WriteString(report.MarkdownRow(row...))
		}
	}
	for _, t := range f.tables() {
		table(t.Title, t.Head, t.Rows)
	}
	return []byte(b.String()), nil
}

// table is a table for people.
type table struct {
	ID, Title string
	Head      []string
	Rows      [][]string
}

// tables are all that is said in tables of text.
func (f *Fleet) tables() []table {
	return []table{
		{"unreadable", "Not reports", []string{"File", "Why"}, rows(f.Unreadable, func(u Unreadable) []string { return []string{u.Source, u.Why} })},
		{"trend", "Trend", []string{"Kind", "Control", "Failing before", "Failing now"}, f.Trend.rows()},
		{"cluster", "Values that all servers must share", []string{"Key", "Values"}, rows(f.Mismatches, Difference.cells)},
		{"waivers", "Waivers", []string{"Ends", "Last day", "Control", "Owner", "Reason", "Images"}, rows(f.Waivers, Waiver.cells)},
		{"kinds", "Kinds", []string{"Kind", "Images", "Failing", "Verdicts that differ", "What else differs"}, rows(f.Kinds, Kind.cells)},
		{"differences", "What differs between images of one kind", []string{"Kind", "Control", "Verdicts"}, f.differences()},
	}
}

func rows[T any](list []T, cells func(T) []string) [][]string {
	var out [][]string
	for _, x := range list {
		out = append(out, cells(x))
	}
	return out
}

func (d Difference) cells() []string { return []string{d.Name, d.values()} }

// values says the values with how many images have each, and where one of the
// fewer is.
func (d Difference) values() string {
	var parts []string
	for n, v := range d.Values {
		text := v.Value
		if text == "" {
			text = "none"
		}
		part := fmt.Sprintf("%s: %d", text, v.Images)
		if n > 0 {
			part += " (" + v.Example + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

func (w Waiver) cells() []string {
	return []string{w.span(), w.Expires, w.ID + " " + w.Title, w.Owner, w.Reason, strconv.Itoa(w.Images)}
}

func (k Kind) cells() []string {
	var facts []string
	for _, d := range k.Facts {
		facts = append(facts, d.Name+" "+d.values())
	}
	return []string{k.Name, strconv.Itoa(k.Images), strconv.Itoa(k.Failing), strconv.Itoa(len(k.Differences)), strings.Join(facts, "; ")}
}

// differences are the controls whose verdict differs in a kind.
func (f *Fleet) differences() [][]string {
	named := map[string]Control{}
	for _, c := range f.Controls {
		named[c.Key] = c
	}
	var out [][]string
	for _, k := range f.Kinds {
		for _, d := range k.Differences {
			c := named[d.Name]
			out = append(out, []string{k.Name, c.ID + " " + c.Title, d.values()})
		}
	}
	return out
}

// rows are the shifts of a trend, what got worse first.
func (t *Trend) rows() [][]string {
	if t == nil {
		return nil
	}
	var out [][]string
	for _, list := range [][]Shift{t.Worse, t.Better} {
		for _, s := range list {
			out = append(out, []string{s.Kind, s.Control, fmt.Sprintf("%d of %d", s.Before, s.BeforeOf), fmt.Sprintf("%d of %d", s.Now, s.NowOf)})
		}
	}
	return out
}
