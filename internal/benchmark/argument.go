package benchmark

import (
	"fmt"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// argument wants a condition to hold for a flag of a component.
type argument struct {
	program   k3s.Component
	flag      string
	predicate predicate
	// unset is what the component does by itself; nil where a flag that is
	// not passed proves nothing, unless the condition is met by that.
	unset []fallback
	// moved is where the matter stands when another flag names a file for it.
	moved *moved
	// shows is the K3s key that makes K3s pass the flag; the evidence has it.
	shows string
}

// moved is a field of the file that another flag names. The flag itself counts
// if it is passed, unless the file overrules it.
type moved struct {
	flag, field string
	overrules   bool
	// unset is what the component does where the file lacks the field.
	unset []fallback
}

// fallback is a value that holds when nothing is set, for some K3s releases.
type fallback struct {
	value        string
	from, before *minor
}

func fallbackFor(all []fallback, r k3s.Release) (string, bool) {
	for _, f := range all {
		if (f.from == nil || f.from.reachedBy(r)) && (f.before == nil || !f.before.reachedBy(r)) {
			return f.value, true
		}
	}
	return "", false
}

// components are the programs that arguments go to.
var components = []k3s.Component{k3s.APIServer, k3s.ControllerManager, k3s.Scheduler, k3s.Kubelet, k3s.KubeProxy, k3s.Etcd}

func componentNames() []string {
	var out []string
	for _, c := range components {
		out = append(out, string(c))
	}
	return out
}

func (a argument) picks(paths) node.Query { return nil }

func (a argument) component() k3s.Component { return a.program }

func (a argument) judge(x *examination) verdict {
	v := verdict{expected: fmt.Sprintf("%s --%s%s", a.program, a.flag, a.predicate.says(x.in.Benchmark))}
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	value, from, set := x.in.Effective.Flag(a.program, a.flag)
	if a.moved != nil && (!set || a.moved.overrules) {
		if file, named, ok := x.in.Effective.Flag(a.program, a.moved.flag); ok {
			return a.judgeMoved(x, v, file, named)
		}
	}
	switch byDefault, known := fallbackFor(a.unset, x.release()); {
	case set && k3s.OpenAt(from) != "":
		v = v.unknown(k3s.OpenAt(from), evidenceOf(a.program, from))
		return v
	case set:
		v.status, v.found = outcome(a.predicate.holds(x.in.Benchmark, value)), fmt.Sprintf("--%s=%s", a.flag, kube.Shown(a.program, a.flag, value))
		v.evidence = evidenceOf(a.program, from)
	case known:
		v.status, v.found = outcome(a.predicate.holds(x.in.Benchmark, byDefault)), fmt.Sprintf("not set; %s uses %s", a.program, byDefault)
		v.evidence = []Evidence{{Source: fmt.Sprintf("%s %s default", a.program, x.release().DefaultsName()), Detail: a.flag + "=" + byDefault}}
	default:
		v.status, v.found = outcome(a.predicate.holdsUnset()), fmt.Sprintf("--%s is not set", a.flag)
		v.evidence = []Evidence{{Source: x.defaultSource, Detail: fmt.Sprintf("%s is passed neither by K3s nor by the node's configuration", a.flag)}}
	}
	if !slices.ContainsFunc(from, func(a k3s.Argument) bool { return !a.Origin.Default }) {
		x.blameVain(&v, k3s.ArgumentKey(a.program), a.flag)
	}
	if a.shows != "" {
		v.evidence = append(x.settings(a.shows), v.evidence...)
	}
	x.lasting(&v, k3s.ArgumentKey(a.program), a.flag, a.outlasts(x, from))
	x.started(&v, a.program, a.flag)
	return v
}

// unknown is the verdict on a value that holds a specifier which only the running
// machine knows.
func (v verdict) unknown(specifier string, evidence []Evidence) verdict {
	v.status, v.found, v.reason, v.evidence = Error, "not known until boot: "+specifier, "systemd puts the value in when it starts K3s", evidence
	v.remediation = "Write the value in the place of the specifier that is named."
	return v
}

// judgeMoved judges the field of the file that the other flag names.
func (a argument) judgeMoved(x *examination, v verdict, file string, named []k3s.Argument) verdict {
	v.expected += fmt.Sprintf("; %s in the file of --%s likewise", a.moved.field, a.moved.flag)
	v.evidence = evidenceOf(a.program, named)
	values, err := x.documentField(file, a.moved.field)
	if err != nil {
		v.status, v.found, v.reason = err.status, err.text, "the file decides and cannot be judged"
		return v
	}
	value := strings.Join(values, ",")
	v.found = fmt.Sprintf("%s: %s is %q", file, a.moved.field, a.predicate.shown(value))
	if len(values) == 0 {
		v.found = fmt.Sprintf("%s has no %s", file, a.moved.field)
		byDefault, known := fallbackFor(a.moved.unset, x.release())
		if !known {
			v.status = Fail
			return v
		}
		value = byDefault
		v.found += fmt.Sprintf("; %s uses %s", a.program, byDefault)
	}
	v.evidence = append(v.evidence, Evidence{Source: file, Detail: v.found})
	v.status = outcome(a.predicate.holds(x.in.Benchmark, value))
	x.lasting(&v, k3s.ArgumentKey(a.program), a.moved.flag, x.in.Effective.BehindConfigFile(named[len(named)-1].Origin))
	return v
}

// setting wants a condition to hold for a K3s configuration key.
type setting struct {
	key       string
	predicate predicate
	unset     []fallback
}

func (s setting) picks(paths) node.Query { return nil }

func (s setting) judge(x *examination) verdict {
	v := verdict{expected: fmt.Sprintf("K3s key %s%s", s.key, s.predicate.says(x.in.Benchmark))}
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	set, ok := x.in.Effective.Settings[s.key]
	for _, value := range set.Values {
		if value.Open != "" {
			return v.unknown(value.Open, x.settings(s.key))
		}
	}
	byDefault, known := fallbackFor(s.unset, x.release())
	switch {
	case ok:
		var values []string
		for _, value := range set.Values {
			values = append(values, value.Text)
			v.evidence = append(v.evidence, Evidence{Source: value.Origin.Source, Line: value.Origin.Line, Detail: s.key + ": " + k3s.Redact(s.key, value.Text)})
		}
		joined := strings.Join(values, ",")
		v.status = outcome(s.predicate.holds(x.in.Benchmark, joined))
		v.found = fmt.Sprintf("%s: %s", s.key, k3s.Redact(s.key, joined))
	case known:
		v.status, v.found = outcome(s.predicate.holds(x.in.Benchmark, byDefault)), fmt.Sprintf("%s is not set; K3s uses %s", s.key, byDefault)
		v.evidence = []Evidence{{Source: x.defaultSource, Detail: s.key + ": " + byDefault}}
	default:
		v.status, v.found = outcome(s.predicate.holdsUnset()), s.key+" is not set"
		v.evidence = []Evidence{{Source: x.defaultSource, Detail: s.key + " is not set anywhere in the node's configuration"}}
	}
	if !ok {
		x.blameVain(&v, s.key, "")
	}
	outlasts := ok && !slices.ContainsFunc(set.Values, func(value k3s.Value) bool { return !x.in.Effective.BehindConfigFile(value.Origin) })
	x.lasting(&v, s.key, "", outlasts)
	return v
}

// blameVain names the cause of a failure where the node's configuration speaks of
// the key, or of a flag of the key's list, and K3s does not heed it.
func (x *examination) blameVain(v *verdict, key, flag string) {
	cause, vain := x.in.Effective.Vain(key, flag)
	if v.status != Fail || !vain {
		return
	}
	v.found = "not set, since " + cause.Text
	v.evidence = append(v.evidence, Evidence{Source: cause.Origin.Source, Line: cause.Origin.Line, Detail: cause.Text})
	v.remediation = vainRemediation
}

const vainRemediation = "Correct what is named, so that K3s heeds what the configuration says already."

func outcome(holds bool) Status {
	if holds {
		return Pass
	}
	return Fail
}

func evidenceOf(c k3s.Component, args []k3s.Argument) []Evidence {
	var out []Evidence
	for _, a := range args {
		e := Evidence{Source: a.Origin.Source, Line: a.Origin.Line, Detail: a.Name + "=" + kube.Shown(c, a.Name, a.Value)}
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}
