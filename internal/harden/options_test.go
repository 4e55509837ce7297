package harden

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestOptionsWin: what the user asks for is done, and said where it contradicts
// the guide.
func TestOptionsWin(t *testing.T) {
	o := newest(t)
	o.Config = map[string]any{"protect-kernel-defaults": false, "d": "/data/k3s"}
	o.Args = map[k3s.Component][]string{
		k3s.Kubelet:   {"streaming-connection-idle-timeout=0", "pod-max-pids=100", "feature-gates=AllAlpha=true", "feature-gates=AllBeta=true"},
		k3s.APIServer: {"audit-log-maxage=60"},
	}
	plan, err := Make(o, nil)
	require.NoError(t, err)
	data := planned(t, plan, k3s.ConfigFile)
	for _, l := range []string{
		"protect-kernel-defaults: false\n", "data-dir: /data/k3s\n", "  - streaming-connection-idle-timeout=0\n",
		"  - pod-max-pids=100\n", "  - feature-gates=AllAlpha=true\n  - feature-gates=AllBeta=true\n", "  - audit-log-maxage=60\n",
	} {
		assert.Contains(t, data, l)
	}
	assert.NotContains(t, data, "idle-timeout=5m")
	assert.Contains(t, planned(t, plan, "/data/k3s/server/manifests/k3s-cis-network-policies.yaml"), "intra-namespace")
	warnings := strings.Join(plan.Warnings, "\n")
	assert.Contains(t, warnings, "config.protect-kernel-defaults sets false, where the guide wants true")
	assert.Contains(t, warnings, "kubelet_args sets streaming-connection-idle-timeout=0, where the guide wants 5m")
	assert.Len(t, plan.Warnings, 2, "a stronger or free choice is no contradiction")
}

// TestChoices has what follows from release and benchmark.
func TestChoices(t *testing.T) {
	yes, no := true, false
	tests := []struct {
		name, release, benchmark string
		options                  func(*Options)
		plugins                  string
		seccomp                  bool
	}{
		{"CIS 1.8 wants DenyServiceExternalIPs absent", "v1.26.15+k3s1", "cis-1.8", nil, "", false},
		{"CIS 1.9 wants it", "v1.27.16+k3s1", "cis-1.9", nil, "NodeRestriction,DenyServiceExternalIPs", false},
		{"CIS 1.10 is newer than 1.9", "v1.28.15+k3s1", "cis-1.10", nil, "NodeRestriction,DenyServiceExternalIPs", false},
		{"CIS 1.11 begins with seccomp", "v1.29.15+k3s1", "cis-1.11", nil, "NodeRestriction,DenyServiceExternalIPs", true},
		{"CIS 2.0", "v1.35.1+k3s1", "cis-2.0", nil, "NodeRestriction,DenyServiceExternalIPs", true},
		{"the user says no", "v1.36.3+k3s1", "cis-2.1", func(o *Options) { o.DenyServiceExternalIPs, o.SeccompDefault = &no, &no }, "", false},
		{"the user says yes", "v1.26.15+k3s1", "cis-1.8", func(o *Options) { o.DenyServiceExternalIPs, o.SeccompDefault = &yes, &yes }, "NodeRestriction,DenyServiceExternalIPs", true},
		{"limits enable their plugin", "v1.26.15+k3s1", "cis-1.8", func(o *Options) { o.EventRateLimit = []RateLimit{{"Server", 1, 1, 0}} }, "NodeRestriction,EventRateLimit", false},
		{
			"limits beside PodSecurityPolicies", "v1.24.17+k3s1", "cis-1.24", func(o *Options) { o.EventRateLimit = []RateLimit{{"Server", 1, 1, 0}} },
			"NodeRestriction,PodSecurityPolicy,NamespaceLifecycle,ServiceAccount,EventRateLimit", false,
		},
		{"limits in the user's own policy", "v1.26.15+k3s1", "cis-1.8", func(o *Options) {
			o.PodSecurity.Policy = &File{"psa.yaml", []byte(`apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: EventRateLimit
  configuration: {apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{type: Server, qps: 1, burst: 1}]}
`)}
		}, "NodeRestriction,EventRateLimit", false},
		{"a plugin of the user's joins", "v1.26.15+k3s1", "cis-1.8", func(o *Options) {
			o.Args = map[k3s.Component][]string{k3s.APIServer: {"enable-admission-plugins+=AlwaysPullImages"}}
		}, "NodeRestriction,AlwaysPullImages", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Release: release(t, tt.release), Role: k3s.Server, Benchmark: tt.benchmark}
			if tt.options != nil {
				tt.options(&o)
			}
			plan, err := Make(o, nil)
			require.NoError(t, err)
			data := planned(t, plan, k3s.ConfigFile)
			if tt.plugins == "" {
				assert.NotContains(t, data, "enable-admission-plugins")
			} else {
				assert.Contains(t, data, "  - enable-admission-plugins="+tt.plugins+"\n")
			}
			assert.Equal(t, tt.seccomp, strings.Contains(data, "seccomp-default=true"))
		})
	}
}

