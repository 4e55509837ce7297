package harden

import (
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
)

// rule is one setting of the guide.
type rule struct {
	// component gets the setting as a flag; empty for a key of K3s itself.
	component k3s.Component
	// name is the flag without dashes, or K3s's key.
	name string
	// when says whether the guide of a range has the setting; nil means each.
	when func(k3s.Range) bool
	// value returns what the guide wants; "" leaves the setting out.
	value func(c *choices) string
	// option returns the HCL option that decides the value, "" when the guide does.
	option func(o Options) string
	// holds says whether another value, found on the node, serves the setting's
	// control as well. It is asked only when no option decides the value.
	holds func(found string) bool
}

// rules are the settings of the guide, every K3s release and role in one
// table, in the order in which a new configuration file shows them. What
// differs between releases stands in k3s.Ranges.
var rules = []rule{
	{name: "protect-kernel-defaults", value: fixed("true")},
	{name: "secrets-encryption", value: fixed("true")},
	{
		name: "secrets-encryption-provider", option: named("secrets_encryption_provider", func(o Options) bool { return o.SecretsEncryptionProvider != "" }),
		value: func(c *choices) string { return c.SecretsEncryptionProvider },
	},
	{name: "write-kubeconfig-mode", value: func(c *choices) string { return c.kubeconfigMode }},

	{component: k3s.APIServer, name: "enable-admission-plugins", value: func(c *choices) string { return strings.Join(c.plugins, ",") }},
	{component: k3s.APIServer, name: "admission-control-config-file", value: func(c *choices) string { return c.admissionFile }},
	{
		component: k3s.APIServer, name: "audit-log-path", value: func(c *choices) string { return c.auditLog },
		option: named("audit.log_path", func(o Options) bool { return o.Audit.LogPath != "" }),
	},
	{component: k3s.APIServer, name: "audit-policy-file", value: func(c *choices) string { return c.auditFile }},
	{
		component: k3s.APIServer, name: "audit-log-maxage", value: func(c *choices) string { return strconv.Itoa(c.Audit.MaxAge) }, holds: atLeast(30),
		option: named("audit.max_age", func(o Options) bool { return o.Audit.MaxAge != 0 }),
	},
	{
		component: k3s.APIServer, name: "audit-log-maxbackup", value: func(c *choices) string { return strconv.Itoa(c.Audit.MaxBackup) }, holds: atLeast(10),
		option: named("audit.max_backup", func(o Options) bool { return o.Audit.MaxBackup != 0 }),
	},
	{
		component: k3s.APIServer, name: "audit-log-maxsize", value: func(c *choices) string { return strconv.Itoa(c.Audit.MaxSize) }, holds: atLeast(100),
		option: named("audit.max_size", func(o Options) bool { return o.Audit.MaxSize != 0 }),
	},
	{component: k3s.APIServer, name: "request-timeout", when: spellsDefaults, value: fixed("300s"), holds: notZero},
	{component: k3s.APIServer, name: "service-account-lookup", when: spellsDefaults, value: fixed("true")},
	{component: k3s.APIServer, name: "service-account-extend-token-expiration", when: func(g k3s.Range) bool { return g.ExtendTokenExpiration }, value: fixed("false")},

	{component: k3s.ControllerManager, name: "terminated-pod-gc-threshold", value: func(c *choices) string { return strconv.Itoa(c.Release.Range().GCThreshold) }, holds: atLeast(1)},
	{component: k3s.ControllerManager, name: "use-service-account-credentials", when: spellsDefaults, value: fixed("true")},

	{component: k3s.Kubelet, name: "streaming-connection-idle-timeout", value: fixed("5m"), holds: notZero},
	{component: k3s.Kubelet, name: "make-iptables-util-chains", when: spellsDefaults, value: fixed("true")},
	{
		component: k3s.Kubelet, name: "tls-cipher-suites", value: func(c *choices) string { return strings.Join(c.TLSCipherSuites, ",") }, holds: kube.StrongCiphers,
		option: named("tls_cipher_suites", func(o Options) bool { return len(o.TLSCipherSuites) > 0 }),
	},
	{
		component: k3s.Kubelet, name: "pod-max-pids", value: func(c *choices) string { return strconv.Itoa(c.PodMaxPids) }, holds: atLeast(1),
		option: named("pod_max_pids", func(o Options) bool { return o.PodMaxPids != 0 }),
	},
	{
		component: k3s.Kubelet, name: "seccomp-default",
		option: named("seccomp_default", func(o Options) bool { return o.SeccompDefault != nil }),
		value: func(c *choices) string {
			if c.seccomp {
				return "true"
			}
			return ""
		},
	},
}

// Choices of the guide, and ours where it leaves one open.
const (
	defaultMaxAge    = 30  // days, CIS 1.2.17 and its forerunners
	defaultMaxBackup = 10  // files
	defaultMaxSize   = 100 // megabytes
	// defaultPodMaxPids is our choice for CIS 4.2.13, which asks for a limit
	// and leaves the number open: far above what a healthy pod needs, an eighth
	// of the smallest pid space (32768) that a stock kernel has.
	defaultPodMaxPids = 4096
)

// covers says whether the rule is for release r.
func (u rule) covers(r k3s.Release) bool { return u.when == nil || u.when(r.Range()) }

func spellsDefaults(g k3s.Range) bool { return g.SpellsDefaults }

// key is the K3s configuration key that carries the setting.
func (u rule) key() string {
	if u.component == "" {
		return u.name
	}
	return k3s.ArgumentKey(u.component)
}

// agentMay says whether a K3s agent accepts the key; a key that it does not
// accept keeps it from starting.
func agentMay(key string) bool {
	return key == "protect-kernel-defaults" || key == k3s.ArgumentKey(k3s.Kubelet) || key == k3s.ArgumentKey(k3s.KubeProxy)
}

func fixed(v string) func(*choices) string { return func(*choices) string { return v } }

func named(option string, set func(Options) bool) func(Options) string {
	return func(o Options) string {
		if set(o) {
			return option
		}
		return ""
	}
}

func atLeast(least int) func(string) bool {
	return func(found string) bool {
		n, err := strconv.Atoi(found)
		return err == nil && n >= least
	}
}

// notZero accepts any duration above zero.
func notZero(found string) bool {
	return found != "" && strings.ContainsAny(found, "123456789") && !strings.HasPrefix(found, "-")
}
