package report

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
	"unicode"

	oscal "github.com/defenseunicorns/go-oscal/src/types/oscal-1-1-3"
	"github.com/google/uuid"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
)

const (
	oscalVersion = "1.1.3"
	// oscalNS is the namespace of properties that OSCAL does not define.
	oscalNS = toolURI + "/ns/oscal"
)

// oscalDoc builds an assessment-results document.
type oscalDoc struct {
	r Report
	// seed makes the document's UUIDs: the same report has the same ones, and
	// two reports share none.
	seed uuid.UUID
	node string
	tool string
}

// renderOSCAL renders report.oscal.json, an OSCAL 1.1.3 assessment-results
// document. Every control has an observation with its evidence and the
// property "status". Controls that were decided also have a finding: pass is
// satisfied; fail, error and waived are not-satisfied. Those have a risk,
// which is open, or deviation-approved with the waiver's last day as deadline.
// Deferred, manual and not applicable controls have no finding: OSCAL knows
// only satisfied and not-satisfied, and neither was seen. UUIDs are version 5,
// made from the report's content.
func renderOSCAL(v *view) ([]byte, error) {
	r := v.Report
	content, err := v.json()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	d := oscalDoc{r: r, seed: uuid.NewSHA1(uuid.NewSHA1(uuid.NameSpaceURL, []byte(oscalNS)), sum[:])}
	d.node, d.tool = d.id("node"), d.id("tool")
	// Not oscal.OscalModels: encoding/json would first learn the types of every
	// other kind of document, which takes longer than writing this one.
	return marshal(struct {
		AssessmentResults *oscal.AssessmentResults `json:"assessment-results"`
	}{d.document()})
}

// id is the UUID of the part of the document that name stands for.
func (d oscalDoc) id(name string) string { return uuid.NewSHA1(d.seed, []byte(name)).String() }

// document is the frame: who assessed what by which plan.
func (d oscalDoc) document() *oscal.AssessmentResults {
	plan, party := d.id("plan"), d.id("party")
	title := fmt.Sprintf("%s check of a K3s %s image", d.r.Benchmark, d.r.Role)
	return &oscal.AssessmentResults{
		UUID: d.id("document"),
		Metadata: oscal.Metadata{
			Title:        title,
			LastModified: d.r.Created,
			Version:      d.r.Created.Format(time.RFC3339),
			OscalVersion: oscalVersion,
			Roles:        &[]oscal.Role{{ID: "assessor", Title: "Assessor"}},
			Parties: &[]oscal.Party{{
				UUID: party, Type: "organization", Name: toolName,
				Links: &[]oscal.Link{{Href: toolURI, Rel: "homepage"}},
			}},
			ResponsibleParties: &[]oscal.ResponsibleParty{{RoleId: "assessor", PartyUuids: []string{party}}},
		},
		ImportAp: oscal.ImportAp{Href: "#" + plan},
		Results:  []oscal.Result{d.result(title)},
		BackMatter: &oscal.BackMatter{Resources: &[]oscal.Resource{{
			UUID:  plan,
			Title: "Assessment plan: " + d.r.Benchmark,
			Description: fmt.Sprintf("The controls of %s as the K3s documentation applies them to %s, "+
				"judged by %s from the files of the node image. There is no plan in OSCAL form.",
				d.r.Benchmark, d.r.K3sVersion, toolName),
		}}},
	}
}

// result is the assessment itself.
func (d oscalDoc) result(title string) oscal.Result {
	out := oscal.Result{
		UUID:        d.id("result"),
		Title:       title,
		Description: d.r.Verdict(),
		Start:       d.r.Created,
		End:         &d.r.Created,
		Props: props("plugin-version", d.r.PluginVersion, "k3s-version", d.r.K3sVersion, "role", d.r.Role,
			"benchmark", d.r.Benchmark, "build", d.r.Node.Build, "datastore", d.r.Node.Datastore, "access", d.r.Node.Access),
		LocalDefinitions: d.definitions(),
	}
	var (
		controls     []oscal.AssessedControlsSelectControlById
		observations []oscal.Observation
		findings     []oscal.Finding
		risks        []oscal.Risk
	)
	for _, res := range d.r.Results {
		controls = append(controls, oscal.AssessedControlsSelectControlById{ControlId: token(res.Key)})
		observations = append(observations, d.observation(res))
		switch res.Status {
		case cis.Pass:
			findings = append(findings, d.finding(res, oscal.ObjectiveStatus{State: "satisfied", Reason: "pass"}))
		case cis.Fail, cis.Waived:
			findings = append(findings, d.finding(res, oscal.ObjectiveStatus{State: "not-satisfied", Reason: "fail"}))
			risks = append(risks, d.risk(res))
		case cis.Error:
			findings = append(findings, d.finding(res, oscal.ObjectiveStatus{State: "not-satisfied", Reason: "other", Remarks: res.Reason}))
			risks = append(risks, d.risk(res))
		}
	}
	selection := oscal.AssessedControls{IncludeControls: list(controls)}
	if controls == nil {
		selection.Description = "No control was judged."
	}
	out.ReviewedControls = oscal.ReviewedControls{ControlSelections: []oscal.AssessedControls{selection}}
	out.Observations, out.Findings, out.Risks = list(observations), list(findings), list(risks)
	return out
}

