package report

import (
	"bytes"
	"encoding/csv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// csvColumns are the columns of a control.
var csvColumns = []struct {
	name string
	of   func(benchmark.Result) string
}{
	{"id", func(r benchmark.Result) string { return r.ID }},
	{"key", func(r benchmark.Result) string { return r.Key }},
	{"title", func(r benchmark.Result) string { return r.Title }},
	{"section", sectionID},
	{"level", levelOf},
	{"status", func(r benchmark.Result) string { return string(r.Status) }},
	{"verdict", labelOf},
	{"found", func(r benchmark.Result) string { return r.Found }},
	{"expected", func(r benchmark.Result) string { return r.Expected }},
	{"reason", func(r benchmark.Result) string { return r.Reason }},
	{"evidence", func(r benchmark.Result) string {
		var all []string
		for _, e := range r.Evidence {
			all = append(all, quote(e))
		}
		return strings.Join(all, "\n")
	}},
	{"remediation", func(r benchmark.Result) string { return r.Remediation }},
	{"waiver_owner", ofWaiver(func(w *benchmark.Waiver) string { return w.Owner })},
	{"waiver_until", ofWaiver(func(w *benchmark.Waiver) string { return w.Expires.Format(time.DateOnly) })},
	{"waiver_reason", ofWaiver(func(w *benchmark.Waiver) string { return w.Reason })},
	{"attested_by", ofAttestation(func(a *benchmark.Attestation) string { return a.By })},
	{"attested_on", ofAttestation(func(a *benchmark.Attestation) string { return a.When.Format(time.DateOnly) })},
	{"attested_until", ofAttestation(func(a *benchmark.Attestation) string { return a.Until.Format(time.DateOnly) })},
	{"attested_statement", ofAttestation(func(a *benchmark.Attestation) string { return a.Statement })},
}

func ofWaiver(of func(*benchmark.Waiver) string) func(benchmark.Result) string {
	return func(r benchmark.Result) string {
		if r.Waiver == nil {
			return ""
		}
		return of(r.Waiver)
	}
}

func ofAttestation(of func(*benchmark.Attestation) string) func(benchmark.Result) string {
	return func(r benchmark.Result) string {
		if r.Attestation == nil {
			return ""
		}
		return of(r.Attestation)
	}
}

// renderCSV renders report.csv: a line a control, first what was found, then in
// each line what was judged by what, so that lines of several reports can be put
// together.
func renderCSV(v *view) ([]byte, error) {
	var head, tail []string
	for _, c := range csvColumns {
		head = append(head, c.name)
	}
	for _, f := range v.facts() {
		head, tail = append(head, f.name), append(tail, Cell(f.value))
	}
	if len(v.Warnings) > 0 {
		head, tail = append(head, "warnings"), append(tail, Cell(strings.Join(v.Warnings, "\n")))
	}
	records := [][]string{head}
	for _, res := range v.Results {
		var record []string
		for _, c := range csvColumns {
			record = append(record, Cell(c.of(res)))
		}
		records = append(records, append(record, tail...))
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	err := w.WriteAll(records)
	return b.Bytes(), err
}
