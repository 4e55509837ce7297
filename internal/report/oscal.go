package report

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	oscal "github.com/defenseunicorns/go-oscal/src/types/oscal-1-1-3"
	"github.com/google/uuid"
)

const (
	oscalVersion = "1.1.3"
	// oscalNS is the namespace of properties that OSCAL does not define.
	oscalNS = toolURI + "/ns/oscal"
)

// oscalDoc is what every part of an assessment-results document refers to.
type oscalDoc struct {
	*view
	// seed makes the document's UUIDs: the same report has the same ones, and
	// two reports share none.
	seed                    uuid.UUID
	title                   string
	node, tool, plan, party string
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
	data, err := v.json()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	d := &oscalDoc{
		view:  v,
		seed:  uuid.NewSHA1(uuid.NewSHA1(uuid.NameSpaceURL, []byte(oscalNS)), sum[:]),
		title: fmt.Sprintf("%s check of a K3s %s image", v.Benchmark, Roles(v.Role)),
	}
	d.node, d.tool, d.plan, d.party = d.id("node"), d.id("tool"), d.id("plan"), d.id("party")
	return marshalJSON(oscal.OscalModels{AssessmentResults: d.document()})
}

// id is the UUID of the part of the document that name stands for.
func (d *oscalDoc) id(name string) string { return uuid.NewSHA1(d.seed, []byte(name)).String() }

// listed is a list as OSCAL's optional members have it: none where it would be
// empty, which OSCAL forbids.
func listed[T any](values ...T) *[]T {
	if len(values) == 0 {
		return nil
	}
	return &values
}

// document is the frame: who assessed what by which plan.
func (d *oscalDoc) document() *oscal.AssessmentResults {
	return &oscal.AssessmentResults{
		BackMatter: &oscal.BackMatter{Resources: listed(oscal.Resource{
			Description: fmt.Sprintf("The controls of %s as the K3s documentation applies them to %s, "+
				"judged by %s from the files of the node image. There is no plan in OSCAL form.",
				d.Benchmark, d.K3sVersion, toolName),
			Title: "Assessment plan: " + d.Benchmark,
			UUID:  d.plan,
		})},
		ImportAp: oscal.ImportAp{Href: "#" + d.plan},
		Metadata: oscal.Metadata{
			LastModified: d.Created,
			OscalVersion: oscalVersion,
			Parties: listed(oscal.Party{
				Links: listed(oscal.Link{Href: toolURI, Rel: "homepage"}),
				Name:  toolName, Type: "organization", UUID: d.party,
			}),
			ResponsibleParties: listed(oscal.ResponsibleParty{PartyUuids: []string{d.party}, RoleId: "assessor"}),
			Roles:              listed(oscal.Role{ID: "assessor", Title: "Assessor"}),
			Title:              d.title,
			Version:            d.Created.Format(time.RFC3339),
		},
		Results: []oscal.Result{d.assessment()},
		UUID:    d.id("document"),
	}
}

// assessment is what was found.
func (d *oscalDoc) assessment() oscal.Result {
	var (
		findings     []oscal.Finding
		observations []oscal.Observation
		risks        []oscal.Risk
		controls     []oscal.AssessedControlsSelectControlById
	)
	for i := range d.Results {
		res := &d.Results[i]
		if decided(res.Status) {
			findings = append(findings, d.finding(res))
		}
		if risky(res.Status) {
			risks = append(risks, d.risk(res))
		}
		observations = append(observations, d.observation(res))
		controls = append(controls, oscal.AssessedControlsSelectControlById{ControlId: token(res.Key)})
	}
	selection := oscal.AssessedControls{IncludeControls: listed(controls...)}
	if len(controls) == 0 {
		selection.Description = "No control was judged."
	}
	return oscal.Result{
		Description:      d.Verdict(),
		End:              &d.Created,
		Findings:         listed(findings...),
		LocalDefinitions: d.definitions(),
		Observations:     listed(observations...),
		Props:            d.identity(),
		Remarks:          strings.Join(d.Warnings, "\n\n"),
		ReviewedControls: oscal.ReviewedControls{ControlSelections: []oscal.AssessedControls{selection}},
		Risks:            listed(risks...),
		Start:            d.Created,
		Title:            d.title,
		UUID:             d.id("result"),
	}
}

// identity are the report's facts as properties, whose names have dashes.
func (d *oscalDoc) identity() *[]oscal.Property {
	var pairs []string
	for _, f := range append(d.facts(), d.options()...) {
		pairs = append(pairs, token(strings.ReplaceAll(f.name, "_", "-")), f.value)
	}
	return props(pairs...)
}

// definitions names the node and the tool, which the document refers to.
func (d *oscalDoc) definitions() *oscal.LocalDefinitions {
	return &oscal.LocalDefinitions{
		Components: listed(oscal.SystemComponent{
			Description: "The Packer plugin that hardened or checked the node image.",
			Props:       props("version", d.PluginVersion),
			Status:      oscal.SystemComponentStatus{State: "operational"},
			Title:       toolName, Type: "software", UUID: d.tool,
		}),
		InventoryItems: listed(oscal.InventoryItem{
			Description: strings.TrimSpace("K3s node image " + d.Node.Build),
			Props:       props("k3s-version", d.K3sVersion, "role", d.Role),
			UUID:        d.node,
		}),
	}
}

// props are properties of names and values, without empty values, which OSCAL
// forbids as it does line breaks in them.
func props(pairs ...string) *[]oscal.Property {
	var out []oscal.Property
	for i := 0; i+1 < len(pairs); i += 2 {
		if value := squeeze(pairs[i+1]); value != "" {
			out = append(out, oscal.Property{Name: pairs[i], Ns: oscalNS, Value: value})
		}
	}
	return listed(out...)
}

// squeeze makes every run of white space in s one space, and leaves out those
// at its ends.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// token makes s a legal OSCAL token: a letter or underscore, then letters,
// digits, periods, hyphens and underscores.
func token(s string) string {
	t := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsNumber(r) || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, s)
	if first, _ := utf8.DecodeRuneInString(t); !unicode.IsLetter(first) && first != '_' {
		return "_" + t
	}
	return t
}
