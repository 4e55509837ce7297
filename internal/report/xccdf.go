package report

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

const (
	xccdfNS = "http://checklists.nist.gov/xccdf/1.2"
	// xccdfName is whose the ids are, as XCCDF wants it: a domain the other way round.
	xccdfName = "io.github.k3s-cis"
	// xccdfCIS is the system of the numbers that CIS gives to controls.
	xccdfCIS = "https://www.cisecurity.org/benchmark/kubernetes"
	// xccdfScore counts the rules that passed of those that were decided.
	xccdfScore = "urn:xccdf:scoring:flat-unweighted"
)

// xccdfResults says each status in XCCDF's words. It has none for a failure that is
// accepted, which stays a failure with a message, nor for what waits for the first
// boot or a person, which was not checked.
var xccdfResults = map[benchmark.Status]string{
	benchmark.Pass: "pass", benchmark.Fail: "fail", benchmark.Error: "error", benchmark.Waived: "fail",
	benchmark.Deferred: "notchecked", benchmark.Manual: "notchecked", benchmark.NotApplicable: "notapplicable",
}

// The types of report.xccdf.xml (XCCDF 1.2). Members stand in the order that its
// schema has for them.
type (
	xccdfBenchmark struct {
		XMLName     xml.Name         `xml:"Benchmark"`
		Xmlns       string           `xml:"xmlns,attr"`
		ID          string           `xml:"id,attr"`
		Language    string           `xml:"xml:lang,attr"`
		Status      xccdfStatus      `xml:"status"`
		Title       string           `xml:"title"`
		Description string           `xml:"description"`
		Version     string           `xml:"version"`
		Groups      []xccdfGroup     `xml:"Group"`
		TestResult  *xccdfTestResult `xml:"TestResult"`
	}
	xccdfStatus struct {
		Date string `xml:"date,attr"`
		Text string `xml:",chardata"`
	}
	xccdfGroup struct {
		ID    string      `xml:"id,attr"`
		Title string      `xml:"title"`
		Rules []xccdfRule `xml:"Rule"`
	}
	xccdfRule struct {
		ID          string       `xml:"id,attr"`
		Severity    string       `xml:"severity,attr"`
		Title       string       `xml:"title"`
		Description string       `xml:"description,omitempty"`
		Idents      []xccdfIdent `xml:"ident"`
		Fix         string       `xml:"fixtext,omitempty"`
	}
	xccdfIdent struct {
		System string `xml:"system,attr"`
		Text   string `xml:",chardata"`
	}
	xccdfTestResult struct {
		ID        string            `xml:"id,attr"`
		End       string            `xml:"end-time,attr"`
		Version   string            `xml:"version,attr"`
		System    string            `xml:"test-system,attr"`
		Benchmark xccdfRef          `xml:"benchmark"`
		Title     string            `xml:"title"`
		Remarks   []string          `xml:"remark"`
		Target    string            `xml:"target"`
		Facts     []xccdfFact       `xml:"target-facts>fact"`
		Results   []xccdfRuleResult `xml:"rule-result"`
		Score     xccdfPoints       `xml:"score"`
	}
	xccdfRef struct {
		ID   string `xml:"id,attr"`
		Href string `xml:"href,attr"`
	}
	xccdfFact struct {
		Name string `xml:"name,attr"`
		Type string `xml:"type,attr"`
		Text string `xml:",chardata"`
	}
	xccdfRuleResult struct {
		Rule     string         `xml:"idref,attr"`
		Time     string         `xml:"time,attr"`
		Result   string         `xml:"result"`
		Idents   []xccdfIdent   `xml:"ident"`
		Messages []xccdfMessage `xml:"message"`
	}
	xccdfMessage struct {
		Severity string `xml:"severity,attr"`
		Text     string `xml:",chardata"`
	}
	xccdfPoints struct {
		System  string `xml:"system,attr"`
		Maximum string `xml:"maximum,attr"`
		Points  string `xml:",chardata"`
	}
)

// xccdfID is the id of something of a kind, such as rule.
func xccdfID(kind, name string) string {
	return "xccdf_" + xccdfName + "_" + kind + "_" + token(name)
}

// renderXCCDF renders report.xccdf.xml: a Benchmark with the controls as rules, and
// their results. A rule's id is made of the control's stable key, and its ident is
// CIS's number.
func renderXCCDF(v *view) ([]byte, error) {
	doc := xccdfBenchmark{
		Xmlns: xccdfNS, ID: xccdfID("benchmark", v.Benchmark), Language: "en",
		Status:      xccdfStatus{v.Created.Format(time.DateOnly), "draft"},
		Title:       v.subject(),
		Description: "The controls that " + toolName + " judges K3s node images by.",
		Version:     v.PluginVersion,
	}
	for _, s := range v.sections() {
		g := xccdfGroup{ID: xccdfID("group", s.ID), Title: s.Title}
		for _, res := range s.Results {
			g.Rules = append(g.Rules, xccdfRule{
				ID: xccdfID("rule", res.Key), Severity: "unknown", Title: res.Title, Description: res.Expected, Idents: xccdfIdents(res), Fix: res.Remediation,
			})
		}
		doc.Groups = append(doc.Groups, g)
	}
	if len(v.Results) > 0 { // which a TestResult must have
		doc.TestResult = xccdfTest(v, doc.ID)
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", "  ")
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// xccdfTest is what was found.
func xccdfTest(v *view, id string) *xccdfTestResult {
	at := v.Created.Format(time.RFC3339)
	t := &xccdfTestResult{
		ID: xccdfID("testresult", v.Benchmark), End: at, Version: v.PluginVersion, System: "cpe:/a:k3s-cis:" + toolName,
		Benchmark: xccdfRef{id, "#" + id}, Title: v.Verdict(), Remarks: v.Warnings, Target: strings.TrimSpace(v.Node.Build + " " + v.Node.Image),
	}
	for _, f := range append(v.facts(), v.options()...) {
		t.Facts = append(t.Facts, xccdfFact{toolURI + "/ns/xccdf#" + token(f.name), "string", f.value})
	}
	decided, passed := 0, 0
	for _, res := range v.Results {
		r := xccdfRuleResult{Rule: xccdfID("rule", res.Key), Time: at, Result: xccdfResults[res.Status], Idents: xccdfIdents(res)}
		r.Messages = append(r.Messages, xccdfMessage{"info", sentence(res)})
		for _, e := range res.Evidence {
			r.Messages = append(r.Messages, xccdfMessage{"info", quote(e)})
		}
		switch r.Result {
		case "pass":
			passed++
			decided++
		case "fail", "error":
			decided++
		}
		t.Results = append(t.Results, r)
	}
	t.Score = xccdfPoints{xccdfScore, strconv.Itoa(decided), strconv.Itoa(passed)}
	return t
}

// xccdfIdents is CIS's number of a control that has one.
func xccdfIdents(res benchmark.Result) []xccdfIdent {
	if from(res) != fromCIS {
		return nil
	}
	return []xccdfIdent{{xccdfCIS, res.ID}}
}
