package fleet

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

var (
	//go:embed page/fleet.html.tmpl
	pageTemplate string
	//go:embed page/fleet.css
	pageStyle string
	//go:embed page/fleet.js
	pageScript string
)

// pageData is what the template shows.
type pageData struct {
	Fleet      *Fleet
	Verdict    string
	Violations []string
	Statuses   []pageStatus
	Tables     []pageTable
	// Matrix has a line a control and a cell a kind.
	Matrix []pageControl
	// Data is what the script draws the images × controls of.
	Data    pageMatrix
	Created string
	CSP     string
	Style   template.CSS
	Script  template.JS
}

type pageStatus struct {
	Status benchmark.Status
	Label  string
	Count  int
}

// pageTable is a table; one that is long is folded.
type pageTable struct {
	table
	Open bool
}

// longTable is how many rows a table has that is folded at first.
const longTable = 60

type pageControl struct {
	Control
	// Calm says that the control holds on every image, or is nothing to act on.
	Calm  bool
	Cells []pageCell
}

// pageCell is a control's worst verdict among the images of a kind, on how many of
// them, and of how many it was judged.
type pageCell struct {
	Status    benchmark.Status
	Label     string
	Count, Of int
}

// pageMatrix is the images × controls for the script.
type pageMatrix struct {
	Controls []string          `json:"controls"`
	Images   [][3]string       `json:"images"` // kind, source, verdicts
	Labels   map[string]string `json:"labels"`
	Classes  map[string]string `json:"classes"`
}

// Quiet says that there is nothing to act on; paper has no room for it.
func (c pageCell) Quiet() bool {
	return c.Status != benchmark.Fail && c.Status != benchmark.Error && c.Status != benchmark.Waived
}

// worst is the order of verdicts from the worst.
var worst = []benchmark.Status{
	benchmark.Fail, benchmark.Error, benchmark.Waived, benchmark.Manual, benchmark.Deferred, benchmark.Pass, benchmark.NotApplicable,
}

// renderHTML renders fleet.html: one file that needs no network. What matters is
// there without a script; the script draws the images × controls, filters and
// shows single images.
func renderHTML(f *Fleet, violations []string) ([]byte, error) {
	t, err := template.New("fleet.html").Parse(pageTemplate)
	if err != nil {
		return nil, err
	}
	style := report.PageStyle() + pageStyle
	p := pageData{
		Fleet: f, Verdict: f.verdict(), Violations: violations, Created: f.Created.Format(time.RFC3339),
		Matrix: f.matrix(), Data: f.pageMatrix(), CSP: report.PagePolicy(style, pageScript),
		Style:  template.CSS(style),     //nolint:gosec // this program's own files
		Script: template.JS(pageScript), //nolint:gosec // this program's own file
	}
	for _, s := range benchmark.Statuses {
		p.Statuses = append(p.Statuses, pageStatus{s, report.Label(s), f.Summary[s]})
	}
	for _, t := range f.tables() {
		if len(t.Rows) > 0 {
			p.Tables = append(p.Tables, pageTable{t, len(t.Rows) <= longTable})
		}
	}
	var b bytes.Buffer
	err = t.Execute(&b, p)
	return b.Bytes(), err
}

// matrix is the kinds × controls.
func (f *Fleet) matrix() []pageControl {
	out := make([]pageControl, len(f.Controls))
	for n, c := range f.Controls {
		line := pageControl{Control: c, Calm: true}
		for _, k := range f.Kinds {
			line.Cells = append(line.Cells, k.cell(n))
			if bad := k.counts[n][benchmark.Fail] + k.counts[n][benchmark.Error] + k.counts[n][benchmark.Waived]; bad > 0 {
				line.Calm = false
			}
		}
		out[n] = line
	}
	return out
}

// cell is the worst verdict on the n-th control.
func (k Kind) cell(n int) pageCell {
	counts := k.counts[n]
	for _, s := range worst {
		if counts[s] > 0 {
			return pageCell{s, report.Label(s), counts[s], k.Images - counts[""]}
		}
	}
	return pageCell{}
}

func (f *Fleet) pageMatrix() pageMatrix {
	m := pageMatrix{Labels: map[string]string{}, Classes: map[string]string{}}
	for s, letter := range letters {
		m.Labels[string(letter)], m.Classes[string(letter)] = report.Label(s), string(s)
	}
	for _, c := range f.Controls {
		m.Controls = append(m.Controls, c.ID+" "+c.Title)
	}
	for _, i := range f.Images {
		m.Images = append(m.Images, [3]string{i.Kind, i.Source, i.Verdicts})
	}
	return m
}

// Failing says how many controls of an image failed or could not be judged, for
// the list of images.
func (i Image) Failing() int { return i.Summary[benchmark.Fail] + i.Summary[benchmark.Error] }

// Line says an image's verdicts in a few words.
func (i Image) Line() string {
	return fmt.Sprintf("%d proven, %d failed, %d could not be judged, %d waived", i.Summary[benchmark.Pass],
		i.Summary[benchmark.Fail], i.Summary[benchmark.Error], i.Summary[benchmark.Waived])
}
