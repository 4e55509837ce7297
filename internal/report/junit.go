package report

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
)

// junitSize is about how many bytes report.junit.xml has for a result.
const junitSize = 768

// junitDoc writes report.junit.xml. Every test and suite has a time because
// JUnit asks for one; nobody measured it.
type junitDoc struct {
	*view
	out bytes.Buffer
}

// junitCounts counts test cases as JUnit does.
type junitCounts struct{ tests, failures, errors, skipped int }

// countJUnit counts the test cases of results.
func countJUnit(results []cis.Result) junitCounts {
	n := junitCounts{tests: len(results)}
	for i := range results {
		switch results[i].Status {
		case cis.Pass:
		case cis.Fail:
			n.failures++
		case cis.Error:
			n.errors++
		default:
			n.skipped++
		}
	}
	return n
}

// renderJUnit renders report.junit.xml: a suite a section, a test case a
// control. fail is a failure, error an error; what was not judged or is waived
// counts as skipped and says why. A test case's class is the benchmark and
// section.
func renderJUnit(v *view) ([]byte, error) {
	d := &junitDoc{view: v}
	d.out.Grow(junitSize*len(v.Results) + 8<<10)
	n := countJUnit(v.Results)
	d.add(xml.Header + `<testsuites`)
	d.attribute(`name`, v.subject())
	d.add(` time="0.000"`)
	d.some(`tests`, n.tests)
	d.some(`errors`, n.errors)
	d.some(`failures`, n.failures)
	d.some(`skipped`, n.skipped)
	d.add(`>`)
	for i, s := range v.sections() {
		d.suite(i, s)
	}
	if n.tests > 0 {
		d.add("\n")
	}
	d.add("</testsuites>\n")
	return d.out.Bytes(), nil
}

// add writes markup as it is.
func (d *junitDoc) add(m markup) { d.out.WriteString(string(m)) }

// attribute writes an attribute.
func (d *junitDoc) attribute(name markup, s string) {
	d.add(` `)
	d.add(name)
	d.add(`="`)
	if plain(s) {
		d.out.WriteString(s)
	} else {
		_ = xml.EscapeText(&d.out, []byte(s)) // a Buffer takes everything
	}
	d.add(`"`)
}

// plain reports whether XML has s as it is, which package xml takes long to
// find out.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\'', c == '&', c == '<', c == '>':
			return false
		}
	}
	return true
}

// number writes an attribute that is a number.
func (d *junitDoc) number(name markup, n int) { d.attribute(name, strconv.Itoa(n)) }

// some writes an attribute that is a number, unless it is zero.
func (d *junitDoc) some(name markup, n int) {
	if n != 0 {
		d.number(name, n)
	}
}

// cdata writes s as character data that a person can read in the file. No text
// has characters that XML forbids; see clean.
func (d *junitDoc) cdata(s string) {
	d.add(`<![CDATA[`)
	d.out.WriteString(strings.ReplaceAll(s, `]]>`, `]]]]><![CDATA[>`))
	d.add(`]]>`)
}

// suite writes a section.
func (d *junitDoc) suite(id int, s section) {
	n := countJUnit(s.Results)
	d.add("\n\t<testsuite")
	d.attribute(`name`, s.name(d.Report))
	d.number(`tests`, n.tests)
	d.number(`failures`, n.failures)
	d.number(`errors`, n.errors)
	d.number(`id`, id)
	d.some(`skipped`, n.skipped)
	d.add(` time="0.000"`)
	d.attribute(`timestamp`, d.Created.Format(time.RFC3339))
	d.add(">")
	d.properties()
	class := s.class(d.Report)
	for _, res := range s.Results {
		d.testcase(class, res)
	}
	d.add("\n\t</testsuite>")
}

// properties writes what was judged, which each suite has to say.
func (d *junitDoc) properties() {
	d.add("\n\t\t<properties>")
	for _, p := range [][2]string{
		{"plugin_version", d.PluginVersion},
		{"k3s_version", d.K3sVersion},
		{"role", d.Role},
		{"benchmark", d.Benchmark},
		{"build", d.Node.Build},
		{"datastore", d.Node.Datastore},
		{"access", d.Node.Access},
	} {
		if p[1] != "" {
			d.add("\n\t\t\t<property")
			d.attribute(`name`, p[0])
			d.attribute(`value`, p[1])
			d.add(`></property>`)
		}
	}
	d.add("\n\t\t</properties>")
}

// testcase writes the verdict on one control.
func (d *junitDoc) testcase(class string, res cis.Result) {
	d.add("\n\t\t<testcase")
	d.attribute(`name`, heading(res))
	d.attribute(`classname`, class)
	d.add(` time="0.000"`)
	d.attribute(`status`, string(res.Status))
	d.add(">\n\t\t\t")
	switch res.Status {
	case cis.Pass:
		d.add(`<system-out>`)
		d.cdata(details(res))
		d.add(`</system-out>`)
	case cis.Fail:
		d.outcome(`failure`, firstLine(res.Found), res)
	case cis.Error:
		d.outcome(`error`, firstLine(res.Reason), res)
	default:
		// Runners show a skipped case's message and seldom its text.
		d.outcome(`skipped`, skipped(res), res)
	}
	d.add("\n\t\t</testcase>")
}

// outcome writes what a test case that did not pass has.
func (d *junitDoc) outcome(element markup, message string, res cis.Result) {
	d.add(`<` + element)
	d.attribute(`message`, message)
	d.attribute(`type`, string(res.Status))
	d.add(`>`)
	d.cdata(details(res))
	d.add(`</` + element + `>`)
}

// name is the section's heading.
func (s section) name(r Report) string {
	if !s.numbered() {
		return s.Title
	}
	return r.Benchmark + " " + s.ID + " " + s.Title
}

// class is the section as a dotted name, for tools that make a tree of it.
func (s section) class(r Report) string {
	if !s.numbered() {
		return s.ID
	}
	return strings.ReplaceAll(r.Benchmark, ".", "_") + "." + s.ID
}

// skipped says why res was skipped.
func skipped(res cis.Result) string {
	s := words[res.Status]
	if w := res.Waiver; w != nil {
		return s + " by " + w.Owner + " until " + w.Expires.Format(time.DateOnly) + ": " + firstLine(w.Reason)
	}
	if res.Reason != "" {
		s += ": " + firstLine(res.Reason)
	}
	return s
}

// firstLine is s up to its first line break; attributes have but one line.
func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}

// details says all of a result in labelled lines.
func details(res cis.Result) string {
	var b strings.Builder
	b.Grow(junitSize)
	add := func(label, s string) {
		if s != "" {
			b.WriteString(label + ": ")
			b.WriteString(s)
			b.WriteString("\n")
		}
	}
	add("key", res.Key)
	add("found", res.Found)
	add("expected", res.Expected)
	add("reason", res.Reason)
	for _, e := range res.Evidence {
		add("evidence", quote(e))
	}
	add("remediation", res.Remediation)
	if w := res.Waiver; w != nil {
		add("waiver", w.Reason+", accepted by "+w.Owner+" until "+w.Expires.Format(time.DateOnly))
	}
	return b.String()
}
