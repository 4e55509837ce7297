package benchmark

import (
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Assessment is who decides a control, as the benchmark prints it.
type Assessment string

// The assessments.
const (
	Automated Assessment = "automated"
	ByAPerson Assessment = "manual"
)

// Phase is when a control can be decided for a K3s node.
type Phase string

// The phases. Only PhaseNotApplicable and PhaseOperator change a verdict by
// themselves; the others tell where the remedy belongs.
const (
	// PhaseNotApplicable: K3s has nothing that the control speaks of.
	PhaseNotApplicable Phase = "na"
	// PhaseDefault: K3s or the component satisfies it unless overridden.
	PhaseDefault Phase = "default"
	// PhaseBake: the image has to bring it.
	PhaseBake Phase = "bake"
	// PhaseManifest: a manifest in K3s's manifests directory brings it.
	PhaseManifest Phase = "manifest"
	// PhaseFirstBoot: it exists only once K3s has run.
	PhaseFirstBoot Phase = "first-boot"
	// PhaseOperator: a person decides, or a running cluster.
	PhaseOperator Phase = "operator"
)

var phases = []Phase{PhaseNotApplicable, PhaseDefault, PhaseBake, PhaseManifest, PhaseFirstBoot, PhaseOperator}

// Control is one control: of a CIS benchmark, of our own, or of the user's.
type Control struct {
	// Key is the control's stable name across benchmark releases.
	Key string
	// Title says in a few words what holds when the control passes.
	Title string
	// Remediation says what to do, in K3s's terms; {data} stands for K3s's
	// data directory.
	Remediation string
	// Option is the option of the provisioner that bakes the remediation, with a
	// dot before what is in a block; "" where there is none.
	Option string

	ids releases[string]
	// always: benchmarks that do not number the control judge it as our own.
	always      bool
	assessments releases[Assessment]
	phases      releases[Phase]
	roles       []k3s.Role
	reason      string
	// needs are the components without which the control has nothing to speak
	// of: those it names, and those its expectations are about.
	needs       []string
	appliesFrom *minor
	unmet       Status
	expect      []expectation
	section     string
	// late controls rest on the manifests, which take longest to read.
	late bool
}

// ID returns the control's number in a benchmark ("cis-2.1"), or "" where the
// benchmark does not have it.
func (c Control) ID(benchmark string) string { return c.ids[benchmark] }

// Assessment returns who decides the control in a benchmark.
func (c Control) Assessment(benchmark string) Assessment { return c.assessments.at(benchmark) }

// Phase returns when the control can be decided in a benchmark.
func (c Control) Phase(benchmark string) Phase { return c.phases.at(benchmark) }

// Query returns what has to be collected from a node with K3s's data
// directory at dataDir, so that the control can be judged.
func (c Control) Query(dataDir string) node.Query {
	var q node.Query
	for _, e := range c.expect {
		q = append(q, e.picks(paths{data: dataDir})...)
	}
	return q
}

// named are the picks of what the node's own configuration names for the control.
func (c Control) named(x *examination) node.Query {
	var q node.Query
	for _, e := range c.expect {
		if f, ok := e.(file); ok {
			q = append(q, f.named(x)...)
		}
	}
	return q
}

// releases holds a value for each benchmark release by name; the name "" is
// for all that are not named.
type releases[T any] map[string]T

func (r releases[T]) at(benchmark string) T {
	if v, ok := r[benchmark]; ok {
		return v
	}
	return r[""]
}

// expectation is what a control wants to find. Everything it needs comes from
// the examination, everything it concludes is in the verdict.
type expectation interface {
	judge(x *examination) verdict
	// picks lists what judge reads of the node, what the configuration names
	// excepted (see FollowUp).
	picks(paths) node.Query
}

// verdict is what judging one expectation gave.
type verdict struct {
	status          Status
	found, expected string
	reason          string
	evidence        []Evidence
	// remediation takes the place of the control's own where the cause is
	// another matter than the control's.
	remediation string
	// phase is Rehearsed where the verdict rests on a first start.
	phase string
	// revocable: a configuration file to come could take a pass back.
	revocable bool
	// hard: a fail that does not soften to manual, because the node
	// contradicts itself.
	hard bool
}
