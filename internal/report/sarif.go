package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
)

const (
	toolName = "packer-plugin-k3s"
	toolURI  = "https://github.com/k3s-cis/packer-plugin-k3s"
)

// rootBase is the name that artifact locations use for the node's root
// directory, see SARIF 2.1.0 section 3.14.14.
const rootBase = "NODEROOT"

// sarifVerdict is how SARIF says a status: result kinds are in section 3.27.9,
// levels in 3.27.10; every kind but fail has the level none.
type sarifVerdict struct{ kind, level string }

// sarifVerdicts says each status in SARIF. A control that could not be judged
// is shown as a failure, because it fails the build and viewers hide the kind
// "open"; its message and its property "status" say what it is. Waived ones
// are failures with an accepted suppression.
var sarifVerdicts = map[cis.Status]sarifVerdict{
	cis.Pass:          {"pass", sarif.LevelNone},
	cis.Fail:          {"fail", sarif.LevelError},
	cis.Error:         {"fail", sarif.LevelError},
	cis.Waived:        {"fail", sarif.LevelError},
	cis.Deferred:      {"open", sarif.LevelNone},
	cis.Manual:        {"review", sarif.LevelNone},
	cis.NotApplicable: {"notApplicable", sarif.LevelNone},
}

// renderSARIF renders report.sarif (SARIF 2.1.0): one rule and one result a
// control. The rule's id is the control's key, so that a result keeps its
// identity when CIS renumbers. Evidence in files is a physical location
// relative to the node's root, other evidence a logical one.
func renderSARIF(r Report) ([]byte, error) {
	run := sarif.NewRunWithInformationURI(toolName, toolURI)
	run.Tool.Driver.WithVersion(r.PluginVersion).WithOrganization("k3s-cis")
	run.AutomationDetails = sarif.NewRunAutomationDetails().
		WithID(strings.Join([]string{"k3s-cis", r.Benchmark, r.Node.Build}, "/") + "/")
	run.WithColumnKind("unicodeCodePoints")
	run.OriginalUriBaseIds = map[string]sarif.ArtifactLocation{
		rootBase: *sarif.NewArtifactLocation().WithDescription(sarif.NewTextMessage("The root directory of the node image.")),
	}
	run.Properties = properties(
		"k3s_version", r.K3sVersion, "role", r.Role, "benchmark", r.Benchmark,
		"build", r.Node.Build, "datastore", r.Node.Datastore, "access", r.Node.Access,
		"verdict", r.Verdict())
	run.AddInvocation(sarif.NewInvocation().WithExecutionSuccessful(true).WithEndTimeUtc(r.Created.Format(time.RFC3339)))
	for _, res := range r.Results {
		run.Tool.Driver.AddRule(sarifRule(r, res))
		run.AddResult(sarifResult(res, len(run.Tool.Driver.Rules)-1))
	}
	doc := sarif.NewReport().AddRun(run)
	doc.Schema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	return marshalSARIF(doc)
}

// sarifRule describes the control of res.
func sarifRule(r Report, res cis.Result) *sarif.ReportingDescriptor {
	rule := sarif.NewReportingDescriptor().
		WithID(res.Key).
		WithName(res.ID).
		WithShortDescription(sarifText(heading(res))).
		WithDefaultConfiguration(sarif.NewReportingConfiguration().WithLevel(sarif.LevelError))
	if res.Expected != "" {
		rule.WithFullDescription(sarifText(res.Title + ". Expected: " + res.Expected))
	}
	if res.Remediation != "" {
		rule.WithHelp(sarifText(res.Remediation))
	}
	tags := []string{"security", "kubernetes", "k3s"}
	if from(res) == fromCIS {
		tags = append(tags, "cis", r.Benchmark)
	}
	rule.Properties = properties("id", res.ID, "section", sectionID(res), "origin", from(res)).WithTags(tags)
	return rule
}

// sarifResult is the verdict on the control of the rule at ruleIndex.
func sarifResult(res cis.Result, ruleIndex int) *sarif.Result {
	v := sarifVerdicts[res.Status]
	out := sarif.NewRuleResult(res.Key).
		WithRuleIndex(ruleIndex).
		WithKind(v.kind).
		WithLevel(v.level).
		WithMessage(sarif.NewTextMessage(sentence(res)))
	out.PartialFingerprints = map[string]string{"control/v1": res.Key}
	out.Properties = properties("status", string(res.Status), "found", res.Found, "expected", res.Expected, "reason", res.Reason)
	for _, e := range res.Evidence {
		out.AddLocation(sarifLocation(e))
	}
	if w := res.Waiver; w != nil && res.Status == cis.Waived {
		s := sarif.NewSuppression().WithKind("external").WithStatus("accepted").WithJustification(w.Reason)
		s.Properties = properties("owner", w.Owner, "expires", w.Expires.Format(time.DateOnly),
			"control", w.Control, "role", w.Role, "build", w.Build)
		out.AddSuppression(s)
	}
	return out
}

// sarifLocation says where e stands.
func sarifLocation(e cis.Evidence) *sarif.Location {
	loc := sarif.NewLocation()
	if e.Detail != "" {
		loc.WithMessage(sarif.NewTextMessage(e.Detail))
	}
	file, isPath := strings.CutPrefix(e.Source, "/")
	if !isPath || file == "" {
		return loc.AddLogicalLocation(sarif.NewLogicalLocation().WithName(e.Source).WithKind("resource"))
	}
	phys := sarif.NewPhysicalLocation().WithArtifactLocation(
		// URL.String also keeps a colon in the first segment from reading as a
		// scheme.
		sarif.NewArtifactLocation().WithURI((&url.URL{Path: file}).String()).WithURIBaseID(rootBase))
	if e.Line > 0 {
		phys.WithRegion(sarif.NewRegion().WithStartLine(e.Line))
	}
	return loc.WithPhysicalLocation(phys)
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

// properties makes a property bag of names and values, without empty values.
func properties(pairs ...string) *sarif.PropertyBag {
	bag := sarif.NewPropertyBag()
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			bag.Add(pairs[i], pairs[i+1])
		}
	}
	return bag
}

func sarifText(s string) *sarif.MultiformatMessageString {
	return sarif.NewMultiformatMessageString().WithText(s)
}

// marshalSARIF lays doc out without the many empty lists and default indices
// that the library writes and the schema makes optional.
func marshalSARIF(doc *sarif.Report) ([]byte, error) {
	data, err := marshal(doc)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	prune(tree)
	return marshal(tree)
}

// prune deletes empty lists and objects, and the -1 that says "no index", from
// v. An empty list of results or rules says something and stays.
func prune(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			prune(e)
		}
	case map[string]any:
		for k, e := range v {
			prune(e)
			switch e := e.(type) {
			case []any:
				if len(e) == 0 && k != "results" && k != "rules" {
					delete(v, k)
				}
			case map[string]any:
				if len(e) == 0 && k != rootBase {
					delete(v, k)
				}
			case json.Number:
				if e == "-1" {
					delete(v, k)
				}
			}
		}
	}
}
