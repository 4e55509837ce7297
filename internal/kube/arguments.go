package kube

import (
	"fmt"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// CheckArguments returns what in args makes component c of release r exit:
// flags it does not know, values it cannot parse, admission plugins it does
// not have. args are in the order in which the component gets them.
func CheckArguments(r k3s.Release, c k3s.Component, args []k3s.Argument) []k3s.Problem {
	var out []k3s.Problem
	for _, a := range args {
		if text := checkFlag(r, c, a); text != "" {
			out = append(out, k3s.Problem{Consequence: k3s.Fatal, Text: text, Origin: a.Origin})
		}
	}
	if c == k3s.APIServer {
		out = append(out, checkPlugins(r, args)...)
	}
	return out
}

// checkPlugins judges the lists of admission plugins.
func checkPlugins(r k3s.Release, args []k3s.Argument) []k3s.Problem {
	var out []k3s.Problem
	enabled, disabled := map[string]k3s.Argument{}, map[string]k3s.Argument{}
	for _, a := range args {
		into := enabled
		switch a.Name {
		case "enable-admission-plugins":
		case "disable-admission-plugins":
			into = disabled
		default:
			continue
		}
		for _, name := range splitList(a.Value) {
			into[name] = a
			if known, why := knownPlugin(r, name); !known {
				out = append(out, fatal(a, "%s %s", a.Name, why))
			}
		}
	}
	for name, a := range disabled {
		if b, both := enabled[name]; both {
			out = append(out, fatal(a, "[%s] in enable-admission-plugins and disable-admission-plugins overlapped (enabled at %s); name it in one of them", name, b.Origin))
		}
	}
	return out
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
