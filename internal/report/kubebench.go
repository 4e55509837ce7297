package report

import (
	"cmp"
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

// kbTotals are the counts of checks by state, of a chapter or of all.
type kbTotals struct {
	Pass int `json:"total_pass"`
	Fail int `json:"total_fail"`
	Warn int `json:"total_warn"`
	Info int `json:"total_info"`
}

// The types of kube-bench.json. Their members and their order are those of
// OverallControls, Controls, Group, Check and Summary in kube-bench's package
// check.
type (
	kbReport struct {
		Controls []*kbChapter
		Totals   kbTotals
	}
	kbChapter struct {
		ID              string      `json:"id"`
		Version         string      `json:"version"`
		DetectedVersion string      `json:"detected_version,omitempty"`
		Text            string      `json:"text"`
		NodeType        string      `json:"node_type"`
		Tests           []kbSection `json:"tests"`
		kbTotals
	}
	kbSection struct {
		Section string    `json:"section"`
		Type    string    `json:"type"`
		Pass    int       `json:"pass"`
		Fail    int       `json:"fail"`
		Warn    int       `json:"warn"`
		Info    int       `json:"info"`
		Desc    string    `json:"desc"`
		Results []kbCheck `json:"results"`
	}
	kbCheck struct {
		TestNumber     string   `json:"test_number"`
		TestDesc       string   `json:"test_desc"`
		Audit          string   `json:"audit"`
		AuditEnv       string   `json:"AuditEnv"`
		AuditConfig    string   `json:"AuditConfig"`
		Type           string   `json:"type"`
		Remediation    string   `json:"remediation"`
		TestInfo       []string `json:"test_info"`
		Status         string   `json:"status"`
		ActualValue    string   `json:"actual_value"`
		Scored         bool     `json:"scored"`
		IsMultiple     bool     `json:"IsMultiple"`
		ExpectedResult string   `json:"expected_result"`
		Reason         string   `json:"reason,omitempty"`
	}
)

// renderKubeBench renders kube-bench.json in the shape of kube-bench --json,
// for DefectDojo and dashboards that read that. "audit" names the evidence
// where kube-bench has the command it ran: this plugin runs none. What was judged
// stands behind each chapter's text, since no member of kube-bench's is for it. The image's
// and the user's own controls follow the benchmark's, with node type node.
func renderKubeBench(v *view) ([]byte, error) {
	out := kbReport{Controls: []*kbChapter{}}
	chapterOf := map[string]*kbChapter{}
	for _, s := range v.sections() {
		id, _, _ := strings.Cut(s.ID, ".")
		c := chapterOf[id]
		if c == nil {
			c = newKBChapter(id, v.Report)
			chapterOf[id] = c
			out.Controls = append(out.Controls, c)
		}
		section := newKBSection(s)
		c.Tests = append(c.Tests, section)
		c.add(section)
		out.Totals.add(section)
	}
	return marshalJSON(out)
}

// add counts a section's checks.
func (t *kbTotals) add(s kbSection) {
	t.Pass += s.Pass
	t.Fail += s.Fail
	t.Warn += s.Warn
	t.Info += s.Info
}

func newKBChapter(id string, r Report) *kbChapter {
	return &kbChapter{
		ID: id, Version: "k3s-" + r.Benchmark, DetectedVersion: minor(r.K3sVersion),
		Text: cmp.Or(chapters[id], "Section "+id) + " (" + r.identity() + ")", NodeType: cmp.Or(kbNodeTypes[id], "node"),
	}
}

func newKBSection(s section) kbSection {
	out := kbSection{Section: s.ID, Desc: s.Title}
	n := map[string]int{}
	for _, res := range s.Results {
		c := newKBCheck(res)
		n[c.Status]++
		out.Results = append(out.Results, c)
	}
	out.Pass, out.Fail, out.Warn, out.Info = n["PASS"], n["FAIL"], n["WARN"], n["INFO"]
	return out
}

// newKBCheck is the verdict on one control.
func newKBCheck(res benchmark.Result) kbCheck {
	v := kbVerdicts[res.Status]
	return kbCheck{
		TestNumber: res.ID, TestDesc: res.Title, Audit: audit(res), Type: v.kind,
		Remediation: res.Remediation, TestInfo: []string{res.Remediation}, Status: v.state,
		ActualValue: res.Found, Scored: v.scored, ExpectedResult: res.Expected, Reason: kbReason(res),
	}
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

// audit says where the evidence of a result stands, and when it was seen where
// that was not in the image at rest.
func audit(res benchmark.Result) string {
	if res.Phase == "" {
		return places(res.Evidence)
	}
	return places(res.Evidence) + " (" + res.Phase + ")"
}
