package kube

import (
	"fmt"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// CheckNode returns what in K3s's own keys makes the kubelet, which it passes
// them to as they are, exit or never get its node: the node's name, labels and taints.
func CheckNode(e *k3s.Effective) []k3s.Problem {
	var out []k3s.Problem
	for _, key := range []struct {
		name  string
		fault func(string) string
	}{
		{"node-label", func(text string) string {
			name, value, _ := strings.Cut(text, "=")
			return NodeLabelFault(name, value)
		}},
		{"node-taint", NodeTaintFault},
	} {
		for _, v := range e.Settings[key.name].Values {
			for item := range strings.SplitSeq(k3s.StandIn(v.Text, v.Open), ",") {
				if item = strings.TrimSpace(item); item == "" {
					continue
				}
				if why := key.fault(item); why != "" {
					out = append(out, k3s.Problem{Consequence: k3s.Fatal, Origin: v.Origin, Text: fmt.Sprintf("the kubelet exits at %s: %s", key.name, why)})
				}
			}
		}
	}
	for _, v := range e.Settings["node-name"].Values {
		if why := nodeNameFault(k3s.StandIn(v.Text, v.Open)); why != "" {
			out = append(out, k3s.Problem{Consequence: k3s.Fatal, Origin: v.Origin, Text: "node-name " + why})
		}
	}
	return out
}

// checkTogether judges values of flags that are refused because of one another.
func checkTogether(r k3s.Release, c k3s.Component, args []k3s.Argument) []k3s.Problem {
	switch c {
	case k3s.APIServer:
		return append(openIDTogether(args), serviceNetworks(r, args)...)
	case k3s.Kubelet:
		return kubeletTogether(args)
	case k3s.ControllerManager:
		return nodeNetworks(args)
	}
	return nil
}

// openIDTogether wants an issuer of OpenID with its client, and the other way
// round.
func openIDTogether(args []k3s.Argument) []k3s.Problem {
	issuer, _ := lastOf(args, "oidc-issuer-url")
	client, _ := lastOf(args, "oidc-client-id")
	if _, moved := lastOf(args, "authentication-config"); moved || (issuer.Value == "") == (client.Value == "") {
		return nil // beside that file the flags are refused anyway
	}
	given := issuer
	if given.Value == "" {
		given = client
	}
	return []k3s.Problem{fatal(given, "oidc-issuer-url and oidc-client-id must be specified together; set both")}
}

func kubeletTogether(args []k3s.Argument) []k3s.Problem {
	var out []k3s.Problem
	number := func(name string, unset int) (int, k3s.Argument) {
		a, set := lastOf(args, name)
		n := unset
		if set {
			_, _ = fmt.Sscan(a.Value, &n) // one that is no number is refused elsewhere
		}
		return n, a
	}
	high, a := number("image-gc-high-threshold", 85)
	low, b := number("image-gc-low-threshold", 80)
	if low >= high && (a.Name != "" || b.Name != "") {
		if a.Name == "" {
			a = b
		}
		out = append(out, fatal(a, "--image-gc-low-threshold %d must be less than --image-gc-high-threshold %d; set both", low, high))
	}
	out = append(out, softEvictions(args)...)
	out = append(out, reservedCgroups(args)...)
	if policy, _ := lastOf(args, "cpu-manager-policy"); policy.Value == "static" && !reservesCPU(args) {
		out = append(out, fatal(policy, "the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero; set system-reserved=cpu=100m, or reserved-cpus"))
	}
	return out
}

func reservesCPU(args []k3s.Argument) bool {
	if _, set := lastOf(args, "reserved-cpus"); set {
		return true
	}
	for _, name := range []string{"system-reserved", "kube-reserved"} {
		if a, _ := lastOf(args, name); strings.Contains(a.Value, "cpu=") {
			return true
		}
	}
	_, own := lastOf(args, "config") // which may reserve them
	_, dir := lastOf(args, "config-dir")
	return own || dir
}

// reservedCgroups wants the control group of what is enforced.
func reservedCgroups(args []k3s.Argument) []k3s.Problem {
	enforced, _ := lastOf(args, "enforce-node-allocatable")
	var out []k3s.Problem
	for _, of := range []string{"system-reserved", "kube-reserved"} {
		_, set := lastOf(args, of+"-cgroup")
		if all := splitList(enforced.Value); !set && (slices.Contains(all, of) || slices.Contains(all, of+"-compressible")) {
			out = append(out, fatal(enforced, "%s-cgroup must be specified when %s is in enforce-node-allocatable; add %s-cgroup=/system.slice, or take it out", of, of, of))
		}
	}
	return out
}

// softEvictions wants a grace period for each soft threshold.
func softEvictions(args []k3s.Argument) []k3s.Problem {
	soft, set := lastOf(args, "eviction-soft")
	if !set {
		return nil
	}
	grace, _ := lastOf(args, "eviction-soft-grace-period")
	for item := range strings.SplitSeq(soft.Value, ",") {
		signal, _, _ := strings.Cut(item, "<")
		if signal = strings.TrimSpace(signal); signal != "" && !strings.Contains(grace.Value, signal+"=") {
			return []k3s.Problem{fatal(soft, "grace period must be specified for the soft eviction threshold %s; add eviction-soft-grace-period=%s=1m30s", word(signal), word(signal))}
		}
	}
	return nil
}
