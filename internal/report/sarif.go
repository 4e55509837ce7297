package report

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

const (
	toolName = "packer-plugin-k3s"
	toolURI  = "https://github.com/k3s-cis/packer-plugin-k3s"
)

// rootBase is the name that artifact locations use for the node's root
// directory, see SARIF 2.1.0 section 3.14.14.
const rootBase = "NODEROOT"

// sarifError is the level of every result.
const sarifError = "error"

// What GitHub's code scanning takes at most: locations of a result, and
// characters of a rule's description and of its name.
const (
	sarifMaxLocations   = 10
	sarifMaxDescription = 1024
	sarifMaxName        = 255
)

// sarifLanguage is the language of the texts: SARIF's own default, said for
// readers that do not know it, as are some other defaults in renderSARIF.
const sarifLanguage = "en-US"

// sarifResults are the statuses that are results: what fails a build, because
// viewers hide every other kind and level, so a control that could not be judged
// too, and what is waived, with an accepted suppression. Code scanning makes an
// alert of each result, whatever its kind: what holds, waits or concerns a person
// is a rule alone, and its verdict the rule's property "status".
var sarifResults = map[benchmark.Status]bool{benchmark.Fail: true, benchmark.Error: true, benchmark.Waived: true}

// The types of report.sarif (SARIF 2.1.0). The members of each object stand in
// alphabetical order.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Runs    []sarifRun `json:"runs"`
		Version string     `json:"version"`
	}
	sarifRun struct {
		AutomationDetails  sarifAutomation      `json:"automationDetails"`
		ColumnKind         string               `json:"columnKind"`
		Invocations        []sarifInvocation    `json:"invocations"`
		Language           string               `json:"language"`
		NewlineSequences   []string             `json:"newlineSequences"`
		OriginalURIBaseIDs map[string]sarifBase `json:"originalUriBaseIds"`
		Properties         map[string]string    `json:"properties"`
		Results            []sarifResult        `json:"results"`
		Tool               map[string]sarifTool `json:"tool"`
	}
	sarifAutomation struct {
		ID string `json:"id"`
	}
	sarifInvocation struct {
		EndTimeUTC          time.Time `json:"endTimeUtc"`
		ExecutionSuccessful bool      `json:"executionSuccessful"`
		// Notifications are the report's warnings.
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string       `json:"level"`
		Message sarifMessage `json:"message"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifBase struct {
		Description sarifMessage `json:"description"`
	}
	sarifTool struct {
		Contents        []string    `json:"contents"`
		InformationURI  string      `json:"informationUri"`
		IsComprehensive bool        `json:"isComprehensive"`
		Language        string      `json:"language"`
		Name            string      `json:"name"`
		Organization    string      `json:"organization"`
		Rules           []sarifRule `json:"rules"`
		Version         string      `json:"version"`
	}
	sarifRule struct {
		DefaultConfiguration sarifConfiguration  `json:"defaultConfiguration"`
		FullDescription      sarifMessage        `json:"fullDescription"`
		Help                 sarifMessage        `json:"help"`
		ID                   string              `json:"id"`
		Name                 string              `json:"name"`
		Properties           sarifRuleProperties `json:"properties"`
		ShortDescription     sarifMessage        `json:"shortDescription"`
	}
	sarifConfiguration struct {
		Enabled bool   `json:"enabled"`
		Level   string `json:"level"`
	}
	sarifRuleProperties struct {
		ID    string `json:"id,omitempty"`
		Level string `json:"level,omitempty"`
		// Attestation is what a person attests.
		Attestation string   `json:"attestation,omitempty"`
		Origin      string   `json:"origin"`
		Section     string   `json:"section,omitempty"`
		Status      string   `json:"status"`
		Tags        []string `json:"tags"`
	}
	sarifResult struct {
		Kind                string             `json:"kind"`
		Level               string             `json:"level"`
		Locations           []sarifLocation    `json:"locations"`
		Message             sarifMessage       `json:"message"`
		PartialFingerprints map[string]string  `json:"partialFingerprints"`
		Properties          map[string]string  `json:"properties"`
		RuleID              string             `json:"ruleId"`
		RuleIndex           int                `json:"ruleIndex"`
		Suppressions        []sarifSuppression `json:"suppressions,omitempty"`
	}
	sarifSuppression struct {
		Justification string            `json:"justification"`
		Kind          string            `json:"kind"`
		Properties    map[string]string `json:"properties"`
		Status        string            `json:"status"`
	}
	sarifLocation struct {
		LogicalLocations []sarifResource `json:"logicalLocations,omitempty"`
		Message          *sarifMessage   `json:"message,omitempty"`
		PhysicalLocation sarifPhysical   `json:"physicalLocation"`
	}
	sarifResource struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	}
	sarifPhysical struct {
		ArtifactLocation sarifArtifact `json:"artifactLocation"`
		Region           sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI       string `json:"uri"`
		URIBaseID string `json:"uriBaseId"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
)

