package report

import (
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// kbVerdict is how kube-bench says a status: its state, the type of the check,
// and whether the check is scored.
type kbVerdict struct {
	state, kind string
	scored      bool
}

// kbVerdicts says each status as kube-bench would. It has no word for a
// failure that is accepted or a check that must wait; both are WARN, because
// INFO is for what does not concern the node, and "reason" says which it is.
// A control that could not be judged is FAIL, as a scored check whose audit
// command fails.
var kbVerdicts = map[benchmark.Status]kbVerdict{
	benchmark.Pass:          {"PASS", "", true},
	benchmark.Fail:          {"FAIL", "", true},
	benchmark.Error:         {"FAIL", "", true},
	benchmark.Waived:        {"WARN", "", true},
	benchmark.Deferred:      {"WARN", "", true},
	benchmark.Manual:        {"WARN", "manual", false},
	benchmark.NotApplicable: {"INFO", "skip", true},
}

// kbNodeTypes are kube-bench's node types by chapter of the benchmark.
var kbNodeTypes = map[string]string{
	"1": "master", "2": "etcd", "3": "controlplane", "4": "node", "5": "policies",
}

// kbSize is about how many bytes kube-bench.json has for a result.
const kbSize = 1024

// kbCounts counts checks by state.
type kbCounts map[string]int

// add counts the results.
func (n kbCounts) add(results []benchmark.Result) {
	for i := range results {
		n[kbVerdicts[results[i].Status].state]++
	}
}

// kbChapter is a chapter of the benchmark, the image or the user's controls.
type kbChapter struct {
	id       string
	sections []section
	counts   kbCounts
}

// kbDoc writes kube-bench.json. Its members and their order are those of
// OverallControls, Controls, Group, Check and Summary in kube-bench's package
// check.
type kbDoc struct {
	*view
	*jsonWriter
}

// renderKubeBench renders kube-bench.json in the shape of kube-bench --json,
// for DefectDojo and dashboards that read that. "audit" names the evidence
// where kube-bench has the command it ran: this plugin runs none. The image's
// and the user's own controls follow the benchmark's, with node type node.
func renderKubeBench(v *view) ([]byte, error) {
	var all []kbChapter
	totals := kbCounts{}
	index := map[string]int{}
	for _, s := range v.sections() {
		id, _, _ := strings.Cut(s.ID, ".")
		i, ok := index[id]
		if !ok {
			i = len(all)
			index[id] = i
			all = append(all, kbChapter{id: id, counts: kbCounts{}})
		}
		all[i].sections = append(all[i].sections, s)
		all[i].counts.add(s.Results)
		totals.add(s.Results)
	}
	d := kbDoc{v, newJSONWriter(kbSize * len(v.Results))}
	d.object("", func() {
		d.list("Controls", func() {
			for _, c := range all {
				d.object("", func() { d.chapter(c) })
			}
		})
		d.object("Totals", func() { d.totals(totals) })
	})
	return d.file()
}

// totals writes the counts of a chapter or of all.
func (d kbDoc) totals(n kbCounts) {
	d.number("total_pass", n["PASS"])
	d.number("total_fail", n["FAIL"])
	d.number("total_warn", n["WARN"])
	d.number("total_info", n["INFO"])
}

// chapter writes a chapter and its sections.
func (d kbDoc) chapter(c kbChapter) {
	title := chapters[c.id]
	if title == "" {
		title = "Section " + c.id
	}
	nodeType := kbNodeTypes[c.id]
	if nodeType == "" {
		nodeType = "node"
	}
	d.text("id", c.id)
	d.text("version", "k3s-"+d.Benchmark)
	d.optional("detected_version", minor(d.K3sVersion))
	d.text("text", title)
	d.text("node_type", nodeType)
	d.list("tests", func() {
		for _, s := range c.sections {
			d.object("", func() { d.section(s) })
		}
	})
	d.totals(c.counts)
}

// section writes a section and its checks.
func (d kbDoc) section(s section) {
	n := kbCounts{}
	n.add(s.Results)
	d.text("section", s.ID)
	d.text("type", "")
	d.number("pass", n["PASS"])
	d.number("fail", n["FAIL"])
	d.number("warn", n["WARN"])
	d.number("info", n["INFO"])
	d.text("desc", s.Title)
	d.list("results", func() {
		for i := range s.Results {
			d.object("", func() { d.check(&s.Results[i]) })
		}
	})
}

// check writes the verdict on one control.
func (d kbDoc) check(res *benchmark.Result) {
	v := kbVerdicts[res.Status]
	d.text("test_number", res.ID)
	d.text("test_desc", res.Title)
	d.text("audit", places(res.Evidence))
	d.text("AuditEnv", "")
	d.text("AuditConfig", "")
	d.text("type", v.kind)
	d.text("remediation", res.Remediation)
	d.texts("test_info", res.Remediation)
	d.text("status", v.state)
	d.text("actual_value", res.Found)
	d.boolean("scored", v.scored)
	d.boolean("IsMultiple", false)
	d.text("expected_result", res.Expected)
	d.optional("reason", kbReason(*res))
}

// minor is the Kubernetes minor of a K3s release, as kube-bench names it:
// 1.36 for v1.36.3+k3s1.
func minor(k3sVersion string) string {
	parts := strings.SplitN(strings.TrimPrefix(k3sVersion, "v"), ".", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[0] + "." + parts[1]
}

// kbReason says what kube-bench's state alone does not.
func kbReason(res benchmark.Result) string {
	switch {
	case res.Status == benchmark.Pass || res.Status == benchmark.Fail:
		return res.Reason
	case res.Status == benchmark.Waived && res.Waiver != nil:
		w := res.Waiver
		return "waived by " + w.Owner + " until " + w.Expires.Format(time.DateOnly) + ": " + w.Reason
	case res.Reason == "":
		return words[res.Status]
	default:
		return words[res.Status] + ": " + res.Reason
	}
}
