package cis

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// defaultRateLimit is what event_rate_limit {} without limits means: one
// bucket for the whole API server, wide enough for a busy node and still a
// limit (CIS 1.2.9).
var defaultRateLimit = harden.RateLimit{Type: "Server", QPS: 5000, Burst: 20000}

// overwrites reads the option overwrite: a boolean for all that may be replaced
// or nothing, or names of it.
func (c *Config) overwrites(errs *[]error) harden.Overwrite {
	if on, err := strconv.ParseBool(c.Overwrite); err == nil {
		return harden.Overwrite{Config: on, Lists: on, Policies: on}
	}
	var o harden.Overwrite
	things := map[string]*bool{"config": &o.Config, "lists": &o.Lists, "policies": &o.Policies}
	for text := range strings.SplitSeq(c.Overwrite, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if thing, known := things[text]; known {
			*thing = true
			continue
		}
		*errs = append(*errs, fmt.Errorf("overwrite: found %q, which is none of config, lists, policies: write some of these, such as \"config,lists\", or true for all", safetext.Name(text)))
	}
	return o
}

// options turns the block into harden's options, without release and benchmark.
func (c *Config) options(errs *[]error) harden.Options {
	return harden.Options{
		Role:      k3s.Role(c.Role),
		Layout:    harden.Layout(c.ConfigLayout),
		Overwrite: c.overwrites(errs), K3sCommand: c.K3sCommand,
		PodSecurity: harden.PodSecurity{
			Enforce:              c.PodSecurity.Enforce,
			Audit:                c.PodSecurity.Audit,
			Warn:                 c.PodSecurity.Warn,
			Version:              c.PodSecurity.Version,
			Presets:              c.PodSecurity.Presets,
			ExemptNamespaces:     c.PodSecurity.ExemptNamespaces,
			ExemptUsernames:      c.PodSecurity.ExemptUsernames,
			ExemptRuntimeClasses: c.PodSecurity.ExemptRuntimeClasses,
			Policy:               readFile("pod_security.policy_file", c.PodSecurity.PolicyFile, errs),
		},
		Audit: harden.Audit{
			Profile:   c.Audit.Profile,
			Level:     c.Audit.Level,
			Policy:    readFile("audit.policy_file", c.Audit.PolicyFile, errs),
			LogPath:   c.Audit.LogPath,
			MaxAge:    c.Audit.MaxAge,
			MaxBackup: c.Audit.MaxBackup,
			MaxSize:   c.Audit.MaxSize,
		},
		EventRateLimit: c.EventRateLimit.limits(),
		NetworkPolicies: harden.NetworkPolicies{
			Namespaces:        c.NetworkPolicies.Namespaces,
			DenyDNS:           c.NetworkPolicies.AllowDNS.False(),
			DenyMetricsServer: c.NetworkPolicies.AllowMetricsServer.False(),
			DenyServiceLB:     c.NetworkPolicies.AllowServiceLB.False(),
			DenyTraefik:       c.NetworkPolicies.AllowTraefik.False(),
			Manifests:         c.NetworkPolicies.manifests(errs),
		},
		NoServiceAccounts: c.ServiceAccounts.False(),
		Sysctl:            c.Sysctl,
		Config:            c.k3sConfig(errs),
		Args: map[k3s.Component][]string{
			k3s.APIServer:         c.KubeAPIServerArgs,
			k3s.ControllerManager: c.KubeControllerManagerArgs,
			k3s.Scheduler:         c.KubeSchedulerArgs,
			k3s.Kubelet:           c.KubeletArgs,
		},
		SecretsEncryptionProvider: c.SecretsEncryptionProvider,
		PodMaxPids:                c.PodMaxPids,
		SeccompDefault:            choice(c.SeccompDefault),
		TLSCipherSuites:           c.TLSCipherSuites,
		DenyServiceExternalIPs:    choice(c.DenyServiceExternalIPs),
		StrictManifests:           c.StrictManifests,
	}
}

// choice is nil where the user made none.
func choice(t config.Trilean) *bool {
	if t == config.TriUnset {
		return nil
	}
	return t.ToBoolPointer()
}

// limits is nil where the block is absent: the plugin stays off.
func (e *EventRateLimitConfig) limits() []harden.RateLimit {
	if e == nil {
		return nil
	}
	if len(e.Limits) == 0 {
		return []harden.RateLimit{defaultRateLimit}
	}
	out := make([]harden.RateLimit, len(e.Limits))
	for i, l := range e.Limits {
		out[i] = harden.RateLimit(l)
	}
	return out
}

func (n NetworkPoliciesConfig) manifests(errs *[]error) []harden.File {
	var out []harden.File
	for i, name := range n.Manifests {
		if f := readFile(fmt.Sprintf("network_policies.manifests[%d]", i), name, errs); f != nil {
			out = append(out, *f)
		}
	}
	return out
}

// k3sConfig merges config_file and config; config wins. Messages never quote a
// value, since one may be a token.
func (c *Config) k3sConfig(errs *[]error) map[string]any {
	merged := map[string]any{}
	if file := readFile("config_file", c.K3sConfigFile, errs); file != nil {
		var doc yaml.Node
		if err := yaml.Unmarshal(file.Data, &doc); err != nil {
			line, what := safetext.YAMLFault(err)
			*errs = append(*errs, fmt.Errorf("config_file: %s: %s: write K3s configuration keys as YAML", k3s.Origin{Source: file.Name, Line: line}, what))
		} else if len(doc.Content) > 0 && doc.Content[0].Kind != yaml.MappingNode {
			*errs = append(*errs, fmt.Errorf("config_file: %s:%d: not a map: write K3s configuration keys as YAML", file.Name, doc.Content[0].Line))
		} else if err := doc.Decode(&merged); err != nil {
			line, what := safetext.YAMLFault(err)
			*errs = append(*errs, fmt.Errorf("config_file: %s: %s", k3s.Origin{Source: file.Name, Line: line}, what))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.K3sConfig)) {
		var value any
		if err := yaml.Unmarshal([]byte(c.K3sConfig[key]), &value); err != nil {
			*errs = append(*errs, fmt.Errorf("config[%q]: the value is not YAML: write a plain value, or a list with jsonencode", k3s.ShownKey(key)))
			continue
		}
		merged[key] = value
	}
	return merged
}
