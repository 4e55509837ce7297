package report

import (
	"maps"
	"slices"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
)

// renderJSON renders report.json; docs/report.schema.json is its schema, and
// the tags of Report's types name its members to LoadReport.
func renderJSON(v *view) ([]byte, error) { return v.json(), nil }

// resultSize is about how many bytes report.json has for a result.
const resultSize = 768

// writeJSON writes r as report.json has it.
func writeJSON(r Report) []byte {
	w := newJSONWriter(resultSize * len(r.Results))
	w.object("", func() {
		w.text("plugin_version", r.PluginVersion)
		w.text("created", r.Created.Format(time.RFC3339Nano))
		w.text("k3s_version", r.K3sVersion)
		w.text("role", r.Role)
		w.text("benchmark", r.Benchmark)
		w.object("node", func() {
			w.text("build", r.Node.Build)
			w.optional("datastore", r.Node.Datastore)
			w.text("access", r.Node.Access)
		})
		w.object("summary", func() {
			for _, s := range slices.Sorted(maps.Keys(r.Summary)) {
				w.number(memberOf(string(s)), r.Summary[s])
			}
		})
		w.list("results", func() {
			for i := range r.Results {
				w.object("", func() { writeResult(w, &r.Results[i]) })
			}
		})
	})
	return w.file()
}

// writeResult writes the members of a result.
func writeResult(w *jsonWriter, res *cis.Result) {
	w.text("id", res.ID)
	w.text("key", res.Key)
	w.text("title", res.Title)
	w.text("status", string(res.Status))
	w.text("section", res.Section)
	w.text("found", res.Found)
	w.text("expected", res.Expected)
	w.optional("reason", res.Reason)
	w.list("evidence", func() {
		for _, e := range res.Evidence {
			w.object("", func() {
				w.text("source", e.Source)
				if e.Line != 0 {
					w.number("line", e.Line)
				}
				w.text("detail", e.Detail)
			})
		}
	})
	w.optional("remediation", res.Remediation)
	if res.Waiver == nil {
		return
	}
	w.object("waiver", func() {
		w.text("control", res.Waiver.Control)
		w.text("reason", res.Waiver.Reason)
		w.text("owner", res.Waiver.Owner)
		w.text("expires", res.Waiver.Expires.Format(time.RFC3339Nano))
		w.optional("role", res.Waiver.Role)
		w.optional("build", res.Waiver.Build)
	})
}
