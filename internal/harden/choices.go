package harden

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
)

// choices are options with every default filled in for one node.
type choices struct {
	Options
	dataDir string
	// admissionFile is empty when the API server needs no admission configuration.
	admissionFile string
	auditFile     string
	auditLog      string
	// plugins are the admission plugins to list, NodeRestriction first; empty
	// leaves K3s's own list alone.
	plugins []string
	seccomp bool
	// kubeconfigMode is the mode that the administrator's kubeconfig is to have,
	// "" to leave it to K3s or to what the node says.
	kubeconfigMode string
	// asked are the options before defaults were filled in.
	asked Options
}

// choose fills in what the options leave open. eff is what the node says
// today; nil for a node without K3s configuration.
func choose(o Options, eff *k3s.Effective) *choices {
	c := &choices{Options: o, asked: o, dataDir: dataDir(o, eff)}
	c.Audit.MaxAge = orDefault(o.Audit.MaxAge, defaultMaxAge)
	c.Audit.MaxBackup = orDefault(o.Audit.MaxBackup, defaultMaxBackup)
	c.Audit.MaxSize = orDefault(o.Audit.MaxSize, defaultMaxSize)
	c.Audit.Profile = orDefault(o.Audit.Profile, "metadata")
	c.Audit.Level = orDefault(o.Audit.Level, "Metadata")
	c.PodMaxPids = orDefault(o.PodMaxPids, defaultPodMaxPids)
	c.PodSecurity.Enforce = orDefault(o.PodSecurity.Enforce, "restricted")
	c.PodSecurity.Audit = orDefault(o.PodSecurity.Audit, "restricted")
	c.PodSecurity.Warn = orDefault(o.PodSecurity.Warn, "restricted")
	c.PodSecurity.Version = orDefault(o.PodSecurity.Version, "latest")
	if len(o.TLSCipherSuites) == 0 {
		c.TLSCipherSuites = k3s.CipherSuites()
	}
	c.seccomp = o.benchmarkFrom(1, 11) && o.Release.AtLeast(1, 25)
	if o.SeccompDefault != nil {
		c.seccomp = *o.SeccompDefault
	}
	if o.Role == k3s.Agent {
		return c
	}
	c.kubeconfigMode = o.kubeconfigMode(eff)
	c.auditLog = firstOf(c.optionArg("audit-log-path"), o.Audit.LogPath, said(eff, "audit-log-path"), c.layout().Logs()+"/audit.log")
	c.auditFile = firstOf(c.optionArg("audit-policy-file"), said(eff, "audit-policy-file"), k3s.AuditPolicyFile)
	c.plugins = c.wantedPlugins()
	if o.needsAdmission() {
		c.admissionFile = firstOf(c.optionArg("admission-control-config-file"), said(eff, "admission-control-config-file"), k3s.PodSecurityFile)
	}
	return c
}

// kubeconfigMode follows CIS 1.1.13: a mode that the node gives stays where it is
// no wider than the benchmark allows.
func (o Options) kubeconfigMode(eff *k3s.Effective) string {
	if eff == nil || eff.Text("write-kubeconfig-mode") == "" {
		return ""
	}
	allowed := uint64(0o600)
	if o.Benchmark == "cis-1.6" {
		allowed = 0o644
	}
	if mode, err := strconv.ParseUint(eff.Text("write-kubeconfig-mode"), 8, 12); err == nil && mode&^allowed == 0 {
		return ""
	}
	return "0600"
}

// layout is where K3s keeps things on this node.
func (c *choices) layout() k3s.Layout { return k3s.LayoutOf(c.dataDir) }

// manifest is the path of a manifest of the plan.
func (c *choices) manifest(name string) string { return c.layout().Manifests() + "/" + name }

// usesPSP says whether pod security is the guide's PodSecurityPolicy variant.
func (o Options) usesPSP() bool { return o.Release.Range().PodSecurityPolicy }

// needsAdmission says whether the API server is to read an admission file.
func (o Options) needsAdmission() bool {
	return !o.usesPSP() || len(o.EventRateLimit) > 0 || o.PodSecurity.asked()
}

// asked says whether any option of pod_security was given.
func (p PodSecurity) asked() bool {
	return p.Enforce != "" || p.Audit != "" || p.Warn != "" || p.Version != "" || p.Policy != nil ||
		len(p.Presets)+len(p.ExemptNamespaces)+len(p.ExemptUsernames)+len(p.ExemptRuntimeClasses) > 0
}

