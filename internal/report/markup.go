package report

import (
	"bytes"
	"html/template"
	"strconv"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// markup is HTML that stands in this package's source. Constants become markup
// by themselves and texts do not, so nothing gets past text by mistake.
type markup string

// page writes the parts of report.html that there are hundreds of: html/template
// resolves each action anew for each control, which takes many times as long.
// Texts stand between tags or in quoted attributes and nowhere else, where one
// way of escaping is right.
type page struct{ out bytes.Buffer }

// add writes markup as it is. Neither it nor text fails: a Buffer takes all.
func (p *page) add(m markup) { p.out.WriteString(string(m)) }

// text writes s, escaped.
func (p *page) text(s string) { template.HTMLEscape(&p.out, []byte(s)) }

// between writes s, escaped, and markup before and behind it.
func (p *page) between(before markup, s string, behind markup) {
	p.add(before)
	p.text(s)
	p.add(behind)
}

// unlessEmpty does as between does, or nothing where s is empty.
func (p *page) unlessEmpty(before markup, s string, behind markup) {
	if s != "" {
		p.between(before, s, behind)
	}
}

// html is what was written.
func (p *page) html() template.HTML {
	return template.HTML(p.out.String()) //nolint:gosec // all texts in it are escaped
}

// icon is the symbol of a status.
func icon(s benchmark.Status) template.HTML {
	var p page
	p.icon(s)
	return p.html()
}

func (p *page) icon(s benchmark.Status) {
	p.between(`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><use href="#i-`, string(s), `"/></svg>`)
}

// bar shows the shares of the statuses.
func (p *page) bar(shares []arc) {
	p.add(`<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">`)
	for _, a := range shares {
		p.between(`<rect class="fill-`, string(a.Status), `"`)
		p.between(` x="`, a.Start, `" y="0"`)
		p.between(` width="`, a.Length, `" height="4"/>`)
	}
	p.add(`</svg>`)
}

// contents is the list of the sections in short.
func contents(sections []pageSection) template.HTML {
	var p page
	for _, s := range sections {
		p.entry(s)
	}
	return p.html()
}

// entry writes the section's line in the list of sections.
func (p *page) entry(s pageSection) {
	p.between(`<li data-nav="`, s.anchor, `">`)
	p.between(`<a href="#`, s.anchor, `"><span class="nav-name">`)
	if s.numbered() {
		p.between(``, s.ID, ` `)
	}
	p.between(``, s.Title, `</span> `)
	p.between(`<span class="nav-count">`, strconv.Itoa(s.Summary[benchmark.Pass]), ` of `)
	p.between(``, strconv.Itoa(len(s.Results)), `<span class="sr"> proven</span></span>`)
	p.bar(s.shares)
	p.add("</a></li>\n")
}

// section writes the section and its controls.
func (p *page) section(s pageSection) {
	p.between(`<section class="part" id="`, s.anchor, `"`)
	p.between(` aria-labelledby="`, s.anchor, "-title\">\n<div class=\"part-head\">")
	p.between(`<h2 id="`, s.anchor, `-title">`)
	if s.numbered() {
		p.between(`<span class="id">`, s.ID, `</span> `)
	}
	p.between(``, s.Title, `</h2>`)
	p.between(`<p class="part-count">`, totals(s.Summary, len(s.Results)), "</p></div>\n")
	p.bar(s.shares)
	p.add("\n<ul class=\"list\">\n")
	for _, res := range s.Results {
		p.control(res)
	}
	p.add("</ul>\n</section>\n")
}

// control writes all that is known of one control, to be folded away.
func (p *page) control(res benchmark.Result) {
	named := res.ID == res.Key
	p.add(`<li class="control`)
	if named {
		p.add(` named`)
	}
	p.between(`" id="`, controlAnchor(res), `"`)
	p.between(` data-status="`, string(res.Status), "\">\n<details")
	if res.Status == benchmark.Fail || res.Status == benchmark.Error {
		p.add(` open`)
	}
	p.between(">\n<summary><span class=\"status text-", string(res.Status), `">`)
	p.icon(res.Status)
	p.between(``, labels[res.Status], `</span>`)
	p.between(`<span class="id">`, res.ID, `</span>`)
	p.between(`<span class="title">`, res.Title, "</span></summary>\n<div class=\"body\">\n<dl>\n")
	p.unlessEmpty(`<div><dt>Found</dt><dd>`, res.Found, "</dd></div>\n")
	p.unlessEmpty(`<div><dt>Expected</dt><dd>`, res.Expected, "</dd></div>\n")
	p.unlessEmpty(`<div><dt>Because</dt><dd class="lines">`, res.Reason, "</dd></div>\n")
	p.add(`<div><dt>Evidence</dt><dd>`)
	p.evidence(res.Evidence)
	p.add("</dd></div>\n")
	p.unlessEmpty(`<div><dt>Remediation</dt><dd class="lines">`, res.Remediation, "</dd></div>\n")
	p.waiver(res.Waiver)
	if !named {
		p.between(`<div><dt>Key</dt><dd><code>`, res.Key, "</code></dd></div>\n")
	}
	p.add("</dl>\n</div>\n</details>\n</li>\n")
}

// evidence writes what the verdict rests on.
func (p *page) evidence(evidence []benchmark.Evidence) {
	if len(evidence) == 0 {
		p.add(`none`)
		return
	}
	p.add("<ul class=\"evidence\">\n")
	for _, e := range evidence {
		p.between(`<li><span class="source">`, e.Source, ``)
		if e.Line != 0 {
			p.between(`:`, strconv.Itoa(e.Line), ``)
		}
		p.add(`</span>`)
		p.unlessEmpty(`<code>`, e.Detail, `</code>`)
		p.add("</li>\n")
	}
	p.add(`</ul>`)
}

// waiver writes who accepts that the control fails, if anyone does.
func (p *page) waiver(w *benchmark.Waiver) {
	if w == nil {
		return
	}
	day := w.Expires.Format(time.DateOnly)
	p.between(`<div><dt>Waiver</dt><dd><span class="lines">`, w.Reason, `</span><br>Accepted by `)
	p.between(``, w.Owner, ` until `)
	p.between(`<time datetime="`, day, `">`)
	p.between(``, day, `</time>`)
	p.unlessEmpty(`, for the role `, w.Role, ``)
	p.unlessEmpty(`, for the build `, w.Build, ``)
	p.add("</dd></div>\n")
}
