package report

import (
	"strconv"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// oscalControl is a result and what several parts of the document say of it.
type oscalControl struct {
	*benchmark.Result
	title, sentence, token string
	observation, risk      string
}

// oscalStates says in OSCAL what was decided on a control: the state and the
// reason for it.
var oscalStates = map[benchmark.Status][2]string{
	benchmark.Pass:   {"satisfied", "pass"},
	benchmark.Fail:   {"not-satisfied", "fail"},
	benchmark.Waived: {"not-satisfied", "fail"},
	benchmark.Error:  {"not-satisfied", "other"},
}

func (c oscalControl) decided() bool { return oscalStates[c.Status] != [2]string{} }
func (c oscalControl) risky() bool   { return c.decided() && c.Status != benchmark.Pass }

// finding is the decision on one control.
func (d *oscalDoc) finding(c *oscalControl) {
	d.text("description", c.sentence)
	d.one("related-observations", func() { d.text("observation-uuid", c.observation) })
	if c.risky() {
		d.one("related-risks", func() { d.text("risk-uuid", c.risk) })
	}
	d.object("target", func() {
		d.object("status", func() {
			state := oscalStates[c.Status]
			d.text("reason", state[1])
			if c.Status == benchmark.Error {
				d.optional("remarks", c.Reason)
			}
			d.text("state", state[0])
		})
		d.text("target-id", c.token)
		d.optional("title", c.Title)
		d.text("type", "objective-id")
	})
	d.text("title", c.title)
	d.text("uuid", d.id("finding/"+c.Key))
}

// observation is what was seen for one control.
func (d *oscalDoc) observation(c *oscalControl) {
	d.text("collected", d.created)
	d.text("description", c.sentence)
	d.texts("methods", "EXAMINE")
	d.one("origins", func() {
		d.one("actors", func() {
			d.text("actor-uuid", d.tool)
			d.text("type", "tool")
		})
	})
	d.props("status", string(c.Status), "control-number", c.ID, "section", sectionID(*c.Result),
		"found", c.Found, "expected", c.Expected, "reason", c.Reason)
	if len(c.Evidence) > 0 {
		d.list("relevant-evidence", func() {
			for _, e := range c.Evidence {
				d.object("", func() { d.evidence(e) })
			}
		})
	}
	d.one("subjects", func() {
		d.text("subject-uuid", d.node)
		d.text("type", "inventory-item")
	})
	d.text("title", c.title)
	d.texts("types", "control-objective")
	d.text("uuid", c.observation)
}

func (d *oscalDoc) evidence(e benchmark.Evidence) {
	d.text("description", quote(e))
	line := ""
	if e.Line > 0 {
		line = strconv.Itoa(e.Line)
	}
	d.props("source", e.Source, "line", line)
}

// risk is what follows from a control that does not hold.
func (d *oscalDoc) risk(c *oscalControl) {
	waiver := c.Waiver
	if c.Status != benchmark.Waived {
		waiver = nil
	}
	if waiver != nil {
		// The waiver holds through its last day. OSCAL knows no year after 2999,
		// in which waivers end that are meant to stay; the property has the day.
		if end := waiver.Expires.AddDate(0, 0, 1); end.Year() < 3000 {
			d.text("deadline", end.Format(time.RFC3339Nano))
		}
	}
	d.text("description", c.sentence)
	if w := waiver; w != nil {
		d.props("waiver-owner", w.Owner, "waiver-expires", w.Expires.Format(time.DateOnly),
			"waiver-reason", w.Reason, "waiver-role", w.Role, "waiver-build", w.Build)
	}
	if c.Remediation != "" {
		d.one("remediations", func() {
			d.text("description", c.Remediation)
			d.text("lifecycle", "recommendation")
			d.text("title", "Mend "+c.ID)
			d.text("uuid", d.id("remediation/"+c.Key))
		})
	}
	statement, status := "The node image does not satisfy ", "open"
	if c.Status == benchmark.Error {
		statement = "It is not known whether the node image satisfies "
	}
	if waiver != nil {
		status = "deviation-approved"
	}
	d.text("statement", statement+c.title+".")
	d.text("status", status)
	d.text("title", c.title)
	d.text("uuid", c.risk)
}
