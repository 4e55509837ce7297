package benchmark

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/k3s-cis/packer-plugin-k3s/internal/boot"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// Input is everything a verdict may rest on.
type Input struct {
	// Node is what was collected, by Query.
	Node *node.Node
	// Boot is what was read of this node's boot already; nil where nothing was.
	Boot *boot.Changes
	// Effective is what K3s will run with, resolved from the same Node.
	Effective *k3s.Effective
	// Benchmark is a name from Benchmarks.
	Benchmark string
	Role      k3s.Role
	// ConfigToCome is true where the first boot may write another configuration
	// file: what passes then says whether that could take it back.
	ConfigToCome bool
	Waivers      []Waiver
	// Build is Packer's name of the build, for waivers that name one.
	Build string
	// Now decides which waivers have expired.
	Now time.Time
	// Own are the user's own controls, see LoadControls.
	Own []Control
	// FirstStart is what a rehearsed first start showed; nil where none was wanted.
	FirstStart *FirstStart
}

// Evaluate judges the node: the benchmark's controls in its order, then the
// controls of our own and the user's. The same input gives the same results.
func Evaluate(in Input) []Result {
	x := examine(in)
	defer x.readAhead().Wait()
	controls := append(controlsOf(in.Benchmark), in.Own...)
	if in.FirstStart == nil {
		controls = slices.DeleteFunc(slices.Clone(controls), Control.ofFirstStart)
	}
	out := make([]Result, len(controls))
	for _, late := range []bool{false, true} {
		for i, c := range controls {
			if c.late == late {
				out[i] = x.result(c)
				applyWaiver(&out[i], in)
			}
		}
	}
	return out
}

// result judges one control.
func (x *examination) result(c Control) Result {
	v := x.verdict(c)
	r := Result{
		ID: c.ID(x.in.Benchmark), Key: c.Key, Title: c.Title, Section: c.section,
		Status: v.status, Phase: v.phase, Found: oneLine(v.found), Expected: oneLine(v.expected), Reason: oneLine(v.reason),
		Evidence: limited(v.evidence), revocable: v.status == Pass && v.revocable, Remediation: safetext.Passwords(cmp.Or(v.remediation, x.remediation(c, v.status))),
	}
	if r.ID == "" {
		r.ID = c.Key
	} else {
		r.Section, r.Level = sectionOf(r.ID), Level(x.in.Benchmark, r.ID)
	}
	return r
}

// remediation is what to do about a control, with the option of the provisioner
// that does it where something is to be done.
func (x *examination) remediation(c Control, status Status) string {
	text := x.paths.expand(c.Remediation)
	if c.Option != "" && (status == Fail || status == Manual) {
		text = fmt.Sprintf("%s. In the template: %s.", strings.TrimSuffix(text, "."), c.Option)
	}
	return text
}

// maxEvidence is how many pieces of evidence a result holds. Nobody reads more,
// and a node could bring any number.
const maxEvidence = 40

// limited returns the evidence of a result, each piece once, and at its end how
// much of it was left out.
func limited(all []Evidence) []Evidence {
	out := make([]Evidence, 0, min(len(all), maxEvidence))
	seen := make(map[Evidence]bool, cap(out))
	more, next := 0, ""
	for _, e := range all {
		if len(out) == maxEvidence {
			if more++; more == 1 {
				next = oneLine(e.Source)
			}
			continue
		}
		e.Source, e.Detail = oneLine(e.Source), oneLine(e.Detail)
		if !seen[e] {
			seen[e] = true
			out = append(out, e)
		}
	}
	if more > 0 {
		out = append(out, Evidence{Source: next, Detail: fmt.Sprintf("and %d more", more)})
	}
	return out
}

func (x *examination) verdict(c Control) verdict {
	if v := x.applies(c); v != nil {
		return *v
	}
	if len(c.expect) == 0 {
		return verdict{status: Manual, expected: c.Title, found: "not a matter of the image", reason: c.reason}
	}
	if problem := x.rootless(); problem != "" {
		return verdict{status: Error, expected: c.Title, found: problem, reason: "what is not there proves nothing in a tree that is not a node's", remediation: "Give the root of a node: a directory, an archive or a partition with /etc in it."}
	}
	var all []verdict
	for _, e := range c.expect {
		if !c.before(x.release()) || namesKubeletFiles(e) {
			all = append(all, x.unlessAssumed(e.judge(x)))
		}
	}
	v := combine(all)
	if v.status == Fail && c.unmet == Manual && !v.hard {
		v.status = Manual
		v.reason = cmp.Or(c.reason, "CIS and the K3s hardening guide leave it to the operator")
	}
	return v
}

// unlessAssumed defers what rests on defaults alone where the release is newer
// than those whose defaults are known: they are no proof of what it does.
func (x *examination) unlessAssumed(v verdict) verdict {
	release := x.release()
	byDefault := func(e Evidence) bool { return strings.HasSuffix(e.Source, " "+release.DefaultsName()+" default") }
	if v.status != Pass || release.Known() || len(v.evidence) == 0 || slices.ContainsFunc(v.evidence, func(e Evidence) bool { return !byDefault(e) }) {
		return v
	}
	v.status = Deferred
	v.reason = fmt.Sprintf("K3s %s is newer than the newest release line known here: this is the default of %s, which proves nothing for %s; set it in the node's configuration, or take a newer plugin",
		release.MinorName(), release.DefaultsName(), release.MinorName())
	return v
}

// judgeRoot says why the tree cannot be a node's root, or "".
func (x *examination) judgeRoot() string {
	switch e, presence := x.node().Lookup("/etc"); {
	case presence == node.Unknown:
		return "/etc was not looked at"
	case presence == node.Absent || e.Kind != node.KindDirectory:
		return "there is no directory /etc: this is not the root of a node"
	}
	return ""
}

