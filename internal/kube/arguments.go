package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// CheckArguments returns what in args makes component c of release r exit:
// flags it does not know, values it cannot parse, admission plugins and feature
// gates it does not have. args are in the order in which the component gets them; those of
// which Origin.Default is true are K3s's own and are taken to be right. For a
// release newer than this package knows, an unknown name is k3s.Unreadable.
func CheckArguments(r k3s.Release, c k3s.Component, args []k3s.Argument) []k3s.Problem {
	var out []k3s.Problem
	args = slices.Clone(args)
	for i, a := range args {
		args[i].Value = k3s.StandIn(a.Value, a.Open)
	}
	for _, a := range args {
		if p := checkFlag(r, c, a); p != nil {
			out = append(out, *p)
		}
	}
	out = append(out, checkValues(c, args)...)
	out = append(out, checkTogether(r, c, args)...)
	out = append(out, checkGates(r, c, args)...)
	if c == k3s.APIServer {
		out = append(out, checkPlugins(r, args)...)
		out = append(out, checkAuthorization(args)...)
	}
	return out
}

// checkPlugins judges the lists of admission plugins.
func checkPlugins(r k3s.Release, args []k3s.Argument) []k3s.Problem {
	var out []k3s.Problem
	enabled, disabled := map[string]k3s.Argument{}, map[string]k3s.Argument{}
	for _, a := range args {
		into := enabled
		switch canonical(a.Name) {
		case "enable-admission-plugins":
		case "disable-admission-plugins":
			into = disabled
		default:
			continue
		}
		for _, name := range splitList(a.Value) {
			into[name] = a
			if why, known := lackingPlugin(r, name); why != "" {
				p := fatal(a, "%s %s", a.Name, why)
				if !known {
					p.Consequence = k3s.Unreadable
				}
				out = append(out, p)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(disabled)) {
		a := disabled[name]
		if b, both := enabled[name]; both {
			out = append(out, fatal(a, "[%s] in enable-admission-plugins and disable-admission-plugins overlapped (enabled at %s); name it in one of them", word(name), b.Origin))
		}
	}
	return out
}

// lastOf returns the last argument of a name, which is the one that counts for
// flags that are no lists, and whether it gives the flag a value.
func lastOf(args []k3s.Argument, name string) (k3s.Argument, bool) {
	for _, a := range slices.Backward(args) {
		if canonical(a.Name) == name {
			return a, a.Value != ""
		}
	}
	return k3s.Argument{}, false
}

// splitList splits the value of a list flag.
func splitList(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, ",")
}

func fatal(a k3s.Argument, format string, args ...any) k3s.Problem {
	return k3s.Problem{Consequence: k3s.Fatal, Text: fmt.Sprintf(format, args...), Origin: a.Origin}
}
