package report

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
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
var sarifVerdicts = map[benchmark.Status]sarifVerdict{
	benchmark.Pass:          {"pass", levelNone},
	benchmark.Fail:          {"fail", levelError},
	benchmark.Error:         {"fail", levelError},
	benchmark.Waived:        {"fail", levelError},
	benchmark.Deferred:      {"open", levelNone},
	benchmark.Manual:        {"review", levelNone},
	benchmark.NotApplicable: {"notApplicable", levelNone},
}

// sarifSize is about how many bytes report.sarif has for a result.
const sarifSize = 2560

// sarifDoc writes report.sarif. The members of each object stand in
// alphabetical order.
type sarifDoc struct {
	*view
	*jsonWriter
}

// renderSARIF renders report.sarif (SARIF 2.1.0): one rule and one result a
// control. The rule's id is the control's key, so that a result keeps its
// identity when CIS renumbers. Evidence in files is a physical location
// relative to the node's root, other evidence a logical one.
func renderSARIF(v *view) ([]byte, error) {
	d := sarifDoc{v, newJSONWriter(sarifSize * len(v.Results))}
	d.object("", func() {
		d.text("$schema", "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json")
		d.list("runs", func() { d.object("", d.run) })
		d.text("version", "2.1.0")
	})
	return d.file()
}

// run is the one run of the one tool.
func (d sarifDoc) run() {
	d.object("automationDetails", func() {
		d.text("id", strings.Join([]string{"k3s-cis", d.Benchmark, d.Node.Build}, "/")+"/")
	})
	d.text("columnKind", "unicodeCodePoints")
	d.list("invocations", func() {
		d.object("", func() {
			d.text("endTimeUtc", d.Created.Format(time.RFC3339))
			d.boolean("executionSuccessful", true)
		})
	})
	d.text("language", sarifLanguage)
	d.texts("newlineSequences", "\r\n", "\n")
	d.object("originalUriBaseIds", func() {
		d.object(rootBase, func() { d.message("description", "The root directory of the node image.") })
	})
	d.object("properties", func() {
		d.optional("access", d.Node.Access)
		d.optional("benchmark", d.Benchmark)
		d.optional("build", d.Node.Build)
		d.optional("datastore", d.Node.Datastore)
		d.optional("k3s_version", d.K3sVersion)
		d.optional("role", d.Role)
		d.text("verdict", d.Verdict())
	})
	// An empty list says that nothing was judged; without one it would not be
	// SARIF.
	d.list("results", func() {
		for i := range d.Results {
			d.object("", func() { d.result(&d.Results[i], i) })
		}
	})
	d.object("tool", func() { d.object("driver", d.driver) })
}

// driver is the tool and its rules.
func (d sarifDoc) driver() {
	d.texts("contents", "localizedData", "nonLocalizedData")
	d.text("informationUri", toolURI)
	d.boolean("isComprehensive", false)
	d.text("language", sarifLanguage)
	d.text("name", toolName)
	d.text("organization", "k3s-cis")
	d.list("rules", func() {
		for i := range d.Results {
			d.object("", func() { d.rule(&d.Results[i]) })
		}
	})
	d.text("version", d.PluginVersion)
}

// message writes a message or a multiformat message string.
func (d sarifDoc) message(member, s string) {
	d.object(member, func() { d.text("text", s) })
}

// rule describes the control of res.
func (d sarifDoc) rule(res *benchmark.Result) {
	origin := from(*res)
	d.object("defaultConfiguration", func() {
		d.boolean("enabled", true)
		d.text("level", levelError)
	})
	if res.Expected != "" {
		d.message("fullDescription", res.Title+". Expected: "+res.Expected)
	}
	if res.Remediation != "" {
		d.message("help", res.Remediation)
	}
	d.text("id", res.Key)
	d.text("name", res.ID)
	d.object("properties", func() {
		d.optional("id", res.ID)
		d.text("origin", origin)
		d.optional("section", sectionID(*res))
		if origin == fromCIS {
			d.texts("tags", "security", "kubernetes", "k3s", "cis", d.Benchmark)
		} else {
			d.texts("tags", "security", "kubernetes", "k3s")
		}
	})
	d.message("shortDescription", heading(*res))
}

// result is the verdict on the control of the rule at ruleIndex.
func (d sarifDoc) result(res *benchmark.Result, ruleIndex int) {
	v := sarifVerdicts[res.Status]
	d.text("kind", v.kind)
	d.text("level", v.level)
	if len(res.Evidence) > 0 {
		d.list("locations", func() {
			for i := range res.Evidence {
				d.object("", func() { d.location(&res.Evidence[i]) })
			}
		})
	}
	d.message("message", sentence(*res))
	d.object("partialFingerprints", func() { d.text("control/v1", res.Key) })
	d.object("properties", func() {
		d.optional("expected", res.Expected)
		d.optional("found", res.Found)
		d.optional("reason", res.Reason)
		d.text("status", string(res.Status))
	})
	d.text("ruleId", res.Key)
	d.number("ruleIndex", ruleIndex)
	if res.Waiver != nil && res.Status == benchmark.Waived {
		d.list("suppressions", func() {
			d.object("", func() { d.suppression(res.Waiver) })
		})
	}
}

// suppression says who accepts that a control fails.
func (d sarifDoc) suppression(w *benchmark.Waiver) {
	d.text("justification", w.Reason)
	d.text("kind", "external")
	d.object("properties", func() {
		d.optional("build", w.Build)
		d.optional("control", w.Control)
		d.text("expires", w.Expires.Format(time.DateOnly))
		d.optional("owner", w.Owner)
		d.optional("role", w.Role)
	})
	d.text("status", "accepted")
}

// location says where e stands.
func (d sarifDoc) location(e *benchmark.Evidence) {
	file, isPath := strings.CutPrefix(e.Source, "/")
	isPath = isPath && file != ""
	if !isPath {
		d.list("logicalLocations", func() {
			d.object("", func() {
				d.text("kind", "resource")
				d.text("name", e.Source)
			})
		})
	}
	if e.Detail != "" {
		d.message("message", e.Detail)
	}
	if !isPath {
		return
	}
	d.object("physicalLocation", func() {
		d.object("artifactLocation", func() {
			// URL.String also keeps a colon in the first segment from reading
			// as a scheme.
			d.text("uri", (&url.URL{Path: file}).String())
			d.text("uriBaseId", rootBase)
		})
		if e.Line > 0 {
			d.object("region", func() { d.number("startLine", e.Line) })
		}
	})
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