// asked says whether any option was given that changes the audit policy.
func (a Audit) asked() bool { return a.Profile != "" || a.Level != "" || a.Policy != nil }

// wantedPlugins are the admission plugins to list. A list replaces K3s's own,
// so NodeRestriction stands in each (K3s passes it only when nobody lists any).
func (c *choices) wantedPlugins() []string {
	var more []string
	if c.usesPSP() {
		more = append(more, "PodSecurityPolicy", "NamespaceLifecycle", "ServiceAccount")
	}
	if len(c.EventRateLimit) > 0 || c.policyLimits() {
		more = append(more, "EventRateLimit")
	}
	if c.denyExternalIPs() {
		more = append(more, "DenyServiceExternalIPs")
	}
	if len(more) == 0 {
		return nil
	}
	return append([]string{"NodeRestriction"}, more...)
}

// policyLimits says whether the user's own admission configuration has limits
// for EventRateLimit: it is enabled then, since they have no use otherwise.
func (c *choices) policyLimits() bool {
	if c.PodSecurity.Policy == nil {
		return false
	}
	a, err := kube.LoadAdmission(c.Release, c.PodSecurity.Policy.Name, c.PodSecurity.Policy.Data, noFiles)
	return err == nil && a.EventRateLimit != nil
}

// absolute is the path of a file that an API server flag names: K3s makes its
// server directory the working directory.
func (c *choices) absolute(p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(c.layout().Server(), p)
}

// enabledPlugins are the admission plugins that must not be switched off, those
// included that Kubernetes enables by itself (CIS 1.2, admission controls).
func (c *choices) enabledPlugins() []string {
	names := append([]string{"NodeRestriction", "NamespaceLifecycle", "ServiceAccount"}, c.plugins...)
	if c.Release.AtLeast(1, 23) && c.admissionFile != "" {
		names = append(names, "PodSecurity")
	}
	return names
}

// denyExternalIPs follows CIS 1.2.3, which wants the plugin from 1.9 on and
// wanted it absent before.
func (c *choices) denyExternalIPs() bool {
	if c.DenyServiceExternalIPs != nil {
		return *c.DenyServiceExternalIPs
	}
	return c.benchmarkFrom(1, 9)
}

// benchmarkFrom says whether the benchmark is cis-major.minor or newer. CIS once
// numbered its releases after Kubernetes's: 1.20, 1.23 and 1.24 came between 1.6
// and 1.7, so that they are older than any number asked for here.
func (o Options) benchmarkFrom(major, minor int) bool {
	v, ok := strings.CutPrefix(o.Benchmark, "cis-")
	if !ok {
		return false
	}
	a, b, _ := strings.Cut(v, ".")
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	if errX != nil || errY != nil || x == 1 && y >= 20 {
		return false
	}
	return x > major || x == major && y >= minor
}

// longKeys returns the options with the long names of K3s's keys in Config.
func (o Options) longKeys() Options {
	config := make(map[string]any, len(o.Config))
	for name, v := range o.Config {
		if key, ok := k3s.FindKey(strings.TrimSuffix(name, "+")); ok {
			name = key.Name
		}
		config[name] = v
	}
	o.Config = config
	return o
}

// dataDir is where K3s keeps its state: the option, what the node says, K3s's default.
func dataDir(o Options, eff *k3s.Effective) string {
	if d, ok := o.Config["data-dir"].(string); ok && d != "" {
		return path.Clean(d)
	}
	if eff != nil && eff.DataDir != "" {
		return path.Clean(eff.DataDir)
	}
	return k3s.DefaultDataDir
}

// said is the value of an API server flag that the node's own configuration
// gives, or "".
func said(eff *k3s.Effective, flag string) string {
	if eff == nil {
		return ""
	}
	value, from, set := eff.Flag(k3s.APIServer, flag)
	if !set || !slices.ContainsFunc(from, func(a k3s.Argument) bool { return !a.Origin.Default }) {
		return ""
	}
	return value
}

// optionArg is the value that the user's own API server arguments give flag.
func (c *choices) optionArg(flag string) string {
	value := ""
	for _, a := range c.userArgs() {
		if a.component == k3s.APIServer && a.flag == flag {
			value = a.value
		}
	}
	return value
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

func firstOf(vs ...string) string {
	for _, v := range vs {
		if v != "" {
			return v
		}
	}
	return ""
}
