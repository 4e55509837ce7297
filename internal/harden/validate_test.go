package harden

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestValidate has one wrong option a row: the one error names it as in HCL,
// what was found and what would be right.
func TestValidate(t *testing.T) {
	yes := true
	admission := func(plugins string) *File {
		return &File{Name: "psa.yaml", Data: []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n" + plugins)}
	}
	tests := []struct {
		name    string
		release string
		change  func(*Options)
		want    string // the start of the error
		right   string // what it says would be right
	}{
		{"level", "", func(o *Options) { o.PodSecurity.Enforce = "strict" }, `pod_security.enforce: "strict" is not one of`, "restricted"},
		{"audit level", "", func(o *Options) { o.PodSecurity.Audit = "x" }, `pod_security.audit: "x"`, "baseline"},
		{"warn level", "", func(o *Options) { o.PodSecurity.Warn = "x" }, `pod_security.warn: "x"`, "baseline"},
		{"version", "", func(o *Options) { o.PodSecurity.Version = "1.36" }, `pod_security.version: "1.36" is neither`, "v1.36"},
		{"preset", "", func(o *Options) { o.PodSecurity.Presets = []string{"rancher", "istio"} }, `pod_security.presets[1]: "istio"`, "rancher, longhorn, monitoring"},
		{"exempt namespace", "", func(o *Options) { o.PodSecurity.ExemptNamespaces = []string{"Kube_System"} }, `pod_security.exempt_namespaces[0]: "Kube_System"`, "lower case"},
		{"exempt user", "", func(o *Options) { o.PodSecurity.ExemptUsernames = []string{" "} }, "pod_security.exempt_usernames[0]: is empty", "system:serviceaccount"},
		{"exempt runtime class", "", func(o *Options) { o.PodSecurity.ExemptRuntimeClasses = []string{"a b"} }, `pod_security.exempt_runtime_classes[0]: "a b"`, "lower case"},
		{"own policy with an unknown field", "", func(o *Options) {
			o.PodSecurity.Policy = admission("- name: PodSecurity\n  configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, exempt: {}}\n")
		}, "pod_security.policy_file: psa.yaml:", "exemptions"},
		{"own policy and more", "", func(o *Options) {
			o.PodSecurity.Policy, o.PodSecurity.Enforce = admission("- {name: PodSecurity}\n"), "baseline"
		}, "pod_security.policy_file: is the whole policy", "leave one or the other out"},
		{"own policy and limits", "", func(o *Options) {
			o.PodSecurity.Policy = admission("- name: PodSecurity\n  configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration}\n")
			o.EventRateLimit = []RateLimit{{Type: "Server", QPS: 1, Burst: 1}}
		}, "event_rate_limit: cannot be put into pod_security.policy_file", "write the limits there"},
		{"Pod Security before it was", "v1.22.17+k3s1", func(o *Options) { o.PodSecurity.Enforce = "baseline" }, "pod_security: Kubernetes v1.22 has no", "leave the block out"},
		{"audit profile", "", func(o *Options) { o.Audit.Profile = "all" }, `audit.profile: "all" is not one of`, "recommended"},
		{"audit level", "", func(o *Options) { o.Audit.Level = "All" }, `audit.level: "All" is not one of`, "RequestResponse"},
		{"audit level None", "", func(o *Options) { o.Audit.Level = "None" }, "audit.level: None records nothing", "Metadata"},
		{"audit level of the other profile", "", func(o *Options) { o.Audit = Audit{Profile: "recommended", Level: "Request"} }, "audit.level: is for the profile metadata", ""},
		{"audit policy", "", func(o *Options) {
			o.Audit.Policy = &File{Name: "a.yaml", Data: []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Some}]\n")}
		}, "audit.policy_file: a.yaml", "Metadata"},
		{"audit policy and profile", "", func(o *Options) {
			o.Audit = Audit{Profile: "metadata", Policy: &File{Name: "a.yaml", Data: []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")}}
		}, "audit.policy_file: is the whole policy", "leave one or the other out"},
		{"audit log", "", func(o *Options) { o.Audit.LogPath = "logs/audit.log" }, `audit.log_path: "logs/audit.log" is not a plain absolute path`, "/var/lib"},
		{"audit age", "", func(o *Options) { o.Audit.MaxAge = -1 }, "audit.max_age: -1 is negative", "above 0"},
		{"audit backups", "", func(o *Options) { o.Audit.MaxBackup = -1 }, "audit.max_backup: -1 is negative", "above 0"},
		{"audit size", "", func(o *Options) { o.Audit.MaxSize = -1 }, "audit.max_size: -1 is negative", "above 0"},
		{"limit type", "", func(o *Options) { o.EventRateLimit = []RateLimit{{Type: "Node", QPS: 1, Burst: 1}} }, `event_rate_limit.limit[0].type: "Node"`, "SourceAndObject"},
		{"limit without type", "", func(o *Options) { o.EventRateLimit = []RateLimit{{QPS: 1, Burst: 1}} }, "event_rate_limit.limit[0].type: is missing", "Server"},
		{"limit qps", "", func(o *Options) { o.EventRateLimit = []RateLimit{{Type: "Server", Burst: 1}} }, "event_rate_limit.limit[0].qps: 0 is not above 0", "events a second"},
		{"limit burst", "", func(o *Options) {
			o.EventRateLimit = []RateLimit{{Type: "Server", QPS: 1, Burst: 1}, {Type: "User", QPS: 1, Burst: -5}}
		}, "event_rate_limit.limit[1].burst: -5 is not above 0", "at once"},
		{"limit cache", "", func(o *Options) { o.EventRateLimit = []RateLimit{{Type: "User", QPS: 1, Burst: 1, CacheSize: -1}} }, "event_rate_limit.limit[0].cache_size: -1", ""},
		{"limit too large", "", func(o *Options) { o.EventRateLimit = []RateLimit{{Type: "User", QPS: 1 << 40, Burst: 1}} }, "event_rate_limit.limit[0]: holds a number above 2147483647", ""},
		{"namespace", "", func(o *Options) { o.NetworkPolicies.Namespaces = []string{"a", "b/c"} }, `network_policies.namespaces[1]: "b/c"`, ""},
		{"manifest name", "", func(o *Options) { o.NetworkPolicies.Manifests = []File{{Name: "x/My_App.yaml"}} }, "network_policies.manifests[0]: x/My_App.yaml", ""},
		{"manifest ending", "", func(o *Options) { o.NetworkPolicies.Manifests = []File{{Name: `c:\a\b.txt`}} }, `network_policies.manifests[0]: c:\a\b.txt`, ".yaml"},
		{"manifest of K3s", "", func(o *Options) { o.NetworkPolicies.Manifests = []File{{Name: "coredns.yaml"}} }, "network_policies.manifests[0]: coredns.yaml", ""},
		{"manifest of ours", "", func(o *Options) { o.NetworkPolicies.Manifests = []File{{Name: "k3s-cis-network-policies.cis.yaml"}} }, "network_policies.manifests[0]:", "another name"},
		{"two manifests of one name", "", func(o *Options) {
			m := []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
			o.NetworkPolicies.Manifests = []File{{"a/policy.yaml", m}, {"b/policy.cis.yaml", m}}
		}, "network_policies.manifests[1]: b/policy.cis.yaml: K3s would take it and a/policy.yaml for one", "another name"},
		{"manifest content", "", func(o *Options) {
			o.NetworkPolicies.Manifests = []File{{"a.yaml", []byte("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {podselector: {}}\n")}}
		}, "network_policies.manifests[0]: a.yaml:", "podselector"},
		{"sysctl name", "", func(o *Options) { o.Sysctl = map[string]string{"-kernel.panic": "1"} }, `sysctl["-kernel.panic"]: is not the name`, "net.ipv4"},
		{"sysctl value", "", func(o *Options) { o.Sysctl = map[string]string{"vm.swappiness": "1\nkernel.panic=0"} }, `sysctl["vm.swappiness"]: `, "one line"},
		{"sysctl against the kubelet", "", func(o *Options) { o.Sysctl = map[string]string{"vm/overcommit_memory": "0"} }, `sysctl["vm/overcommit_memory"]: 0 contradicts`, "starts with 1 alone"},
		{"sysctl twice", "", func(o *Options) { o.Sysctl = map[string]string{"vm/swappiness": "1", "vm.swappiness": "2"} }, `sysctl["vm/swappiness"]: is the same parameter`, ""},
		{"config key", "", func(o *Options) { o.Config = map[string]any{"protect-kernel-default": true} }, `config["protect-kernel-default"]: K3s has no such key`, "protect-kernel-defaults"},
		{"config key twice", "", func(o *Options) { o.Config = map[string]any{"tls-san": "a", "tls-san+": "b"} }, `config["tls-san+"]: is the same key`, ""},
		{"config type", "", func(o *Options) { o.Config = map[string]any{"cluster-init": "yes"} }, `config["cluster-init"]: is neither true nor false`, ""},
		{"config number", "", func(o *Options) { o.Config = map[string]any{"https-listen-port": "six"} }, `config["https-listen-port"]: is not a number`, ""},
		{"config address", "", func(o *Options) { o.Config = map[string]any{"node-ip": []string{"10.0.0.1", "eth0"}} }, `config["node-ip"]: is not an IP address`, "10.0.0.10"},
		{"config network", "", func(o *Options) { o.Config = map[string]any{"cluster-cidr": "10.42"} }, `config["cluster-cidr"]: is not a network`, "10.42.0.0/16"},
		{"config port", "", func(o *Options) { o.Config = map[string]any{"https-listen-port": 66000} }, `config["https-listen-port"]: is not a port`, ""},
		{"config list", "", func(o *Options) { o.Config = map[string]any{"data-dir": []string{"/a"}} }, `config["data-dir"]: is a list`, "one value"},
		{"config map", "", func(o *Options) { o.Config = map[string]any{"tls-san": []any{map[string]any{}}} }, `config["tls-san"]: holds a map`, "a list of these"},
		{"config line break", "", func(o *Options) { o.Config = map[string]any{"node-name": "a\nb"} }, `config["node-name"]: holds a line break`, ""},
		{"config names another", "", func(o *Options) { o.Config = map[string]any{"config": "/a"} }, `config["config"]: a configuration file cannot name another`, ""},
		{"data directory", "", func(o *Options) { o.Config = map[string]any{"data-dir": "k3s/"} }, `config["data-dir"]: "k3s/" is not a plain absolute path`, ""},
		{"argument", "", func(o *Options) { o.Args = map[k3s.Component][]string{k3s.Kubelet: {"max pods=1"}} }, `kubelet_args: "(hidden)" is not a flag`, ""},
		{"argument with a line break", "", func(o *Options) { o.Args = map[k3s.Component][]string{k3s.Kubelet: {"node-labels=a\nb"}} }, "kubelet_args: node-labels holds a line break", ""},
		{"argument in the config map", "", func(o *Options) { o.Config = map[string]any{"kube-apiserver-arg": []any{"basic-auth-file=/a"}} }, "config.kube-apiserver-arg: ", "basic-auth-file"},
		{"provider", "", func(o *Options) { o.SecretsEncryptionProvider = "kms" }, `secrets_encryption_provider: "kms"`, "aescbc, secretbox"},
		{"provider before it was", "v1.31.7+k3s1", func(o *Options) { o.SecretsEncryptionProvider = "secretbox" }, "secrets_encryption_provider: K3s v1.31.7+k3s1 always encrypts", "v1.31.8"},
		{"pids", "", func(o *Options) { o.PodMaxPids = -1 }, "pod_max_pids: -1 is not a limit", "from 1"},
		{"seccomp before it was", "v1.24.17+k3s1", func(o *Options) { o.SeccompDefault = &yes }, "seccomp_default: the kubelet of Kubernetes v1.24 does not start", "v1.25"},
		{"cipher suite", "", func(o *Options) { o.TLSCipherSuites = []string{k3s.CipherSuites()[0], "AES256"} }, `tls_cipher_suites[1]: "AES256"`, k3s.CipherSuites()[0]},
		{"external IPs before they were", "v1.20.15+k3s1", func(o *Options) { o.DenyServiceExternalIPs = &yes }, "deny_service_external_ips: the API server", "v1.21"},
		{"release too old", "v1.16.3+k3s1", func(*Options) {}, "k3s_version: ", "v1.17"},
		{"release without configuration file", "v1.18.20+k3s1", func(*Options) {}, "k3s_version: K3s v1.18 reads no configuration file", "v1.19"},
		{"pod security of an agent", "", func(o *Options) { o.Role, o.PodSecurity.Enforce = k3s.Agent, "baseline" }, "pod_security: an agent runs no API server", "leave it out"},
		{"audit of an agent", "", func(o *Options) { o.Role, o.Audit.MaxAge = k3s.Agent, 40 }, "audit: an agent", "leave it out"},
		{"limits of an agent", "", func(o *Options) {
			o.Role, o.EventRateLimit = k3s.Agent, []RateLimit{{Type: "Server", QPS: 1, Burst: 1}}
		}, "event_rate_limit: an agent", "leave it out"},
		{"policies of an agent", "", func(o *Options) { o.Role, o.NetworkPolicies.Namespaces = k3s.Agent, []string{"a"} }, "network_policies: an agent", "leave it out"},
		{"encryption of an agent", "", func(o *Options) { o.Role, o.SecretsEncryptionProvider = k3s.Agent, "aescbc" }, "secrets_encryption_provider: an agent", "leave it out"},
		{"external IPs of an agent", "", func(o *Options) { o.Role, o.DenyServiceExternalIPs = k3s.Agent, &yes }, "deny_service_external_ips: an agent", "leave it out"},
		{"server's key on an agent", "", func(o *Options) { o.Role, o.Config = k3s.Agent, map[string]any{"cluster-init": true} }, `config["cluster-init"]: only a K3s server has this key`, "leave it out"},
		{"server's arguments on an agent", "", func(o *Options) {
			o.Role, o.Args = k3s.Agent, map[k3s.Component][]string{k3s.Scheduler: {"v=2"}}
		}, "kube_scheduler_args: an agent runs no kube-scheduler", "leave it out"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newest(t)
			if tt.release != "" {
				o.Release, o.Benchmark = release(t, tt.release), ""
			}
			tt.change(&o)
			errs := o.Validate()
			require.Len(t, errs, 1)
			assert.True(t, strings.HasPrefix(errs[0].Error(), tt.want), "%s\ndoes not begin with\n%s", errs[0], tt.want)
			require.ErrorContains(t, errs[0], tt.right)
			_, err := Make(o, nil)
			assert.ErrorContains(t, err, errs[0].Error(), "Make validates too")
		})
	}
}

// TestValidateAll wants every error at once, and none without a release that
// only a release can decide.
func TestValidateAll(t *testing.T) {
	o := Options{
		PodSecurity:    PodSecurity{Enforce: "x", Presets: []string{"y"}},
		Audit:          Audit{MaxAge: -1},
		EventRateLimit: []RateLimit{{}},
		Sysctl:         map[string]string{"a": "b"},
		Config:         map[string]any{"nope": 1, "token": "K10secret"},
		PodMaxPids:     -1,
	}
	errs := o.Validate()
	assert.Len(t, errs, 10)
	for _, err := range errs {
		assert.NotContains(t, err.Error(), "K10secret")
	}
	yes := true
	assert.Empty(t, Options{
		Role: k3s.Server, SeccompDefault: &yes, SecretsEncryptionProvider: "secretbox",
		PodSecurity: PodSecurity{Enforce: "baseline", Policy: nil}, Args: map[k3s.Component][]string{k3s.APIServer: {"insecure-port=0"}},
	}.Validate(),
		"without a release nothing is known against these")
}

// TestSecretsAreRefused: a secret in the image is in each of its copies.
func TestSecretsAreRefused(t *testing.T) {
	for _, key := range []string{"token", "t", "agent-token", "etcd-s3-secret-key", "vpn-auth"} {
		t.Run(key, func(t *testing.T) {
			o := newest(t)
			o.Config = map[string]any{key: "hunter2"}
			errs := o.Validate()
			require.Len(t, errs, 1)
			require.ErrorContains(t, errs[0], `config["`+key+`"]: a secret in the image`)
			assert.NotContains(t, errs[0].Error(), "hunter2")
		})
	}
	o := newest(t)
	o.Config = map[string]any{"datastore-endpoint": "postgres://k3s:hunter2@db.example.org/k3s"}
	require.Len(t, o.Validate(), 1)
	assert.NotContains(t, o.Validate()[0].Error(), "hunter2")
	o.Config = map[string]any{"token-file": "/run/k3s/token", "datastore-endpoint": "https://etcd.example.org:2379"}
	assert.Empty(t, o.Validate())
}
