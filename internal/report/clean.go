package report

import (
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// line makes s one printable line.
func line(s string) string { return safetext.Line(s) }

// text makes s printable and keeps its line breaks.
func text(s string) string { return strings.TrimSpace(safetext.Text(s)) }

// cleanResult makes every text of res printable; see safetext. It copies what it
// changes and leaves res alone.
func cleanResult(res benchmark.Result) benchmark.Result {
	for _, p := range []*string{&res.ID, &res.Key, &res.Title, &res.Section, &res.Found, &res.Expected} {
		*p = line(*p)
	}
	res.Reason = text(res.Reason)
	res.Remediation = text(res.Remediation)
	evidence := make([]benchmark.Evidence, 0, len(res.Evidence))
	for _, e := range res.Evidence {
		evidence = append(evidence, benchmark.Evidence{Source: line(e.Source), Line: max(e.Line, 0), Detail: line(e.Detail)})
	}
	res.Evidence = evidence
	if res.Waiver != nil {
		w := *res.Waiver
		w.Control, w.Owner, w.Role, w.Build = line(w.Control), line(w.Owner), line(w.Role), line(w.Build)
		w.Reason = text(w.Reason)
		w.Expires = w.Expires.UTC()
		res.Waiver = &w
	}
	return res
}
