package harden

import (
	"bytes"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// The shapes of the files, in the order in which the guide prints the fields.
type (
	admissionConfiguration struct {
		APIVersion string            `yaml:"apiVersion"`
		Kind       string            `yaml:"kind"`
		Plugins    []admissionPlugin `yaml:"plugins"`
	}
	admissionPlugin struct {
		Name          string `yaml:"name"`
		Configuration any    `yaml:"configuration"`
	}
	podSecurityConfiguration struct {
		APIVersion string        `yaml:"apiVersion"`
		Kind       string        `yaml:"kind"`
		Defaults   psaDefaults   `yaml:"defaults"`
		Exemptions psaExemptions `yaml:"exemptions"`
	}
	psaDefaults struct {
		Enforce        string `yaml:"enforce"`
		EnforceVersion string `yaml:"enforce-version"`
		Audit          string `yaml:"audit"`
		AuditVersion   string `yaml:"audit-version"`
		Warn           string `yaml:"warn"`
		WarnVersion    string `yaml:"warn-version"`
	}
	psaExemptions struct {
		Usernames      []string `yaml:"usernames,flow"`
		RuntimeClasses []string `yaml:"runtimeClasses,flow"`
		Namespaces     []string `yaml:"namespaces"`
	}
	eventRateLimitConfiguration struct {
		APIVersion string           `yaml:"apiVersion"`
		Kind       string           `yaml:"kind"`
		Limits     []eventRateLimit `yaml:"limits"`
	}
	eventRateLimit struct {
		Type      string `yaml:"type"`
		QPS       int    `yaml:"qps"`
		Burst     int    `yaml:"burst"`
		CacheSize int    `yaml:"cacheSize,omitempty"`
	}
)

// admission plans the API server's admission configuration, one file for every
// plugin that wants one.
func admission(c *choices) (node.Entry, error) {
	if c.PodSecurity.Policy != nil {
		return file(c.absolute(c.admissionFile), 0o600, c.PodSecurity.Policy.Data), nil
	}
	conf := admissionConfiguration{APIVersion: "apiserver.config.k8s.io/v1", Kind: "AdmissionConfiguration"}
	if !c.usesPSP() || c.asked.PodSecurity.asked() {
		conf.Plugins = append(conf.Plugins, admissionPlugin{"PodSecurity", c.podSecurity()})
	}
	if len(c.EventRateLimit) > 0 {
		limits := eventRateLimitConfiguration{APIVersion: "eventratelimit.admission.k8s.io/v1alpha1", Kind: "Configuration"}
		for _, l := range c.EventRateLimit {
			limits.Limits = append(limits.Limits, eventRateLimit(l))
		}
		conf.Plugins = append(conf.Plugins, admissionPlugin{"EventRateLimit", limits})
	}
	data, err := yamlFile(`# K3s CIS hardening guide, "Pod Security": what namespaces without labels of their
# own get, and what is exempt.`, conf)
	return file(c.absolute(c.admissionFile), 0o600, data), err
}

// podSecurity is Pod Security Admission's configuration.
func (c *choices) podSecurity() podSecurityConfiguration {
	p := c.PodSecurity
	return podSecurityConfiguration{
		APIVersion: c.Release.PodSecurityConfigVersion(), Kind: "PodSecurityConfiguration",
		Defaults:   psaDefaults{p.Enforce, p.Version, p.Audit, p.Version, p.Warn, p.Version},
		Exemptions: psaExemptions{Usernames: list(p.ExemptUsernames), RuntimeClasses: list(p.ExemptRuntimeClasses), Namespaces: c.exemptNamespaces()},
	}
}

// exemptNamespaces are the guide's, the user's and the presets', each once.
func (c *choices) exemptNamespaces() []string {
	all := guideExemptions(c.Options)
	all = append(all, c.PodSecurity.ExemptNamespaces...)
	for _, name := range c.PodSecurity.Presets {
		all = append(all, presets[name]...)
	}
	var out []string
	for _, ns := range all {
		if !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	return out
}

// list turns nil into an empty list, which the files show as [].
func list(v []string) []string {
	if v == nil {
		return []string{}
	}
	return v
}

// yamlFile is one YAML document of v under the header and a comment.
func yamlFile(comment string, v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(header + "\n" + comment + "\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}
