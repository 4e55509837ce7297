package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// noTime is the duration of a check: nobody measured it, and the attribute is
// required.
const noTime = "0.000"

// renderJUnit renders report.junit.xml: a suite a section, a test case a
// control. fail is a failure, error an error; what was not judged or is waived
// counts as skipped and says why. A test case's class is the benchmark and
// section.
func renderJUnit(v *view) ([]byte, error) {
	r := v.Report
	suites := junit.Testsuites{Name: r.subject(), Time: noTime}
	for i, s := range v.sections() {
		suite := junit.Testsuite{Name: s.name(r), ID: i, Time: noTime}
		suite.SetTimestamp(r.Created)
		for _, f := range slices.Concat(r.warnings(), r.facts(), r.options()) {
			suite.AddProperty(f.name, f.value)
		}
		for _, res := range s.Results {
			suite.AddTestcase(junitCase(s.class(r), res))
		}
		suites.AddSuite(suite)
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	err := suites.WriteXML(&b)
	return b.Bytes(), err
}

// name is the section's heading.
func (s section) name(r Report) string {
	if !s.numbered() {
		return s.Title
	}
	return fmt.Sprintf("%s %s %s", r.Benchmark, s.ID, s.Title)
}

// class is the section as a dotted name, for tools that make a tree of it.
func (s section) class(r Report) string {
	if !s.numbered() {
		return s.ID
	}
	return strings.ReplaceAll(r.Benchmark, ".", "_") + "." + s.ID
}

// junitCase is the verdict on one control.
func junitCase(class string, res benchmark.Result) junit.Testcase {
	tc := junit.Testcase{Name: heading(res), Classname: class, Time: noTime, Status: string(res.Status)}
	switch res.Status {
	case benchmark.Pass:
		tc.SystemOut = &junit.Output{Data: details(res)}
	case benchmark.Fail:
		tc.Failure = &junit.Result{Message: firstLine(res.Found), Type: string(res.Status), Data: details(res)}
	case benchmark.Error:
		tc.Error = &junit.Result{Message: firstLine(res.Reason), Type: string(res.Status), Data: details(res)}
	default:
		// Runners show a skipped case's message and seldom its text.
		tc.Skipped = &junit.Result{Message: skipped(res), Type: string(res.Status), Data: details(res)}
	}
	return tc
}

// skipped says why res was skipped.
func skipped(res benchmark.Result) string {
	s := words[res.Status]
	if w := res.Waiver; w != nil {
		return fmt.Sprintf("%s by %s until %s: %s", s, w.Owner, w.Expires.Format(time.DateOnly), firstLine(w.Reason))
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
func details(res benchmark.Result) string {
	var b strings.Builder
	add := func(label, s string) {
		if s != "" {
			fmt.Fprintf(&b, "%s: %s\n", label, s)
		}
	}
	add("key", res.Key)
	add("level", levelOf(res))
	add("found", res.Found)
	add("expected", res.Expected)
	add("reason", res.Reason)
	for _, e := range res.Evidence {
		add("evidence", quote(e))
	}
	add("remediation", res.Remediation)
	if w := res.Waiver; w != nil {
		add("waiver", fmt.Sprintf("%s, accepted by %s until %s", w.Reason, w.Owner, w.Expires.Format(time.DateOnly)))
	}
	return b.String()
}