// TestPresets: each preset exempts its namespaces, beside the guide's.
func TestPresets(t *testing.T) {
	for preset, want := range map[string]string{"rancher": "cattle-system", "longhorn": "longhorn-system", "monitoring": "monitoring"} {
		o := newest(t)
		plan, err := Make(o, nil)
		require.NoError(t, err)
		assert.NotContains(t, planned(t, plan, k3s.PodSecurityFile), "- "+want+"\n")
		o.PodSecurity.Presets = []string{preset}
		plan, err = Make(o, nil)
		require.NoError(t, err)
		assert.Contains(t, planned(t, plan, k3s.PodSecurityFile), "- "+want+"\n")
		assert.Contains(t, planned(t, plan, k3s.PodSecurityFile), "- kube-system\n")
	}
}

// TestWarnings has configurations that take the effect from what is baked.
func TestWarnings(t *testing.T) {
	for config, want := range map[string]string{
		"disable-network-policy: true\n": "/etc/rancher/k3s/config.yaml:1: disable-network-policy switches K3s's policy controller off",
		"flannel-backend: none\n":        "/etc/rancher/k3s/config.yaml:1: flannel-backend is none",
	} {
		o := newest(t)
		plan, err := Make(o, having(t, o, map[string]string{k3s.ConfigFile: config}))
		require.NoError(t, err)
		require.Len(t, plan.Warnings, 1)
		assert.Contains(t, plan.Warnings[0], want)
	}
	o := newest(t)
	o.Release.Minor = k3s.NewestMinor + 1
	plan, err := Make(o, nil)
	require.NoError(t, err)
	require.Len(t, plan.Warnings, 1)
	assert.Contains(t, plan.Warnings[0], "is newer than the newest release line known here")

	o = newest(t)
	plan, err = Make(o, having(t, o, map[string]string{k3s.ConfigFile: "server: https://a:6443\ntoken-file: /run/t\n"}))
	require.NoError(t, err)
	assert.Contains(t, strings.Join(plan.Notes, "\n"), "this server joins others")
}

// TestPathsByArguments: where the user's arguments put the API server's files,
// there the plan puts them.
func TestPathsByArguments(t *testing.T) {
	o := newest(t)
	o.Config = map[string]any{"kube-apiserver-arg": []any{"audit-policy-file=/opt/k3s/audit.yaml"}}
	o.Args = map[k3s.Component][]string{k3s.APIServer: {"admission-control-config-file=cis/psa.yaml", "audit-log-path=/var/log/k3s/audit.log"}}
	plan, err := Make(o, nil)
	require.NoError(t, err)
	assert.Contains(t, planned(t, plan, "/opt/k3s/audit.yaml"), "level: Metadata")
	assert.Contains(t, planned(t, plan, "/var/lib/rancher/k3s/server/cis/psa.yaml"), "restricted", "relative to K3s's server directory")
	mode, ok := modeOf(plan, "/var/log/k3s")
	assert.True(t, ok)
	assert.Equal(t, "0700", octal(mode))
	assert.Contains(t, planned(t, plan, k3s.ConfigFile), "  - admission-control-config-file=cis/psa.yaml\n")
	assert.Empty(t, plan.Warnings)
}