// renderSARIF renders report.sarif: one rule a control, and one result a control
// that does not hold, so that GitHub's code scanning takes it. The rule's id is
// the control's key, so that a result keeps its identity when CIS renumbers.
func renderSARIF(v *view) ([]byte, error) {
	run := sarifRun{
		AutomationDetails:  sarifAutomation{strings.Join([]string{"k3s-cis", v.Benchmark, v.Node.Build}, "/") + "/"},
		ColumnKind:         "unicodeCodePoints",
		Invocations:        []sarifInvocation{{EndTimeUTC: v.Created, ExecutionSuccessful: true, Notifications: v.notifications()}},
		Language:           sarifLanguage,
		NewlineSequences:   []string{"\r\n", "\n"},
		OriginalURIBaseIDs: map[string]sarifBase{rootBase: {sarifMessage{"The root directory of the node image."}}},
		Properties:         v.sarifIdentity(),
		// An empty list says that nothing fails; without one it would not be SARIF.
		Results: []sarifResult{},
	}
	tool := sarifTool{
		Contents: []string{"localizedData", "nonLocalizedData"}, InformationURI: toolURI, Language: sarifLanguage,
		Name: toolName, Organization: "k3s-cis", Rules: []sarifRule{}, Version: v.PluginVersion,
	}
	for i, res := range v.Results {
		tool.Rules = append(tool.Rules, newSARIFRule(res, v.Benchmark))
		if sarifResults[res.Status] {
			run.Results = append(run.Results, newSARIFResult(res, i))
		}
	}
	run.Tool = map[string]sarifTool{"driver": tool}
	return marshalJSON(sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Runs:    []sarifRun{run},
		Version: "2.1.0",
	})
}

// present is m without its empty values.
func present(m map[string]string) map[string]string {
	maps.DeleteFunc(m, func(_, value string) bool { return value == "" })
	return m
}

// newSARIFRule describes the control of res.
func newSARIFRule(res benchmark.Result, release string) sarifRule {
	r := sarifRule{
		DefaultConfiguration: sarifConfiguration{Enabled: true, Level: sarifError},
		FullDescription:      sarifMessage{res.Title + "."},
		Help:                 sarifMessage{cmp.Or(res.Remediation, res.Title+".")},
		ID:                   res.Key,
		Name:                 shortened(res.ID, sarifMaxName),
		Properties: sarifRuleProperties{
			ID: res.ID, Level: levelOf(res), Origin: from(res), Section: sectionID(res), Status: string(res.Status),
			Tags: []string{"security", "kubernetes", "k3s"},
		},
		ShortDescription: sarifMessage{shortened(heading(res), sarifMaxDescription)},
	}
	if res.Attestation != nil {
		r.Properties.Attestation = res.Attestation.String()
	}
	if res.Expected != "" {
		r.FullDescription.Text += " Expected: " + res.Expected
	}
	r.FullDescription.Text = shortened(r.FullDescription.Text, sarifMaxDescription)
	if r.Properties.Origin == fromCIS {
		r.Properties.Tags = append(r.Properties.Tags, "cis", release)
	}
	return r
}

