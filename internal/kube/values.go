package kube

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// rule says why a component would refuse the value its flag has after all
// arguments of that name, or "". For list flags values are the items of all of
// them, for others the last value alone.
type rule func(name string, values []string) string

// onlyWith names, for a flag whose value is judged only when another flag is
// set, that other flag.
var onlyWith = map[string]string{
	"audit-log-maxage":    "audit-log-path",
	"audit-log-maxbackup": "audit-log-path",
	"audit-log-maxsize":   "audit-log-path",
}

// rules are the values that a component parses and then refuses, for the flags
// that hardening guides set.
var rules = map[k3s.Component]map[string]rule{
	k3s.APIServer: {
		"audit-log-maxage":    notNegative("--%s %s can't be a negative number; write days"),
		"audit-log-maxbackup": notNegative("--%s %s can't be a negative number; write how many files to keep"),
		"audit-log-maxsize":   notNegative("--%s %s can't be a negative number; write megabytes"),
		"request-timeout":     requestTimeout,
		"tls-cipher-suites":   cipherSuites,
		"tls-min-version":     tlsVersion,
	},
	k3s.ControllerManager: {"tls-cipher-suites": cipherSuites, "tls-min-version": tlsVersion},
	k3s.Scheduler:         {"tls-cipher-suites": cipherSuites, "tls-min-version": tlsVersion},
	k3s.Kubelet: {
		"event-qps":         notNegative("--%s %s must not be a negative number; 0 is no limit"),
		"tls-cipher-suites": cipherSuites,
		"tls-min-version":   tlsVersion,
	},
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

// notNegative refuses numbers below 0, in the words of format (name, value).
func notNegative(format string) rule {
	return func(name string, values []string) string {
		if n, err := strconv.ParseInt(values[0], 0, 64); err == nil && n < 0 {
			return fmt.Sprintf(format, name, values[0])
		}
		return ""
	}
}

func requestTimeout(name string, values []string) string {
	if d, err := time.ParseDuration(values[0]); err == nil && d < 0 {
		return fmt.Sprintf("--%s can not be negative value, found %s; write such as 300s", name, values[0])
	}
	return ""
}

// tlsVersions are the names that Kubernetes gives to versions of TLS.
var tlsVersions = []string{"VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"}

func tlsVersion(_ string, values []string) string {
	if v := values[0]; v != "" && !slices.Contains(tlsVersions, v) {
		return fmt.Sprintf("unknown tls version %q; it is one of %s", word(v), strings.Join(tlsVersions, ", "))
	}
	return ""
}
