package kube

import (
	"strconv"
	"strings"
)

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
