package kube

import (
	_ "embed" // flags.tsv
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// flagTable lists the flags that the components of v1.20 and newer register;
// tools/kube-tables makes it.
//
//go:embed flags.tsv
var flagTable string

// flag is one flag of one component.
type flag struct {
	kind string
	span span
}

// flags holds flagTable by component and name.
var flags = sync.OnceValue(func() map[k3s.Component]map[string]flag {
	out := map[k3s.Component]map[string]flag{}
	for column := range tableRows(flagTable) {
		c := k3s.Component(column[0])
		if out[c] == nil {
			out[c] = map[string]flag{}
		}
		out[c][column[1]] = flag{kind: column[2], span: spanOf(column[3], column[4])}
	}
	return out
})

// flagAdvice says what to do without a flag that guides and posts for older
// releases tell people to set.
var flagAdvice = map[string]string{
	"address":               "write bind-address, or take it out: K3s binds to the loopback address by itself",
	"basic-auth-file":       "take it out, basic authentication is gone",
	"cni-bin-dir":           "take it out, K3s's containerd sets up the network",
	"cni-conf-dir":          "take it out, K3s's containerd sets up the network",
	"container-runtime":     "take it out, only remote runtimes are left",
	"insecure-bind-address": "take it out, the insecure port is gone",
	"insecure-port":         "take it out, the insecure port is gone",
	"kubelet-https":         "take it out, kubelets are always asked by HTTPS",
	"network-plugin":        "take it out, K3s's containerd sets up the network",
	"port":                  "take it out, the insecure port is gone",

	"experimental-encryption-provider-config": "write encryption-provider-config",
}

// canonical writes a flag's name as Kubernetes looks it up.
func canonical(name string) string { return strings.ReplaceAll(name, "_", "-") }

// checkFlag judges one argument of component c, or nil.
func checkFlag(r k3s.Release, c k3s.Component, a k3s.Argument) *k3s.Problem {
	table := flags()[c]
	if table == nil || a.Origin.Default {
		return nil // etcd has no flags under K3s; what K3s passes itself is right for its release
	}
	name := canonical(a.Name)
	f, listed := table[name]
	switch {
	case !listed && (newer(r) || !r.AtLeast(1, oldestTable)):
		return &k3s.Problem{
			Consequence: k3s.Unreadable, Origin: a.Origin,
			Text: fmt.Sprintf("--%s is not a flag of %s from v1.%d to v1.%d, and what %s has is not known here; %s", word(name), c, oldestTable, k3s.NewestMinor, r.MinorName(), instead(r, c, name)),
		}
	case !listed:
		p := fatal(a, "unknown flag: --%s (%s has none of that name); %s", word(name), c, instead(r, c, name))
		return &p
	}
	if missing := f.span.missing(r); missing != "" {
		p := fatal(a, "unknown flag: --%s (%s); %s", name, missing, instead(r, c, name))
		return &p
	}
	if why := parseValue(f.kind, a.Value); why != "" {
		p := fatal(a, "invalid argument %q for %q flag: %s", Shown(c, name, a.Value), "--"+name, why)
		return &p
	}
	return nil
}

// instead says what would be right in place of a flag that c does not have.
func instead(r k3s.Release, c k3s.Component, name string) string {
	if advice := flagAdvice[name]; advice != "" {
		return advice
	}
	for _, other := range []k3s.Component{k3s.Kubelet, k3s.APIServer, k3s.ControllerManager, k3s.Scheduler, k3s.KubeProxy} {
		if f, has := flags()[other][name]; has && other != c && f.span.missing(r) == "" {
			return fmt.Sprintf("it is a flag of %s: put it under %s", other, k3s.ArgumentKey(other))
		}
	}
	best := nearest(name, flags()[c], func(_ string, f flag) bool { return f.span.missing(r) == "" })
	if best != "" {
		return "write " + best
	}
	return "take it out"
}

// nearest is the name in a table that name was meant to be, of those that a release
// has, or "".
func nearest[V any](name string, table map[string]V, has func(string, V) bool) string {
	return safetext.Nearest(name, func(yield func(string) bool) {
		for known, what := range table {
			if has(known, what) && !yield(known) {
				return
			}
		}
	})
}

// parseValue says why a flag of this kind cannot take value, or "".
func parseValue(kind, value string) string {
	var err error
	switch kind {
	case "bool":
		if _, err = strconv.ParseBool(value); err != nil {
			return "it is true or false"
		}
	case "int", "int64":
		_, err = strconv.ParseInt(value, 0, 64)
	case "int32":
		_, err = strconv.ParseInt(value, 0, 32)
	case "uint":
		_, err = strconv.ParseUint(value, 0, 64)
	case "float":
		_, err = strconv.ParseFloat(value, 64)
	case "ip":
		if value != "" && net.ParseIP(strings.TrimSpace(value)) == nil {
			return "it is an IP address"
		}
	case "duration":
		if _, err = time.ParseDuration(value); err != nil {
			return "it is a number with a unit, such as 300s or 5m"
		}
	}
	if err != nil {
		return "it is a number"
	}
	return ""
}
