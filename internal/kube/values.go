package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// rule says why a component would refuse the value its flag has after all
// arguments of that name, or "". For list flags values are the items of all of
// them, for others the last value alone.
type rule func(name string, values []string) string

// onlyWith names, for a flag whose value is judged only when another flag is
// set, that other flag.
var onlyWith = map[string]string{
	"audit-log-format":    "audit-log-path",
	"audit-log-maxage":    "audit-log-path",
	"audit-log-maxbackup": "audit-log-path",
	"audit-log-maxsize":   "audit-log-path",
	"audit-log-mode":      "audit-log-path",
	"audit-webhook-mode":  "audit-webhook-config-file",
}

// checkValues applies the rules of component c.
func checkValues(c k3s.Component, args []k3s.Argument) []k3s.Problem {
	var out []k3s.Problem
	for _, name := range slices.Sorted(maps.Keys(rules[c])) {
		f := flags()[c][name]
		var values []string
		var last k3s.Argument
		for _, a := range args {
			if canonical(a.Name) != name || parseValue(f.kind, a.Value) != "" {
				continue
			}
			last = a
			if f.kind == "list" {
				values = append(values, splitList(a.Value)...)
			} else {
				values = []string{a.Value}
			}
		}
		if len(values) == 0 || last.Origin.Default {
			continue
		}
		if other, conditional := onlyWith[name]; conditional {
			if _, set := lastOf(args, other); !set {
				continue
			}
		}
		if why := rules[c][name](name, values); why != "" {
			out = append(out, fatal(last, "%s", why))
		}
	}
	return out
}

// tlsVersions are the names that Kubernetes gives to versions of TLS.
var tlsVersions = []string{"VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"}

func tlsVersion(_ string, values []string) string {
	if v := values[0]; v != "" && !slices.Contains(tlsVersions, v) {
		return fmt.Sprintf("unknown tls version %q; it is one of %s", word(v), strings.Join(tlsVersions, ", "))
	}
	return ""
}