// definitions names the node and the tool, which the document refers to.
func (d oscalDoc) definitions() *oscal.LocalDefinitions {
	name := "K3s node image"
	if d.r.Node.Build != "" {
		name += " " + d.r.Node.Build
	}
	return &oscal.LocalDefinitions{
		Components: &[]oscal.SystemComponent{{
			UUID: d.tool, Type: "software", Title: toolName,
			Description: "The Packer plugin that hardened or checked the node image.",
			Props:       props("version", d.r.PluginVersion),
			Status:      oscal.SystemComponentStatus{State: "operational"},
		}},
		InventoryItems: &[]oscal.InventoryItem{{
			UUID: d.node, Description: name,
			Props: props("k3s-version", d.r.K3sVersion, "role", d.r.Role),
		}},
	}
}

// observation is what was seen for one control.
func (d oscalDoc) observation(res cis.Result) oscal.Observation {
	var evidence []oscal.RelevantEvidence
	for _, e := range res.Evidence {
		ev := oscal.RelevantEvidence{Description: strings.TrimSuffix(place(e)+": "+e.Detail, ": "), Props: props("source", e.Source)}
		if e.Line > 0 {
			ev.Props = props("source", e.Source, "line", fmt.Sprint(e.Line))
		}
		evidence = append(evidence, ev)
	}
	return oscal.Observation{
		UUID:        d.id("observation/" + res.Key),
		Title:       heading(res),
		Description: sentence(res),
		Props: props("status", string(res.Status), "control-number", res.ID, "section", sectionID(res),
			"found", res.Found, "expected", res.Expected, "reason", res.Reason),
		Methods:          []string{"EXAMINE"},
		Types:            &[]string{"control-objective"},
		Collected:        d.r.Created,
		Origins:          &[]oscal.Origin{{Actors: []oscal.OriginActor{{Type: "tool", ActorUuid: d.tool}}}},
		Subjects:         &[]oscal.SubjectReference{{Type: "inventory-item", SubjectUuid: d.node}},
		RelevantEvidence: list(evidence),
	}
}

// finding is the decision on one control.
func (d oscalDoc) finding(res cis.Result, status oscal.ObjectiveStatus) oscal.Finding {
	f := oscal.Finding{
		UUID:                d.id("finding/" + res.Key),
		Title:               heading(res),
		Description:         sentence(res),
		Target:              oscal.FindingTarget{Type: "objective-id", TargetId: token(res.Key), Title: res.Title, Status: status},
		RelatedObservations: &[]oscal.RelatedObservation{{ObservationUuid: d.id("observation/" + res.Key)}},
	}
	if status.State == "not-satisfied" {
		f.RelatedRisks = &[]oscal.AssociatedRisk{{RiskUuid: d.id("risk/" + res.Key)}}
	}
	return f
}

// risk is what follows from a control that does not hold.
func (d oscalDoc) risk(res cis.Result) oscal.Risk {
	out := oscal.Risk{
		UUID:        d.id("risk/" + res.Key),
		Title:       heading(res),
		Description: sentence(res),
		Statement:   "The node image does not satisfy " + heading(res) + ".",
		Status:      "open",
	}
	if res.Status == cis.Error {
		out.Statement = "It is not known whether the node image satisfies " + heading(res) + "."
	}
	if w := res.Waiver; w != nil && res.Status == cis.Waived {
		out.Status = "deviation-approved"
		// The waiver holds through its last day.
		end := w.Expires.AddDate(0, 0, 1)
		out.Deadline = &end
		out.Props = props("waiver-owner", w.Owner, "waiver-expires", w.Expires.Format(time.DateOnly),
			"waiver-reason", w.Reason, "waiver-role", w.Role, "waiver-build", w.Build)
	}
	if res.Remediation != "" {
		out.Remediations = &[]oscal.Response{{
			UUID: d.id("remediation/" + res.Key), Lifecycle: "recommendation",
			Title: "Mend " + res.ID, Description: res.Remediation,
		}}
	}
	return out
}

// props makes properties of names and values, without empty values, which
// OSCAL forbids as it does line breaks in them.
func props(pairs ...string) *[]oscal.Property {
	var out []oscal.Property
	for i := 0; i+1 < len(pairs); i += 2 {
		if v := strings.Join(strings.Fields(pairs[i+1]), " "); v != "" {
			out = append(out, oscal.Property{Name: pairs[i], Ns: oscalNS, Value: v})
		}
	}
	return list(out)
}

// list is nil for an empty list, which OSCAL forbids.
func list[T any](s []T) *[]T {
	if len(s) == 0 {
		return nil
	}
	return &s
}

// token makes s a legal OSCAL token: a letter or underscore, then letters,
// digits, periods, hyphens and underscores.
func token(s string) string {
	t := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsNumber(r) || strings.ContainsRune(".-_", r) {
			return r
		}
		return '_'
	}, s)
	if first := []rune(t + " ")[0]; !unicode.IsLetter(first) && first != '_' {
		return "_" + t
	}
	return t
}
