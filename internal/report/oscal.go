package report

import (
	"crypto/sha1" //nolint:gosec // version 5 UUIDs are made with SHA-1
	"crypto/sha256"
	"fmt"
	"hash"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	oscalVersion = "1.1.3"
	// oscalNS is the namespace of properties that OSCAL does not define.
	oscalNS = toolURI + "/ns/oscal"
	// oscalSize is about how many bytes report.oscal.json has for a result.
	oscalSize = 4096
)

// oscalDoc writes an assessment-results document. The members of each object
// stand in alphabetical order.
type oscalDoc struct {
	*view
	*jsonWriter
	// seed makes the document's UUIDs: the same report has the same ones, and
	// two reports share none.
	seed     uuid.UUID
	hash     hash.Hash
	created  string
	title    string
	node     string
	tool     string
	plan     string
	party    string
	controls []oscalControl
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
		view:       v,
		jsonWriter: newJSONWriter(oscalSize * len(v.Results)),
		seed:       uuid.NewSHA1(uuid.NewSHA1(uuid.NameSpaceURL, []byte(oscalNS)), sum[:]),
		hash:       sha1.New(), //nolint:gosec // as above
		created:    v.Created.Format(time.RFC3339),
		title:      fmt.Sprintf("%s check of a K3s %s image", v.Benchmark, v.Role),
		controls:   make([]oscalControl, 0, len(v.Results)),
	}
	d.node, d.tool, d.plan, d.party = d.id("node"), d.id("tool"), d.id("plan"), d.id("party")
	for i := range v.Results {
		res := &v.Results[i]
		c := oscalControl{
			Result: res, title: heading(*res), sentence: sentence(*res), token: token(res.Key),
			observation: d.id("observation/" + res.Key),
		}
		if c.risky() {
			c.risk = d.id("risk/" + res.Key)
		}
		d.controls = append(d.controls, c)
	}
	d.object("", func() { d.object("assessment-results", d.document) })
	return d.file()
}

// id is the UUID of the part of the document that name stands for.
func (d *oscalDoc) id(name string) string {
	return uuid.NewHash(d.hash, d.seed, []byte(name), 5).String()
}

// one writes a list of one object.
func (d *oscalDoc) one(member string, members func()) {
	d.list(member, func() { d.object("", members) })
}

// each writes a list of an object for each control that which accepts, if there
// are any: OSCAL forbids empty lists.
func (d *oscalDoc) each(member string, which func(oscalControl) bool, members func(*oscalControl)) {
	write := func() {
		for i := range d.controls {
			if c := &d.controls[i]; which(*c) {
				d.object("", func() { members(c) })
			}
		}
	}
	for _, c := range d.controls {
		if which(c) {
			d.list(member, write)
			return
		}
	}
}

// document is the frame: who assessed what by which plan.
func (d *oscalDoc) document() {
	d.object("back-matter", func() {
		d.one("resources", func() {
			d.text("description", fmt.Sprintf("The controls of %s as the K3s documentation applies them to %s, "+
				"judged by %s from the files of the node image. There is no plan in OSCAL form.",
				d.Benchmark, d.K3sVersion, toolName))
			d.text("title", "Assessment plan: "+d.Benchmark)
			d.text("uuid", d.plan)
		})
	})
	d.object("import-ap", func() { d.text("href", "#"+d.plan) })
	d.object("metadata", d.metadata)
	d.one("results", d.assessment)
	d.text("uuid", d.id("document"))
}

func (d *oscalDoc) metadata() {
	d.text("last-modified", d.created)
	d.text("oscal-version", oscalVersion)
	d.one("parties", func() {
		d.one("links", func() {
			d.text("href", toolURI)
			d.text("rel", "homepage")
		})
		d.text("name", toolName)
		d.text("type", "organization")
		d.text("uuid", d.party)
	})
	d.one("responsible-parties", func() {
		d.texts("party-uuids", d.party)
		d.text("role-id", "assessor")
	})
	d.one("roles", func() {
		d.text("id", "assessor")
		d.text("title", "Assessor")
	})
	d.text("title", d.title)
	d.text("version", d.created)
}

// assessment is what was found.
func (d *oscalDoc) assessment() {
	all := func(oscalControl) bool { return true }
	d.text("description", d.Verdict())
	d.text("end", d.created)
	d.each("findings", oscalControl.decided, d.finding)
	d.object("local-definitions", d.definitions)
	d.each("observations", all, d.observation)
	d.props("plugin-version", d.PluginVersion, "k3s-version", d.K3sVersion, "role", d.Role,
		"benchmark", d.Benchmark, "build", d.Node.Build, "datastore", d.Node.Datastore, "access", d.Node.Access)
	d.object("reviewed-controls", func() {
		d.one("control-selections", func() {
			if len(d.controls) == 0 {
				d.text("description", "No control was judged.")
			}
			d.each("include-controls", all, func(c *oscalControl) { d.text("control-id", c.token) })
		})
	})
	d.each("risks", oscalControl.risky, d.risk)
	d.text("start", d.created)
	d.text("title", d.title)
	d.text("uuid", d.id("result"))
}

// definitions names the node and the tool, which the document refers to.
func (d *oscalDoc) definitions() {
	d.one("components", func() {
		d.text("description", "The Packer plugin that hardened or checked the node image.")
		d.props("version", d.PluginVersion)
		d.object("status", func() { d.text("state", "operational") })
		d.text("title", toolName)
		d.text("type", "software")
		d.text("uuid", d.tool)
	})
	d.one("inventory-items", func() {
		name := "K3s node image"
		if d.Node.Build != "" {
			name += " " + d.Node.Build
		}
		d.text("description", name)
		d.props("k3s-version", d.K3sVersion, "role", d.Role)
		d.text("uuid", d.node)
	})
}

// props writes properties of names and values, without empty values, which
// OSCAL forbids as it does line breaks in them.
func (d *oscalDoc) props(pairs ...string) {
	some := false
	for i := 1; i < len(pairs); i += 2 {
		pairs[i] = squeeze(pairs[i])
		some = some || pairs[i] != ""
	}
	if !some {
		return
	}
	d.list("props", func() {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i+1] != "" {
				d.object("", func() {
					d.text("name", pairs[i])
					d.text("ns", oscalNS)
					d.text("value", pairs[i+1])
				})
			}
		}
	})
}

// squeeze makes every run of white space in s one space, and leaves out those
// at its ends.
func squeeze(s string) string {
	before := byte(' ')
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == ' ' && before == ' ' {
			return strings.Join(strings.Fields(s), " ")
		}
		before = s[i]
	}
	return strings.TrimSuffix(s, " ") // nearly all are as they should be
}

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