// sarifIdentity are the report's facts and verdict as properties.
func (v *view) sarifIdentity() map[string]string {
	out := map[string]string{"verdict": v.Verdict()}
	for _, f := range append(v.facts(), v.options()...) {
		out[f.name] = f.value
	}
	return out
}

// notifications are the report's warnings.
func (v *view) notifications() []sarifNotification {
	var out []sarifNotification
	for _, w := range v.Warnings {
		out = append(out, sarifNotification{Level: "warning", Message: sarifMessage{w}})
	}
	return out
}

// shortened is s, or so much of it that it has limit characters with the sign
// that it is cut.
func shortened(s string, limit int) string {
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}

// newSARIFResult is the verdict on the control of the rule at ruleIndex.
func newSARIFResult(res benchmark.Result, ruleIndex int) sarifResult {
	r := sarifResult{
		Kind:                "fail",
		Level:               sarifError,
		Locations:           sarifLocations(res.Evidence),
		Message:             sarifMessage{sentence(res)},
		PartialFingerprints: map[string]string{"control/v1": res.Key},
		Properties: present(map[string]string{
			"expected": res.Expected, "found": res.Found, "phase": res.Phase, "reason": res.Reason, "status": string(res.Status),
		}),
		RuleID:    res.Key,
		RuleIndex: ruleIndex,
	}
	if w := res.Waiver; w != nil && res.Status == benchmark.Waived {
		r.Suppressions = []sarifSuppression{{
			Justification: w.Reason,
			Kind:          "external",
			Properties: present(map[string]string{
				"build": w.Build, "control": w.Control, "expires": w.Expires.Format(time.DateOnly), "owner": w.Owner, "role": w.Role,
			}),
			Status: "accepted",
		}}
	}
	return r
}

// sarifLocations says where the evidence stands. Code scanning refuses a file
// with a location outside of files, and one with a result that has no location:
// what rests on a default, or on nothing, is located where it would be set, in
// K3s's configuration file.
func sarifLocations(evidence []benchmark.Evidence) []sarifLocation {
	var out []sarifLocation
	for _, e := range evidence[:min(len(evidence), sarifMaxLocations)] {
		l := sarifLocation{PhysicalLocation: sarifPlace(e.Source, e.Line)}
		if !isPath(e.Source) {
			l.PhysicalLocation = sarifPlace(k3s.ConfigFile, 0)
			l.LogicalLocations = []sarifResource{{Kind: "resource", Name: e.Source}}
		}
		if e.Detail != "" {
			l.Message = &sarifMessage{phased(e)}
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		out = []sarifLocation{{PhysicalLocation: sarifPlace(k3s.ConfigFile, 0)}}
	}
	return out
}

// phased is what a piece of evidence says, and when it was seen where that was not
// in the image at rest.
func phased(e benchmark.Evidence) string {
	if e.Phase == "" {
		return e.Detail
	}
	return e.Detail + " (" + e.Phase + ")"
}

// isPath reports whether evidence with this source is in a file.
func isPath(source string) bool { return strings.HasPrefix(source, "/") && source != "/" }

// sarifPlace is a line of a file of the node; the file's first where none is
// known. URL.String also keeps a colon in the first segment from reading as a
// scheme.
func sarifPlace(path string, line int) sarifPhysical {
	return sarifPhysical{
		ArtifactLocation: sarifArtifact{URI: (&url.URL{Path: strings.TrimPrefix(path, "/")}).String(), URIBaseID: rootBase},
		Region:           sarifRegion{StartLine: max(line, 1)},
	}
}

// heading is a control's number and title.
func heading(res benchmark.Result) string { return res.ID + " " + res.Title }

// sentence says a result in one line.
func sentence(res benchmark.Result) string {
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
