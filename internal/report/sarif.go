package report

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
)

const (
	toolName = "packer-plugin-k3s"
	toolURI  = "https://github.com/k3s-cis/packer-plugin-k3s"
)

// rootBase is the name that artifact locations use for the node's root
// directory, see SARIF 2.1.0 section 3.14.14.
const rootBase = "NODEROOT"

// The levels of SARIF results that are used.
const (
	levelNone  = "none"
	levelError = "error"
)

// sarifLanguage is the language of the texts: SARIF's own default, said for
// readers that do not know it, as are some other defaults in renderSARIF.
const sarifLanguage = "en-US"

// sarifVerdict is how SARIF says a status: result kinds are in section 3.27.9,
// levels in 3.27.10; every kind but fail has the level none.
type sarifVerdict struct{ kind, level string }

// sarifVerdicts says each status in SARIF. A control that could not be judged
// is shown as a failure, because it fails the build and viewers hide the kind
// "open"; its message and its property "status" say what it is. Waived ones
// are failures with an accepted suppression.
var sarifVerdicts = map[cis.Status]sarifVerdict{
	cis.Pass:          {"pass", levelNone},
	cis.Fail:          {"fail", levelError},
	cis.Error:         {"fail", levelError},
	cis.Waived:        {"fail", levelError},
	cis.Deferred:      {"open", levelNone},
	cis.Manual:        {"review", levelNone},
	cis.NotApplicable: {"notApplicable", levelNone},
}

// renderSARIF renders report.sarif (SARIF 2.1.0): one rule and one result a
// control. The rule's id is the control's key, so that a result keeps its
// identity when CIS renumbers. Evidence in files is a physical location
// relative to the node's root, other evidence a logical one.
func renderSARIF(v *view) ([]byte, error) {
	r := v.Report
	// Empty lists say that nothing was judged; null would not be SARIF.
	rules, results := make([]sarifRule, 0, len(r.Results)), make([]sarifResult, 0, len(r.Results))
	for i, res := range r.Results {
		rules = append(rules, newSARIFRule(r, res))
		results = append(results, newSARIFResult(res, i))
	}
	return marshal(sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0",
		Runs: []sarifRun{{
			AutomationDetails: sarifAutomation{ID: strings.Join([]string{"k3s-cis", r.Benchmark, r.Node.Build}, "/") + "/"},
			ColumnKind:        "unicodeCodePoints",
			Invocations:       []sarifInvocation{{EndTimeUTC: r.Created.Format(time.RFC3339), ExecutionSuccessful: true}},
			Language:          sarifLanguage,
			NewlineSequences:  []string{"\r\n", "\n"},
			OriginalURIBaseIDs: map[string]sarifBase{
				rootBase: {Description: sarifText{"The root directory of the node image."}},
			},
			Properties: sarifRunProperties{
				Access: r.Node.Access, Benchmark: r.Benchmark, Build: r.Node.Build, Datastore: r.Node.Datastore,
				K3sVersion: r.K3sVersion, Role: r.Role, Verdict: r.Verdict(),
			},
			Results: results,
			Tool: sarifTool{Driver: sarifDriver{
				Contents:       []string{"localizedData", "nonLocalizedData"},
				InformationURI: toolURI,
				Language:       sarifLanguage,
				Name:           toolName,
				Organization:   "k3s-cis",
				Rules:          rules,
				Version:        r.PluginVersion,
			}},
		}},
	})
}

// newSARIFRule describes the control of res.
func newSARIFRule(r Report, res cis.Result) sarifRule {
	rule := sarifRule{
		DefaultConfiguration: sarifConfiguration{Enabled: true, Level: levelError},
		ID:                   res.Key,
		Name:                 res.ID,
		Properties: sarifRuleProperties{
			ID: res.ID, Origin: from(res), Section: sectionID(res), Tags: []string{"security", "kubernetes", "k3s"},
		},
		ShortDescription: sarifText{heading(res)},
	}
	if res.Expected != "" {
		rule.FullDescription = &sarifText{res.Title + ". Expected: " + res.Expected}
	}
	if res.Remediation != "" {
		rule.Help = &sarifText{res.Remediation}
	}
	if rule.Properties.Origin == fromCIS {
		rule.Properties.Tags = append(rule.Properties.Tags, "cis", r.Benchmark)
	}
	return rule
}

// newSARIFResult is the verdict on the control of the rule at ruleIndex.
func newSARIFResult(res cis.Result, ruleIndex int) sarifResult {
	v := sarifVerdicts[res.Status]
	out := sarifResult{
		Kind:                v.kind,
		Level:               v.level,
		Message:             sarifText{sentence(res)},
		PartialFingerprints: map[string]string{"control/v1": res.Key},
		Properties: sarifResultProperties{
			Expected: res.Expected, Found: res.Found, Reason: res.Reason, Status: string(res.Status),
		},
		RuleID:    res.Key,
		RuleIndex: ruleIndex,
	}
	for _, e := range res.Evidence {
		out.Locations = append(out.Locations, newSARIFLocation(e))
	}
	if w := res.Waiver; w != nil && res.Status == cis.Waived {
		out.Suppressions = []sarifSuppression{{
			Justification: w.Reason,
			Kind:          "external",
			Properties: sarifWaiverProperties{
				Build: w.Build, Control: w.Control, Expires: w.Expires.Format(time.DateOnly), Owner: w.Owner, Role: w.Role,
			},
			Status: "accepted",
		}}
	}
	return out
}

// newSARIFLocation says where e stands.
func newSARIFLocation(e cis.Evidence) sarifLocation {
	var loc sarifLocation
	if e.Detail != "" {
		loc.Message = &sarifText{e.Detail}
	}
	file, isPath := strings.CutPrefix(e.Source, "/")
	if !isPath || file == "" {
		loc.LogicalLocations = []sarifLogicalLocation{{Kind: "resource", Name: e.Source}}
		return loc
	}
	loc.PhysicalLocation = &sarifPhysicalLocation{ArtifactLocation: sarifArtifactLocation{
		// URL.String also keeps a colon in the first segment from reading as a
		// scheme.
		URI:       (&url.URL{Path: file}).String(),
		URIBaseID: rootBase,
	}}
	if e.Line > 0 {
		loc.PhysicalLocation.Region = &sarifRegion{StartLine: e.Line}
	}
	return loc
}

// heading is a control's number and title.
func heading(res cis.Result) string { return res.ID + " " + res.Title }

// sentence says a result in one line.
func sentence(res cis.Result) string {
	s := heading(res) + ": " + words[res.Status]
	if res.Found != "" {
		s += "; found: " + res.Found
	}
	if res.Expected != "" {
		s += "; expected: " + res.Expected
	}
	if res.Reason != "" {
		s += "; " + res.Reason
	}
	if w := res.Waiver; w != nil {
		s += fmt.Sprintf("; accepted by %s until %s: %s", w.Owner, w.Expires.Format(time.DateOnly), w.Reason)
	}
	return s
}
