package kube

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// ValueRule is a component with arguments, and what is said of them.
type ValueRule struct {
	Component k3s.Component
	// Args stand behind one another, parted by blanks.
	Args string
	// Says is why the component exits; "" where it takes them.
	Says string
	// Late says that a kubelet fails only once it has a container runtime or registers
	// its node, so that it was read in its source and not tried.
	Late bool
}

// ValueRules: each value that a component refuses, and its neighbours that it
// takes. TestValueRules says it of this package, TestAccKubelet of the kubelet.
var ValueRules = []ValueRule{
	{k3s.Kubelet, "authorization-mode=webhook", "is not one of AlwaysAllow, Webhook", false},
	{k3s.Kubelet, "authorization-mode=Webhook", "", false},
	{k3s.Kubelet, "container-log-max-files=1", "must be 2 or more", false},
	{k3s.Kubelet, "container-log-max-files=2 container-log-max-size=10Mi", "", false},
	{k3s.Kubelet, "container-log-max-size=10MB", "is not a size", true},
	{k3s.Kubelet, "container-log-max-size=0", "", false},
	{k3s.Kubelet, "container-log-max-size=-1", "", false},
	{k3s.Kubelet, "cpu-manager-policy=Static", "is not one of none, static", true},
	{k3s.Kubelet, "cpu-manager-policy=static", "the static policy requires", true},
	{k3s.Kubelet, "cpu-manager-policy=static system-reserved=cpu=100m", "", false},
	{k3s.Kubelet, "cpu-manager-policy=static reserved-cpus=0-1", "", false},
	{k3s.Kubelet, "cpu-cfs-quota-period=2s", "between 1 millisecond and 1 second", false},
	{k3s.Kubelet, "enforce-node-allocatable=pods,system", "is not one of none, pods", false},
	{k3s.Kubelet, "enforce-node-allocatable=pods,system-reserved", "system-reserved-cgroup must be specified", false},
	{k3s.Kubelet, "enforce-node-allocatable=pods,system-reserved system-reserved-cgroup=/system.slice", "", false},
	{k3s.Kubelet, "enforce-node-allocatable=pods", "", false},
	{k3s.Kubelet, "eviction-hard=memory.available<0", "neither a size", true},
	{k3s.Kubelet, "eviction-hard=memory.available<0%", "", false},
	{k3s.Kubelet, "v=-1", "is not a whole number", false},
	{k3s.Kubelet, "event-qps=-1", "must not be a negative number", false},
	{k3s.Kubelet, "event-qps=0 event-burst=0", "", false},
	{k3s.Kubelet, "eviction-hard=memory.available<100Mi,nodefs.available<10%", "", false},
	{k3s.Kubelet, "eviction-hard=memory.available=100Mi", "is not such as memory.available<100Mi", false},
	{k3s.Kubelet, "eviction-hard=memory.free<100Mi", "unsupported eviction signal", true},
	{k3s.Kubelet, "eviction-hard=memory.available<lots", "neither a size nor a percentage", true},
	{k3s.Kubelet, "eviction-hard=memory.available<150%", "neither a size nor a percentage", true},
	{k3s.Kubelet, "eviction-soft=memory.available<200Mi", "grace period must be specified", true},
	{k3s.Kubelet, "eviction-soft=memory.available<200Mi eviction-soft-grace-period=memory.available=1m30s", "", false},
	{k3s.Kubelet, "eviction-soft=memory.available<200Mi eviction-soft-grace-period=memory.available=90", "the value of memory.available", true},
	{k3s.Kubelet, "eviction-minimum-reclaim=nodefs.available=500Mi,imagefs.available=2Gi", "", false},
	{k3s.Kubelet, "hairpin-mode=promiscuous", "is not one of hairpin-veth", false},
	{k3s.Kubelet, "image-gc-high-threshold=101", "between 0 and 100", false},
	{k3s.Kubelet, "image-gc-high-threshold=75", "must be less than --image-gc-high-threshold 75", false},
	{k3s.Kubelet, "image-gc-high-threshold=75 image-gc-low-threshold=70", "", false},
	{k3s.Kubelet, "image-gc-low-threshold=90", "must be less than --image-gc-high-threshold 85", false},
	{k3s.Kubelet, "max-pods=250 pods-per-core=10", "", false},
	{k3s.Kubelet, "max-pods=-1", "must not be a negative number", false},
	{k3s.Kubelet, "node-ip=eth0", "", false}, // the kubelet says so in its log and goes on
	{k3s.Kubelet, "node-ip=10.0.0.1,fd00::1", "", false},
	{k3s.Kubelet, "node-labels=example.org/rack=a1,node.kubernetes.io/pool=x,topology.kubernetes.io/zone=z", "", false},
	{k3s.Kubelet, "node-labels=node-role.kubernetes.io/worker=true", "unknown 'kubernetes.io' or 'k8s.io' label", false},
	{k3s.Kubelet, "node-labels=rack=a b", "it is no label", false},
	{k3s.Kubelet, "oom-score-adj=-1001", "between -1000 and 1000", false},
	{k3s.Kubelet, "read-only-port=0", "", false},
	{k3s.Kubelet, "read-only-port=70000", "between 0 and 65535", false},
	{k3s.Kubelet, "port=0", "between 1 and 65535", false},
	{k3s.Kubelet, "register-with-taints=a=b:NoSchedule,CriticalAddonsOnly=true:NoExecute", "", false},
	{k3s.Kubelet, "register-with-taints=a=b:noschedule", "invalid taint spec", false},
	{k3s.Kubelet, "register-with-taints=a=b", "invalid taint spec", false},
	{k3s.Kubelet, "reserved-cpus=all", "is not a list of CPUs", false},
	{k3s.Kubelet, "system-reserved=cpu=100m,memory=200Mi,ephemeral-storage=1Gi,pid=1000", "", false},
	{k3s.Kubelet, "system-reserved=disk=1Gi", "cannot reserve", true},
	{k3s.Kubelet, "kube-reserved=memory=200MB", "is not a quantity", true},
	{k3s.Kubelet, "kube-reserved=memory", "is not such as cpu=100m", false},
	{k3s.Kubelet, "topology-manager-policy=single-numa", "is not one of best-effort", false},
	{k3s.Kubelet, "v=2", "", false},
	{k3s.Kubelet, "v=high", "is not a whole number", false},
	{k3s.Kubelet, "vmodule=gc*=4,server=2", "", false},
	{k3s.Kubelet, "vmodule=server", "is not a list such as", false},
	{k3s.KubeProxy, "proxy-mode=nftables", "", false},
	{k3s.KubeProxy, "proxy-mode=ebpf", "is not one of iptables, ipvs, nftables", false},
	{k3s.KubeProxy, "metrics-bind-address=0.0.0.0:10249", "", false},
	{k3s.KubeProxy, "metrics-bind-address=[::]:10249", "", false},
	{k3s.KubeProxy, "metrics-bind-address=127.0.0.1", "", false},
	{k3s.KubeProxy, "metrics-bind-address=localhost:10249", "is not an IP address", false},
	{k3s.KubeProxy, "cluster-cidr=10.42.0.0/16,fd00::/56", "", false},
	{k3s.KubeProxy, "cluster-cidr=10.42", "is not a network", false},
	{k3s.KubeProxy, "iptables-sync-period=0s", "must be greater than 0", false},
	{k3s.KubeProxy, "detect-local-mode=ClusterCIDR", "", false},
	{k3s.KubeProxy, "conntrack-max-per-core=-1", "greater than or equal to 0", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/99", "is not a network", false},
	{k3s.Kubelet, "hostname-override=edge_1", "no name that the API server registers", true},
	{k3s.Kubelet, "hostname-override=Edge-1.example.org", "", false},
	{k3s.ControllerManager, "secure-port=0", "", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/16 node-cidr-mask-size=40", "no network of 32 bits", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/16 node-cidr-mask-size=26", "", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/16 node-cidr-mask-size=0", "", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/16 node-cidr-mask-size=60", "no network of 32 bits", false},
	{k3s.ControllerManager, "cluster-cidr=10.44.0.0/16 node-cidr-mask-size=60", "no network of 32 bits", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/16 node-cidr-mask-size=12", "larger than the whole", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/26", "larger than the whole", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/26 allocate-node-cidrs=false", "", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/26 node-cidr-mask-size-ipv4=28", "", false},
	{k3s.ControllerManager, "cluster-cidr=10.44.0.0/16 node-cidr-mask-size-ipv6=64", "not allowed for a single-stack IPv4", false},
	{k3s.ControllerManager, "cluster-cidr=fd00:42::/56", "", false},
	{k3s.ControllerManager, "cluster-cidr=fd00:42::/56 node-cidr-mask-size=24", "larger than the whole", false},
	{k3s.ControllerManager, "cluster-cidr=fd00:42::/56 node-cidr-mask-size-ipv4=26", "not allowed for a single-stack IPv6", false},
	{k3s.ControllerManager, "cluster-cidr=fd00::/40", "more than 16 bits smaller", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/16,fd00:42::/56", "", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/16,fd00:42::/56 node-cidr-mask-size=24", "not allowed with dual-stack", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/16,fd00:42::/56 node-cidr-mask-size-ipv4=26 node-cidr-mask-size-ipv6=72", "", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/16,fd00:42::/56 node-cidr-mask-size-ipv4=26 node-cidr-mask-size-ipv6=80", "more than 16 bits smaller", false},
	{k3s.ControllerManager, "cluster-cidr=10.42.0.0/16 node-cidr-mask-size=24 node-cidr-mask-size-ipv4=24", "does not go together", false},
	{k3s.ControllerManager, "max-endpoints-per-slice=1001", "between 1 and 1000", false},
	{k3s.Scheduler, "secure-port=65536", "between 0 and 65535", false},
}

// TestValueRules: each value that a component refuses, and its neighbours that
// it takes. Those of the API server are tried on a real one (see Trials).
func TestValueRules(t *testing.T) {
	for _, c := range ValueRules {
		t.Run(string(c.Component)+" "+c.Args, func(t *testing.T) {
			args := c.Arguments()
			got := CheckArguments(release(t, "1.27"), c.Component, args)
			if c.Component == k3s.KubeProxy {
				got = CheckArguments(release(t, "1.36"), c.Component, args)
			}
			if c.Says == "" {
				assert.Empty(t, got)
				return
			}
			if assert.Len(t, got, 1) {
				assert.Contains(t, got[0].Text, c.Says)
				assert.Equal(t, k3s.Fatal, got[0].Consequence)
			}
		})
	}
}

// TestNodeNetworksByDefault: by default a node with IPv6 alone gets another network than
// the one that K3s is known to pass.
func TestNodeNetworksByDefault(t *testing.T) {
	for size, says := range map[string]string{"26": "", "40": "no network of 32 bits", "60": "", "80": "no network of 32 bits"} {
		got := CheckArguments(release(t, "1.36"), k3s.ControllerManager, []k3s.Argument{
			{Name: "cluster-cidr", Value: "10.42.0.0/16", Origin: k3s.Origin{Default: true}}, {Name: "node-cidr-mask-size", Value: size},
		})
		if says == "" {
			assert.Empty(t, got, size)
		} else if assert.Len(t, got, 1, size) {
			assert.Contains(t, got[0].Text, says)
		}
	}
}

// Arguments are those of the rule, as K3s gives them.
func (c ValueRule) Arguments() []k3s.Argument {
	var args []k3s.Argument
	for i, text := range splitArguments(c.Args) {
		name, value, _ := strings.Cut(text, "=")
		args = append(args, k3s.Argument{Name: name, Value: value, Origin: k3s.Origin{Source: "config.yaml", Line: i + 1}})
	}
	return args
}

// splitArguments splits arguments at blanks that stand before a name.
func splitArguments(text string) []string {
	var out []string
	for _, word := range strings.Split(text, " ") {
		if strings.Contains(word, "=") {
			out = append(out, word)
		} else {
			out[len(out)-1] += " " + word
		}
	}
	return out
}

func TestNodeKeys(t *testing.T) {
	setting := func(key string, texts ...string) *k3s.Effective {
		e := &k3s.Effective{Settings: map[string]k3s.Setting{}}
		var s k3s.Setting
		for _, text := range texts {
			s.Values = append(s.Values, k3s.Value{Text: text})
		}
		e.Settings[key] = s
		return e
	}
	assert.Empty(t, CheckNode(setting("node-label", "rack=a1", "example.org/x=y", "")))
	assert.Len(t, CheckNode(setting("node-label", "rack=a1", "node-role.kubernetes.io/worker=true")), 1)
	assert.Empty(t, CheckNode(setting("node-taint", "a=b:NoSchedule", "CriticalAddonsOnly=true:NoExecute")))
	assert.Len(t, CheckNode(setting("node-taint", "a=b:NoScedule")), 1)
	for name, good := range map[string]bool{"Edge-1.example.org": true, "": true, "edge_1": false, "-edge": false, "a,b": false, strings.Repeat("a", 64): false} {
		found := CheckNode(setting("node-name", name))
		if good {
			assert.Empty(t, found, name)
			continue
		}
		require.Len(t, found, 1, name)
		assert.Equal(t, k3s.Fatal, found[0].Consequence)
		assert.Contains(t, found[0].Text, "node-name is no name that the API server registers")
	}
}

// TestServiceNetworks: what the API server takes for the networks of Services, by its
// release.
func TestServiceNetworks(t *testing.T) {
	for _, c := range []struct{ release, value, says string }{
		{"1.36", "10.43.0.0/16", ""},
		{"1.36", "10.0.0.0/8", ""},
		{"1.33", "10.0.0.0/8", "too large with /8: for 32-bit addresses the mask must be 12 or more"},
		{"1.33", "10.0.0.0/12", ""},
		{"1.33", "10.43.0.0/16,fd00:43::/64", "too large with /64: for 128-bit addresses the mask must be 108"},
		{"1.33", "10.43.0.0/16,fd00:43::/112", ""},
		{"1.36", "10.43.0.0/16,10.44.0.0/16", "must be of different IP families"},
		{"1.36", "10.43.0.0/16,fd00::/112,10.44.0.0/16", "more than two networks"},
	} {
		args := []k3s.Argument{{Name: "service-cluster-ip-range", Value: c.value, Origin: k3s.Origin{Source: "config.yaml", Line: 1, Default: true}}}
		got := CheckArguments(release(t, c.release), k3s.APIServer, args)
		if c.says == "" {
			assert.Empty(t, got, c.value)
			continue
		}
		if assert.Len(t, got, 1, c.value) {
			assert.Contains(t, got[0].Text, c.says)
			assert.Equal(t, k3s.Fatal, got[0].Consequence)
		}
	}
}
