package report

import (
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
)

// The types below are what kube-bench prints for --json: OverallControls,
// Controls, Group, Check and Summary of its package check, with their field
// names and order.
type (
	kbOverall struct {
		Controls []kbControls
		Totals   kbSummary
	}
	kbControls struct {
		ID              string    `json:"id"`
		Version         string    `json:"version"`
		DetectedVersion string    `json:"detected_version,omitempty"`
		Text            string    `json:"text"`
		NodeType        string    `json:"node_type"`
		Groups          []kbGroup `json:"tests"`
		kbSummary
	}
	kbGroup struct {
		ID     string    `json:"section"`
		Type   string    `json:"type"`
		Pass   int       `json:"pass"`
		Fail   int       `json:"fail"`
		Warn   int       `json:"warn"`
		Info   int       `json:"info"`
		Text   string    `json:"desc"`
		Checks []kbCheck `json:"results"`
	}
	kbCheck struct {
		ID             string   `json:"test_number"`
		Text           string   `json:"test_desc"`
		Audit          string   `json:"audit"`
		AuditEnv       string   `json:"AuditEnv"`
		AuditConfig    string   `json:"AuditConfig"`
		Type           string   `json:"type"`
		Remediation    string   `json:"remediation"`
		TestInfo       []string `json:"test_info"`
		State          string   `json:"status"`
		ActualValue    string   `json:"actual_value"`
		Scored         bool     `json:"scored"`
		IsMultiple     bool     `json:"IsMultiple"`
		ExpectedResult string   `json:"expected_result"`
		Reason         string   `json:"reason,omitempty"`
	}
	kbSummary struct {
		Pass int `json:"total_pass"`
		Fail int `json:"total_fail"`
		Warn int `json:"total_warn"`
		Info int `json:"total_info"`
	}
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
var kbVerdicts = map[cis.Status]kbVerdict{
	cis.Pass:          {"PASS", "", true},
	cis.Fail:          {"FAIL", "", true},
	cis.Error:         {"FAIL", "", true},
	cis.Waived:        {"WARN", "", true},
	cis.Deferred:      {"WARN", "", true},
	cis.Manual:        {"WARN", "manual", false},
	cis.NotApplicable: {"INFO", "skip", true},
}

// kbNodeTypes are kube-bench's node types by chapter of the benchmark.
var kbNodeTypes = map[string]string{
	"1": "master", "2": "etcd", "3": "controlplane", "4": "node", "5": "policies",
}

// renderKubeBench renders kube-bench.json in the shape of kube-bench --json,
// for DefectDojo and dashboards that read that. "audit" names the evidence
// where kube-bench has the command it ran: this plugin runs none. The image's
// and the user's own controls follow the benchmark's, with node type node.
func renderKubeBench(v *view) ([]byte, error) {
	r := v.Report
	out := kbOverall{Controls: []kbControls{}}
	index := map[string]int{}
	for _, s := range v.sections() {
		chapter, _, _ := strings.Cut(s.ID, ".")
		i, ok := index[chapter]
		if !ok {
			i = len(out.Controls)
			index[chapter] = i
			out.Controls = append(out.Controls, newKBControls(r, chapter))
		}
		out.Controls[i].add(s, &out.Totals)
	}
	return marshal(out)
}

// newKBControls starts a chapter.
func newKBControls(r Report, chapter string) kbControls {
	nodeType := kbNodeTypes[chapter]
	if nodeType == "" {
		nodeType = "node"
	}
	title := chapters[chapter]
	if title == "" {
		title = "Section " + chapter
	}
	return kbControls{
		ID:              chapter,
		Version:         "k3s-" + r.Benchmark,
		DetectedVersion: minor(r.K3sVersion),
		Text:            title,
		NodeType:        nodeType,
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

// add adds a section and counts it, in the chapter and in totals.
func (c *kbControls) add(s section, totals *kbSummary) {
	g := kbGroup{ID: s.ID, Text: s.Title}
	for _, res := range s.Results {
		check := newKBCheck(res)
		g.Checks = append(g.Checks, check)
		switch check.State {
		case "PASS":
			g.Pass++
		case "FAIL":
			g.Fail++
		case "WARN":
			g.Warn++
		case "INFO":
			g.Info++
		}
	}
	for _, sum := range []*kbSummary{&c.kbSummary, totals} {
		sum.Pass += g.Pass
		sum.Fail += g.Fail
		sum.Warn += g.Warn
		sum.Info += g.Info
	}
	c.Groups = append(c.Groups, g)
}

// newKBCheck is the verdict on one control.
func newKBCheck(res cis.Result) kbCheck {
	v := kbVerdicts[res.Status]
	return kbCheck{
		ID:             res.ID,
		Text:           res.Title,
		Audit:          places(res.Evidence),
		Type:           v.kind,
		Remediation:    res.Remediation,
		TestInfo:       []string{res.Remediation},
		State:          v.state,
		ActualValue:    res.Found,
		Scored:         v.scored,
		ExpectedResult: res.Expected,
		Reason:         kbReason(res),
	}
}

// kbReason says what kube-bench's state alone does not.
func kbReason(res cis.Result) string {
	switch {
	case res.Status == cis.Pass || res.Status == cis.Fail:
		return res.Reason
	case res.Status == cis.Waived && res.Waiver != nil:
		w := res.Waiver
		return "waived by " + w.Owner + " until " + w.Expires.Format(time.DateOnly) + ": " + w.Reason
	case res.Reason == "":
		return words[res.Status]
	default:
		return words[res.Status] + ": " + res.Reason
	}
}
