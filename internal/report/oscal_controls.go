package report

import (
	"strconv"
	"time"

	oscal "github.com/defenseunicorns/go-oscal/src/types/oscal-1-1-3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// oscalStates says in OSCAL what was decided on a control: the state and the
// reason for it.
var oscalStates = map[benchmark.Status]oscal.ObjectiveStatus{
	benchmark.Pass:   {State: "satisfied", Reason: "pass"},
	benchmark.Fail:   {State: "not-satisfied", Reason: "fail"},
	benchmark.Waived: {State: "not-satisfied", Reason: "fail"},
	benchmark.Error:  {State: "not-satisfied", Reason: "other"},
}

func decided(s benchmark.Status) bool { return oscalStates[s].State != "" }
func risky(s benchmark.Status) bool   { return decided(s) && s != benchmark.Pass }

// The UUIDs of a control's observation and risk, which its finding refers to.
func (d *oscalDoc) observationID(res *benchmark.Result) string { return d.id("observation/" + res.Key) }
func (d *oscalDoc) riskID(res *benchmark.Result) string        { return d.id("risk/" + res.Key) }

// finding is the decision on one control.
func (d *oscalDoc) finding(res *benchmark.Result) oscal.Finding {
	f := oscal.Finding{
		Description:         sentence(*res),
		RelatedObservations: listed(oscal.RelatedObservation{ObservationUuid: d.observationID(res)}),
		Target:              oscal.FindingTarget{Status: oscalStates[res.Status], TargetId: token(res.Key), Title: res.Title, Type: "objective-id"},
		Title:               heading(*res),
		UUID:                d.id("finding/" + res.Key),
	}
	if risky(res.Status) {
		f.RelatedRisks = listed(oscal.AssociatedRisk{RiskUuid: d.riskID(res)})
	}
	if res.Status == benchmark.Error {
		f.Target.Status.Remarks = res.Reason
	}
	return f
}

// observation is what was seen for one control.
func (d *oscalDoc) observation(res *benchmark.Result) oscal.Observation {
	var evidence []oscal.RelevantEvidence
	for _, e := range res.Evidence {
		line := ""
		if e.Line > 0 {
			line = strconv.Itoa(e.Line)
		}
		evidence = append(evidence, oscal.RelevantEvidence{Description: quote(e), Props: props("source", e.Source, "line", line, "phase", e.Phase)})
	}
	methods := []string{"EXAMINE"}
	if res.Phase != "" {
		methods = append(methods, "TEST")
	}
	return oscal.Observation{
		Collected:   d.Created,
		Description: sentence(*res),
		Methods:     methods,
		Origins:     listed(oscal.Origin{Actors: []oscal.OriginActor{{ActorUuid: d.tool, Type: "tool"}}}),
		Props: props("status", string(res.Status), "control-number", res.ID, "level", levelOf(*res), "section", sectionID(*res),
			"found", res.Found, "expected", res.Expected, "reason", res.Reason, "phase", res.Phase),
		RelevantEvidence: listed(evidence...),
		Subjects:         listed(oscal.SubjectReference{SubjectUuid: d.node, Type: "inventory-item"}),
		Title:            heading(*res),
		Types:            listed("control-objective"),
		UUID:             d.observationID(res),
	}
}

// risk is what follows from a control that does not hold.
func (d *oscalDoc) risk(res *benchmark.Result) oscal.Risk {
	r := oscal.Risk{
		Description: sentence(*res),
		Statement:   "The node image does not satisfy " + heading(*res) + ".",
		Status:      "open",
		Title:       heading(*res),
		UUID:        d.riskID(res),
	}
	if res.Status == benchmark.Error {
		r.Statement = "It is not known whether the node image satisfies " + heading(*res) + "."
	}
	if w := res.Waiver; w != nil && res.Status == benchmark.Waived {
		r.Status = "deviation-approved"
		// The waiver holds through its last day. OSCAL knows no year after 2999,
		// in which waivers end that are meant to stay; the property has the day.
		if end := w.Expires.AddDate(0, 0, 1); end.Year() < 3000 {
			r.Deadline = &end
		}
		r.Props = props("waiver-owner", w.Owner, "waiver-expires", w.Expires.Format(time.DateOnly),
			"waiver-reason", w.Reason, "waiver-role", w.Role, "waiver-build", w.Build)
	}
	if res.Remediation != "" {
		r.Remediations = listed(oscal.Response{
			Description: res.Remediation,
			Lifecycle:   "recommendation",
			Title:       "Remediation of " + res.ID,
			UUID:        d.id("remediation/" + res.Key),
		})
	}
	return r
}
