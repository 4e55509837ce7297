package k3s

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// sharedKeys are those whose values every server of a cluster must share: one
// that joins with another stops (K3s: pkg/daemons/config/types.go,
// CriticalControlArgs; pkg/cluster/bootstrap.go compares them).
var sharedKeys = []string{
	"cluster-cidr", "service-cidr", "cluster-dns", "cluster-domain", "disable-cloud-controller", "disable-helm-controller",
	"disable-network-policy", "embedded-registry", "egress-selector-mode", "flannel-backend", "flannel-external-ip",
	"flannel-ipv6-masq", "secrets-encryption", "secrets-encryption-provider", "supervisor-metrics",
}

// sharedDefaults are defaults that no component's arguments come from (K3s:
// pkg/cli/cmds/server.go).
var sharedDefaults = map[string]string{"flannel-backend": "vxlan"}

// serviceLB is what disable names to turn the service load balancer off, which
// servers must share too.
const serviceLB = "servicelb"

// ByDefault stands for the value of a key that is not set and whose default
// depends on other things.
const ByDefault = "K3s's default"

// Shared returns what a server must share with the other servers of its cluster:
// values by key, K3s's defaults included; nil for an agent.
func (e *Effective) Shared() map[string]string {
	if e.Role == Agent {
		return nil
	}
	out := map[string]string{}
	for _, name := range sharedKeys {
		if key, known := FindKey(name); !known || !key.In(e.Release, e.Role) {
			continue
		}
		out[name] = e.shared(name)
	}
	off := slices.ContainsFunc(e.Settings["disable"].Values, func(v Value) bool {
		return slices.Contains(strings.Split(v.Text, ","), serviceLB)
	})
	out["disable "+serviceLB] = strconv.FormatBool(off)
	return out
}

// shared is the value of a key, in the form that does not depend on how it was
// written.
func (e *Effective) shared(name string) string {
	key, _ := FindKey(name)
	var texts []string
	for _, v := range e.Settings[name].Values {
		texts = append(texts, strings.Split(Redact(name, v.Text), ",")...)
	}
	text := strings.Join(texts, ",")
	if key.Kind == Boolean {
		on, err := strconv.ParseBool(cmp.Or(text, "false"))
		if err == nil {
			return strconv.FormatBool(on)
		}
	}
	return cmp.Or(text, settingDefaults[name], sharedDefaults[name], ByDefault)
}
