package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

var (
	//go:embed page/report.html.tmpl
	pageTemplate string
	//go:embed page/style.css
	pageStyle string
	//go:embed page/script.js
	pageScript string
)

// meanings says each status for a reader who has only the page.
var meanings = map[benchmark.Status]string{
	benchmark.Pass:          "Evidence on the node proves the control.",
	benchmark.Fail:          "Evidence on the node says otherwise. Keeps the image from being made.",
	benchmark.Error:         "Evidence that should be there could not be read. Keeps the image from being made.",
	benchmark.Waived:        "Failed, and someone accepts that until the day the waiver ends.",
	benchmark.Deferred:      "What the control speaks of exists only once K3s has run. Not counted as proven.",
	benchmark.Manual:        "CIS leaves the control to a person.",
	benchmark.NotApplicable: "K3s or this role has nothing that the control speaks of.",
}

// pageData is what the template shows.
type pageData struct {
	Report   Report
	Title    string
	Headline string
	Verdict  string
	// Totals has a line for the benchmark, the image and the user's controls.
	Totals         []string
	Facts, Options [][2]string
	Waivers        []pageWaiver
	// Attested are the controls that a person attests.
	Attested []pageControl
	// Proven and Total count the benchmark's controls; Ring shows them.
	Proven, Total int
	Ring          []arc
	Blocking      []pageLink
	Filters       []pageFilter
	Sections      []pageSection
	Created       string
	CSP           string
	Style         template.CSS
	Script        template.JS
}

type pageFilter struct {
	Status         benchmark.Status
	Label, Meaning string
	Count          int
}

// pageSection is a section, its id in the page, how much of it is proven and the
// shares of its statuses.
type pageSection struct {
	Anchor, ID, Title, Count string
	Numbered                 bool
	Proven                   int
	Shares                   []arc
	Results                  []pageControl
}

// pageControl is a result, its id in the page and how its status reads.
type pageControl struct {
	benchmark.Result
	Anchor, Label, Level string
	// Numbered says that CIS numbers the control.
	Numbered bool
	// Blocking says that the result keeps the image from being made.
	Blocking bool
}

// pageWaiver is a line of the table of waivers.
type pageWaiver struct {
	Anchor, ID, Title, Found    string
	Owner, Until, Scope, Reason string
}

// pageLink leads to a control.
type pageLink struct {
	Anchor, Label, ID, Title string
	Status                   benchmark.Status
}

// arc is the share of one status in a ring or bar, in percent.
type arc struct {
	Status        benchmark.Status
	Start, Length string
	Rest, Offset  string
}

// renderHTML renders report.html: one file that needs no network and no
// script to be read; the script adds search, filters and folding. Everything
// that comes from the node is escaped by html/template, and a content security
// policy lets nothing run but the page's own style and script.
func renderHTML(v *view) ([]byte, error) {
	t, err := template.New("report.html").Parse(pageTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, newPage(v))
	return b.Bytes(), err
}

// pagePolicy lets nothing but the page's own style, by its hash, and script run.
func pagePolicy(style string) string { return policy(style, scriptHash()) }

// policy lets nothing run but what has one of the hashes.
func policy(style, script string) string {
	return "default-src 'none'; base-uri 'none'; form-action 'none'; style-src " + style + "; script-src " + script
}

var scriptHash = sync.OnceValue(func() string { return cspHash(pageScript) })

// runningHead is the style that names the build at the head of every printed page.
func runningHead(r Report) string {
	return "@media print { @page { @top-left { content: " + cssString(r.Node.Build+", "+r.Benchmark) + " } } }\n"
}

// cssString writes s as a string of CSS, with everything escaped that is not a
// letter, a digit or what stands in names and times.
func cssString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		if c < 0x80 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(" .,:-_", c)) {
			b.WriteRune(c)
			continue
		}
		fmt.Fprintf(&b, `\%06x`, c)
	}
	b.WriteByte('"')
	return b.String()
}