// applies returns the verdict of a control that is not judged at all.
func (x *examination) applies(c Control) *verdict {
	no := func(reason string, evidence ...Evidence) *verdict {
		return &verdict{status: NotApplicable, expected: c.Title, found: "nothing to judge", reason: reason, evidence: evidence}
	}
	if c.Phase(x.in.Benchmark) == PhaseNotApplicable {
		return no(c.reason)
	}
	if !slices.Contains(c.roles, x.in.Role) {
		return no(fmt.Sprintf("%s image: the control speaks of %ss only", x.in.Role, c.roles[0]))
	}
	if len(c.needs) == 0 && c.appliesFrom == nil {
		return nil
	}
	if blocked := x.configuration(); blocked != nil {
		v := *blocked
		v.expected = c.Title
		return &v
	}
	if c.before(x.release()) && !x.namesFiles(c) {
		return no(c.reason, Evidence{Source: "K3s " + x.release().String(), Detail: c.reason})
	}
	for _, need := range c.needs {
		if reason, evidence := x.lacks(need); reason != "" {
			return no(reason, evidence...)
		}
	}
	return nil
}

// before says whether a release is one before those that a control applies to.
func (c Control) before(r k3s.Release) bool {
	return c.appliesFrom != nil && !c.appliesFrom.reachedBy(r)
}

// namesFiles says whether the node itself names files that a control is about,
// which are there whatever K3s makes.
func (x *examination) namesFiles(c Control) bool {
	return len(x.in.Effective.KubeletNamed) > 0 && slices.ContainsFunc(c.expect, namesKubeletFiles)
}

func namesKubeletFiles(e expectation) bool {
	f, is := e.(file)
	return is && f.kubelet == "named"
}

// needNames are what a control can need of a node so as to apply.
func needNames() []string { return append(componentNames(), etcdClient) }

// etcdClient is an API server that keeps its state in an etcd, K3s's own or another.
const etcdClient = "etcd-client"

// lacks says why a node does not run component need, and what decides that;
// "" when it does.
func (x *examination) lacks(need string) (string, []Evidence) {
	e := x.in.Effective
	if need == string(k3s.Etcd) {
		if e.Datastore == k3s.EtcdStore {
			return "", nil
		}
		return fmt.Sprintf("the datastore is %s, so K3s runs no etcd", e.Datastore), x.settings("datastore-endpoint", "cluster-init", "server", "disable-etcd")
	}
	if need == etcdClient {
		if e.ClientOfEtcd() {
			return "", nil
		}
		return fmt.Sprintf("the datastore is %s, which is no etcd", e.Datastore), x.settings("datastore-endpoint", "cluster-init", "server", "disable-etcd")
	}
	if _, runs := e.Args[k3s.Component(need)]; runs {
		return "", nil
	}
	return "this node runs no " + need, x.settings("disable-agent", "disable-apiserver", "disable-controller-manager", "disable-scheduler", "disable-kube-proxy")
}

// settings gives the evidence of what the node's configuration says of keys.
func (x *examination) settings(keys ...string) []Evidence {
	var out []Evidence
	for _, k := range keys {
		for _, v := range x.in.Effective.Settings[k].Values {
			out = append(out, Evidence{Source: v.Origin.Source, Line: v.Origin.Line, Detail: k + ": " + k3s.Redact(k, v.Text)})
		}
	}
	if len(out) == 0 {
		out = []Evidence{{Source: x.defaultSource, Detail: "none of " + strings.Join(keys, ", ") + " is set"}}
	}
	return out
}

// rank orders verdicts of one control by which of them decides.
var rank = []Status{Fail, Error, Manual, Deferred, Pass, NotApplicable}

// combine makes one verdict of all expectations of a control.
func combine(all []verdict) verdict {
	if len(all) == 1 {
		return all[0]
	}
	var out verdict
	best := len(rank)
	for _, v := range all {
		best = min(best, slices.Index(rank, v.status))
	}
	out.status = rank[best]
	var found, expected, reasons []string
	for _, v := range all {
		expected = append(expected, v.expected)
		out.evidence = append(out.evidence, v.evidence...)
		if v.status == out.status {
			if !slices.Contains(found, v.found) {
				found = append(found, v.found)
			}
			out.remediation = cmp.Or(out.remediation, v.remediation)
			out.hard = out.hard || v.hard
			out.revocable = out.revocable || v.revocable
			out.phase = cmp.Or(out.phase, v.phase)
			if v.reason != "" && !slices.Contains(reasons, v.reason) {
				reasons = append(reasons, v.reason)
			}
		}
	}
	out.found, out.expected, out.reason = strings.Join(found, "; "), strings.Join(expected, "; "), strings.Join(reasons, "; ")
	return out
}

func sectionOf(id string) string {
	first, rest, _ := strings.Cut(id, ".")
	second, _, deeper := strings.Cut(rest, ".")
	if !deeper { // etcd: 2.1
		return first
	}
	return id[:len(first)+1+len(second)]
}

// maxText is how long one text of a result may be, in bytes: a hostile node
// must not fill a report.
const maxText = 1000

// oneLine makes s fit for one line of a report: no control characters, no
// password of a URL.
func oneLine(s string) string {
	if plain(s) {
		return s
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = safetext.Passwords(s)
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + " …"
	}
	return s
}

// plain says whether s is fit as it is, at a glance: short, printable ASCII,
// no URL.
func plain(s string) bool {
	if len(s) > maxText || strings.ContainsAny(s, "@=") {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
