package kube

import (
	"cmp"
	_ "embed" // gates.tsv
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// gateTable lists the feature gates of Kubernetes v1.20 and newer, a row for each
// stage of each: what the registries of the components and of the libraries that
// they share have together, since K3s runs all of them in one process.
// tools/kube-tables makes it.
//
//go:embed gates.tsv
var gateTable string

// gate is what some releases know of a feature gate.
type gate struct {
	byDefault bool
	locked    bool // a component exits at any other value than byDefault
	span      span
}

// gates holds gateTable by name.
var gates = sync.OnceValue(func() map[string][]gate {
	out := map[string][]gate{}
	for column := range tableRows(gateTable) {
		out[column[0]] = append(out[column[0]], gate{byDefault: column[2] == "true", locked: column[3] == "locked", span: spanOf(column[4], column[5])})
	}
	return out
})

// gateOf is what release r knows of the feature gate of that name.
func gateOf(r k3s.Release, name string) (g gate, has bool) {
	i := slices.IndexFunc(gates()[name], func(g gate) bool { return g.span.missing(r) == "" })
	if i < 0 {
		return gate{}, false
	}
	return gates()[name][i], true
}

// checkGates judges the flag feature-gates of component c: a component exits at a
// gate that it does not know, at a value that is no boolean, and at one that a gate
// is locked against (component-base's featuregate).
func checkGates(r k3s.Release, c k3s.Component, args []k3s.Argument) []k3s.Problem {
	if _, older := lastOf(args, "emulated-version"); older {
		return nil // which has the gates of another release
	}
	var out []k3s.Problem
	for _, a := range args {
		if canonical(a.Name) != "feature-gates" || a.Origin.Default {
			continue
		}
		for _, item := range splitList(a.Value) {
			if p := checkGate(r, a, ofComponent(r, c, item)); p != nil {
				out = append(out, *p)
			}
		}
	}
	return out
}

// ofComponent takes the name of the component from an item of feature-gates, which
// it may have where a process has gates of several (component-base's
// compatibility); Kubernetes's own are those of kube.
func ofComponent(r k3s.Release, c k3s.Component, item string) string {
	if r.AtLeast(1, 31) && c != k3s.Kubelet && c != k3s.KubeProxy {
		return strings.TrimPrefix(strings.TrimSpace(item), "kube:")
	}
	return item
}

// checkGate judges one item of the flag feature-gates, or nil.
func checkGate(r k3s.Release, a k3s.Argument, item string) *k3s.Problem {
	name, text, _ := strings.Cut(item, "=")
	name = strings.TrimSpace(name)
	if item == "" {
		return nil
	}
	g, has := gateOf(r, name)
	on, err := strconv.ParseBool(strings.TrimSpace(text))
	var p k3s.Problem
	switch {
	case !has:
		p = unknownGate(r, a, name)
	case err != nil:
		p = fatal(a, "%s: the value of %s is not true or false", a.Name, name)
	case g.locked && on != g.byDefault:
		p = fatal(a, "cannot set feature gate %s to %t, feature is locked to %t in %s; take it out", name, on, g.byDefault, r.MinorName())
	default:
		return nil
	}
	return &p
}

// unknownGate says what is wrong with a gate that r is not known to have.
func unknownGate(r k3s.Release, a k3s.Argument, name string) k3s.Problem {
	if states := gates()[name]; len(states) > 0 {
		bySince := func(a, b gate) int { return cmp.Compare(a.span.since, b.span.since) }
		whole := span{since: slices.MinFunc(states, bySince).span.since, until: slices.MaxFunc(states, bySince).span.until}
		return fatal(a, "unrecognized feature gate: %s (%s); take it out", name, cmp.Or(whole.missing(r), r.MinorName()+" lacks it"))
	}
	if newer(r) || !r.AtLeast(1, oldestTable) {
		p := fatal(a, "%s is no feature gate of Kubernetes from v1.%d to v1.%d, and what %s has is not known here; take it out", word(name), oldestTable, k3s.NewestMinor, r.MinorName())
		p.Consequence = k3s.Unreadable
		return p
	}
	advice := "take it out"
	if near := nearest(name, gates(), func(other string, _ []gate) bool { _, has := gateOf(r, other); return has }); near != "" {
		advice = "write " + near
	}
	return fatal(a, "unrecognized feature gate: %s; %s", word(name), advice)
}

// gatesOf reads the value of a flag feature-gates as Kubernetes does
// (component-base's featuregate): by strconv.ParseBool, and the last of several
// counts.
func gatesOf(value string) map[string]bool {
	gates := map[string]bool{}
	for item := range strings.SplitSeq(value, ",") {
		name, text, _ := strings.Cut(item, "=")
		if on, err := strconv.ParseBool(strings.TrimSpace(text)); err == nil {
			gates[strings.TrimSpace(name)] = on
		}
	}
	return gates
}

// GateOff says whether the value of a flag feature-gates switches off a beta
// gate that is on by default: itself, or with AllBeta where it is not named.
func GateOff(value, gate string) bool {
	gates := gatesOf(value)
	on, named := gates[gate]
	if !named {
		on, named = gates["AllBeta"]
	}
	return named && !on
}

// PodSecurityOff says whether the value of the API server's flag feature-gates
// switches Pod Security admission off in release r. AllBeta reaches it only where
// it is beta; where it is locked, the server exits at any other value.
func PodSecurityOff(r k3s.Release, value string) bool {
	const name = "PodSecurity"
	if on, named := gatesOf(value)[name]; named {
		return !on
	}
	g, has := gateOf(r, name)
	return has && !g.locked && GateOff(value, name)
}