func newPage(v *view) pageData {
	r := v.Report
	n, total := r.tallied(fromCIS)
	style := pageStyle + runningHead(r)
	p := pageData{
		Report:   r,
		Title:    fmt.Sprintf("%s: K3s node image %s", r.Benchmark, r.Node.Build),
		Headline: headline(r),
		Verdict:  v.Verdict(),
		Facts:    labelled(r.facts()),
		Options:  labelled(r.options()),
		Proven:   n[benchmark.Pass],
		Total:    total,
		Ring:     arcs(n, total),
		Created:  r.Created.Format(time.RFC3339),
		CSP:      pagePolicy(cspHash(style)),
		Style:    template.CSS(style),     //nolint:gosec // this package's own file, and a CSS string
		Script:   template.JS(pageScript), //nolint:gosec // this package's own file
	}
	p.Totals = []string{r.Benchmark + ": " + totals(n, total)}
	for _, f := range []string{fromImage, fromOwn} {
		if n, total := r.tallied(f); total > 0 {
			p.Totals = append(p.Totals, chapters[f]+": "+totals(n, total))
		}
	}
	for _, s := range benchmark.Statuses {
		p.Filters = append(p.Filters, pageFilter{Status: s, Label: labels[s], Meaning: meanings[s], Count: r.Summary[s]})
	}
	for _, res := range r.Failed() {
		p.Blocking = append(p.Blocking, pageLink{
			Anchor: controlAnchor(res), Label: labels[res.Status], ID: res.ID, Title: res.Title, Status: res.Status,
		})
	}
	for _, res := range r.with(benchmark.Waived) {
		w := pageWaiver{Anchor: controlAnchor(res), ID: res.ID, Title: res.Title, Found: res.Found}
		if res.Waiver != nil {
			w.Owner, w.Until = res.Waiver.Owner, res.Waiver.Expires.Format(time.DateOnly)
			w.Scope, w.Reason = scope(res.Waiver), res.Waiver.Reason
		}
		p.Waivers = append(p.Waivers, w)
	}
	for _, res := range r.attested() {
		p.Attested = append(p.Attested, newPageControl(res))
	}
	for _, s := range v.sections() {
		p.Sections = append(p.Sections, newPageSection(s))
	}
	return p
}

func newPageSection(s section) pageSection {
	p := pageSection{
		Anchor: "section-" + token(s.ID), ID: s.ID, Title: s.Title, Numbered: s.numbered(),
		Count: totals(s.Summary, len(s.Results)), Proven: s.Summary[benchmark.Pass], Shares: arcs(s.Summary, len(s.Results)),
	}
	for _, res := range s.Results {
		p.Results = append(p.Results, newPageControl(res))
	}
	return p
}

func newPageControl(res benchmark.Result) pageControl {
	return pageControl{
		Result: res, Anchor: controlAnchor(res), Label: labelOf(res), Level: levelOf(res), Numbered: from(res) == fromCIS,
		Blocking: res.Status == benchmark.Fail || res.Status == benchmark.Error,
	}
}

// labelled are facts for people: labels and values.
func labelled(facts []fact) [][2]string {
	var out [][2]string
	for _, f := range facts {
		out = append(out, [2]string{f.label, f.value})
	}
	return out
}

// headline says in a few words whether the node may become an image.
func headline(r Report) string {
	switch n := len(r.Failed()); {
	case len(r.Results) == 0:
		return "Nothing was judged"
	case n == 1:
		return "1 control needs remediation"
	case n > 1:
		return fmt.Sprintf("%d controls need remediation", n)
	default:
		return "No control failed"
	}
}

// controlAnchor is the id of res in the page.
func controlAnchor(res benchmark.Result) string { return "control-" + token(res.Key) }

// arcs divides a whole of total by the counts of the statuses, proven first.
func arcs(n map[benchmark.Status]int, total int) []arc {
	order := []benchmark.Status{benchmark.Pass, benchmark.Waived, benchmark.Deferred, benchmark.Manual, benchmark.NotApplicable, benchmark.Error, benchmark.Fail}
	var out []arc
	before := 0
	percent := func(n int) float64 { return 100 * float64(n) / float64(total) }
	for _, s := range order {
		if n[s] == 0 {
			continue
		}
		out = append(out, arc{
			Status: s,
			Start:  decimal(percent(before)),
			Length: decimal(percent(n[s])),
			Rest:   decimal(100 - percent(n[s])),
			Offset: decimal(-percent(before)),
		})
		before += n[s]
	}
	return out
}

// decimal writes f with three places at most.
func decimal(f float64) string {
	return strconv.FormatFloat(math.Round(f*1000)/1000, 'f', -1, 64)
}

// cspHash is the source expression that allows exactly content.
func cspHash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
