package kube

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func TestCheckArguments(t *testing.T) {
	for _, test := range []struct {
		name, minor string
		component   k3s.Component
		args        []k3s.Argument
		says        string // empty for nothing
		unreadable  bool
	}{
		{name: "the guide's kubelet", minor: "1.36", component: k3s.Kubelet, args: []k3s.Argument{
			{Name: "streaming-connection-idle-timeout", Value: "5m"},
			{Name: "make-iptables-util-chains", Value: "true"},
			{Name: "event-qps", Value: "0"},
			{Name: "pod-max-pids", Value: "4096"},
			{Name: "seccomp-default", Value: "true"},
			{Name: "tls-cipher-suites", Value: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"},
		}},
		{name: "the guide's controller manager", minor: "1.36", component: k3s.ControllerManager, args: []k3s.Argument{{Name: "terminated-pod-gc-threshold", Value: "100"}, {Name: "use-service-account-credentials", Value: "true"}}},
		{name: "underscores", minor: "1.36", component: k3s.Kubelet, args: []k3s.Argument{{Name: "event_qps", Value: "0"}}},
		{name: "etcd has no flags", minor: "1.36", component: k3s.Etcd, args: []k3s.Argument{{Name: "any-thing", Value: "x"}}},
		{name: "K3s's own", minor: "1.36", component: k3s.Kubelet, args: []k3s.Argument{{Name: "no-flag-of-the-kubelet", Value: "x", Origin: k3s.Origin{Default: true}}}},
		{name: "port of the controller manager, then", minor: "1.23", component: k3s.ControllerManager, args: []k3s.Argument{{Name: "port", Value: "0"}}},
		{
			name: "port of the controller manager, now", minor: "1.24", component: k3s.ControllerManager, args: []k3s.Argument{{Name: "port", Value: "0"}},
			says: "unknown flag: --port (Kubernetes v1.24 removed it, and this is v1.24); take it out, the insecure port is gone",
		},
		{
			name: "address of the scheduler", minor: "1.36", component: k3s.Scheduler, args: []k3s.Argument{{Name: "address", Value: "127.0.0.1"}},
			says: "unknown flag: --address (Kubernetes v1.24 removed it, and this is v1.36); write bind-address",
		},
		{name: "port of the kubelet lives", minor: "1.36", component: k3s.Kubelet, args: []k3s.Argument{{Name: "port", Value: "10250"}}},
		{name: "container-runtime", minor: "1.27", component: k3s.Kubelet, args: []k3s.Argument{{Name: "container-runtime", Value: "remote"}}, says: "Kubernetes v1.27 removed it"},
		{name: "container-runtime, before", minor: "1.26", component: k3s.Kubelet, args: []k3s.Argument{{Name: "container-runtime", Value: "remote"}}},
		{name: "cni-bin-dir", minor: "1.24", component: k3s.Kubelet, args: []k3s.Argument{{Name: "cni-bin-dir", Value: "/opt/cni/bin"}}, says: "take it out, K3s's containerd sets up the network"},
		{name: "not there yet", minor: "1.21", component: k3s.Kubelet, args: []k3s.Argument{{Name: "seccomp-default", Value: "true"}}, says: "unknown flag: --seccomp-default (it came with Kubernetes v1.22, and this is v1.21)"},
		{
			name: "another component's", minor: "1.36", component: k3s.APIServer, args: []k3s.Argument{{Name: "terminated-pod-gc-threshold", Value: "10"}},
			says: "unknown flag: --terminated-pod-gc-threshold (kube-apiserver has none of that name); it is a flag of kube-controller-manager: put it under kube-controller-manager-arg",
		},
		{name: "misspelt", minor: "1.36", component: k3s.Kubelet, args: []k3s.Argument{{Name: "evnt-qps", Value: "0"}}, says: "unknown flag: --evnt-qps (kubelet has none of that name); write event-qps"},
		{name: "nothing like it", minor: "1.36", component: k3s.KubeProxy, args: []k3s.Argument{{Name: "fast", Value: "true"}}, says: "unknown flag: --fast (kube-proxy has none of that name); take it out"},
		{name: "newer release", minor: "1.38", component: k3s.Kubelet, args: []k3s.Argument{{Name: "fresh-flag", Value: "true"}}, says: "--fresh-flag is not a flag of kubelet from v1.20 to v1.37, and what v1.38 has is not known here", unreadable: true},
		{name: "newer release, removed flag", minor: "1.38", component: k3s.Kubelet, args: []k3s.Argument{{Name: "container-runtime", Value: "remote"}}, says: "unknown flag: --container-runtime"},
		{name: "older release", minor: "1.19", component: k3s.APIServer, args: []k3s.Argument{{Name: "basic-auth-file", Value: "/x"}}, says: "what v1.19 has is not known here", unreadable: true},
		{name: "number", minor: "1.36", component: k3s.Kubelet, args: []k3s.Argument{{Name: "pod-max-pids", Value: "many"}}, says: `invalid argument "(hidden)" for "--pod-max-pids" flag: it is a number`},
		{name: "number too large", minor: "1.36", component: k3s.Kubelet, args: []k3s.Argument{{Name: "event-qps", Value: "9999999999"}}, says: `invalid argument "9999999999" for "--event-qps" flag`},
		{name: "address", minor: "1.36", component: k3s.Scheduler, args: []k3s.Argument{{Name: "bind-address", Value: "localhost"}}, says: `invalid argument "(hidden)" for "--bind-address" flag: it is an IP address`},
		{name: "unsigned number", minor: "1.36", component: k3s.KubeProxy, args: []k3s.Argument{{Name: "kube-api-burst", Value: "-"}}, says: "it is a number"},
		{name: "what the API server's rules take", minor: "1.36", component: k3s.APIServer, args: []k3s.Argument{{Name: "authorization-mode", Value: "Node,RBAC"}, {Name: "tls-min-version", Value: "VersionTLS12"}, {Name: "request-timeout", Value: "0"}, {Name: "bind-address", Value: "::1"}, {Name: "advertise-address", Value: ""}}},
		{name: "fraction", minor: "1.36", component: k3s.KubeProxy, args: []k3s.Argument{{Name: "kube-api-qps", Value: "x"}}, says: `invalid argument "(hidden)" for "--kube-api-qps" flag`},
		{name: "boolean without a value", minor: "1.36", component: k3s.Kubelet, args: []k3s.Argument{{Name: "protect-kernel-defaults", Value: ""}}, says: `invalid argument "" for "--protect-kernel-defaults" flag: it is true or false`},
		{name: "negative rate of events", minor: "1.36", component: k3s.Kubelet, args: []k3s.Argument{{Name: "event-qps", Value: "-1"}}, says: "--event-qps -1 must not be a negative number"},
		{name: "last value counts", minor: "1.36", component: k3s.Kubelet, args: []k3s.Argument{{Name: "event-qps", Value: "-1"}, {Name: "event-qps", Value: "1"}}},
		{name: "every item of a list counts", minor: "1.36", component: k3s.Kubelet, args: []k3s.Argument{{Name: "tls-cipher-suites", Value: "TLS_FOO"}, {Name: "tls-cipher-suites", Value: "TLS_AES_128_GCM_SHA256"}}, says: "Cipher suite TLS_FOO not supported or doesn't exist"},
		{name: "mode twice", minor: "1.36", component: k3s.APIServer, args: []k3s.Argument{{Name: "authorization-mode", Value: "Node,RBAC"}, {Name: "authorization-mode", Value: "RBAC"}}, says: "has mode specified more than once"},
		{name: "negative request-timeout", minor: "1.36", component: k3s.APIServer, args: []k3s.Argument{{Name: "request-timeout", Value: "-1s"}}, says: "--request-timeout can not be negative value"},
		{name: "TLS version", minor: "1.36", component: k3s.Scheduler, args: []k3s.Argument{{Name: "tls-min-version", Value: "TLS12"}}, says: `unknown tls version "(hidden)"; it is one of VersionTLS10`},
		{name: "plugin in another case", minor: "1.36", component: k3s.APIServer, args: []k3s.Argument{{Name: "enable-admission-plugins", Value: "noderestriction"}}, says: `plugin "noderestriction" is unknown; write NodeRestriction`},
		{name: "PodSecurityPolicy while it lives", minor: "1.24", component: k3s.APIServer, args: []k3s.Argument{{Name: "enable-admission-plugins", Value: "NodeRestriction,PodSecurityPolicy,NamespaceLifecycle,ServiceAccount"}}},
		{name: "PodSecurityPolicy after", minor: "1.25", component: k3s.APIServer, args: []k3s.Argument{{Name: "enable-admission-plugins", Value: "PodSecurityPolicy"}}, says: "Kubernetes v1.25 removed it, and this is v1.25; take it out, Pod Security Admission stands in its place"},
		{name: "SecurityContextDeny while it lives", minor: "1.29", component: k3s.APIServer, args: []k3s.Argument{{Name: "enable-admission-plugins", Value: "SecurityContextDeny"}}},
		{name: "plugin that is not there yet", minor: "1.20", component: k3s.APIServer, args: []k3s.Argument{{Name: "enable-admission-plugins", Value: "DenyServiceExternalIPs"}}, says: "it came with Kubernetes v1.21, and this is v1.20"},
		{name: "plugin of a newer release", minor: "1.38", component: k3s.APIServer, args: []k3s.Argument{{Name: "enable-admission-plugins", Value: "Fresh"}}, says: `plugin "Fresh" is unknown up to Kubernetes v1.37`, unreadable: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := CheckArguments(release(t, test.minor), test.component, test.args)
			if test.says == "" {
				assert.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			assert.Contains(t, got[0].Text, test.says)
			want := k3s.Fatal
			if test.unreadable {
				want = k3s.Unreadable
			}
			assert.Equal(t, want, got[0].Consequence)
		})
	}
}

// TestFlagTable keeps the embedded table readable by the code.
func TestFlagTable(t *testing.T) {
	kinds := map[string]bool{"bool": true, "int": true, "int32": true, "int64": true, "uint": true, "float": true, "duration": true, "ip": true, "list": true, "text": true}
	for component, least := range map[k3s.Component]int{k3s.APIServer: 200, k3s.ControllerManager: 160, k3s.Scheduler: 80, k3s.Kubelet: 190, k3s.KubeProxy: 70} {
		assert.GreaterOrEqual(t, len(flags()[component]), least, "%s", component)
		for name, f := range flags()[component] {
			assert.True(t, kinds[f.kind], "%s %s", component, name)
			assert.True(t, f.span.until == 0 || f.span.until > f.span.since, "%s %s", component, name)
		}
		for name := range rules[component] {
			assert.Contains(t, flags()[component], name)
		}
	}
}

// TestAPIServerUnreadable says that what nobody looked at is no pass.
func TestAPIServerUnreadable(t *testing.T) {
	args := Trial{}.Arguments()
	s := APIServer{Release: release(t, "1.36"), DataDir: "/data", Args: args}
	for name, test := range map[string]struct {
		files map[string][]byte
		says  []string
	}{
		"neither file": {map[string][]byte{trialAdmission: nil, trialAudit: nil}, []string{`unable to read admission control configuration from "/etc/rancher/k3s/psa.yaml": nobody looked`, "nobody looked"}},
		"a plugin's file": {
			map[string][]byte{trialAudit: []byte(metadataPolicy), trialOther: nil, trialAdmission: []byte(restricted + "- name: EventRateLimit\n  path: other.yaml\n")},
			[]string{"couldn't open admission plugin configuration /etc/rancher/k3s/other.yaml: nobody looked"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.ReadFile = files(test.files)
			got := CheckAPIServer(s)
			require.Len(t, got, len(test.says))
			for i, p := range got {
				assert.Equal(t, k3s.Unreadable, p.Consequence)
				assert.Contains(t, p.Text, test.says[i])
			}
		})
	}
}

func TestAPIServerPaths(t *testing.T) {
	good := map[string][]byte{"/data/server/psa.yaml": []byte(restricted)}
	args := []k3s.Argument{{Name: "admission_control_config_file", Value: "psa.yaml"}}
	assert.Empty(t, CheckAPIServer(APIServer{Release: release(t, "1.36"), DataDir: "/data", Args: args, ReadFile: files(good)}))
	assert.Len(t, CheckAPIServer(APIServer{Release: release(t, "1.36"), DataDir: "/elsewhere", Args: args, ReadFile: files(good)}), 1)
}

func TestAlwaysPullImages(t *testing.T) {
	s := APIServer{Release: release(t, "1.36"), ReadFile: files(nil), Args: []k3s.Argument{{Name: "enable-admission-plugins", Value: "NodeRestriction,AlwaysPullImages"}}}
	assert.Empty(t, CheckAPIServer(s))
	s.PreloadedImages = "/var/lib/rancher/k3s/agent/images"
	got := CheckAPIServer(s)
	require.Len(t, got, 1)
	assert.Equal(t, k3s.Fatal, got[0].Consequence)
	assert.Contains(t, got[0].Text, "the images kept in /var/lib/rancher/k3s/agent/images are of no use")
	s.Args = []k3s.Argument{{Name: "enable-admission-plugins", Value: "NodeRestriction"}}
	assert.Empty(t, CheckAPIServer(s))
}

// TestLoaders: who loads the files itself is asked, with the file and what is
// in it, and what it says counts.
func TestLoaders(t *testing.T) {
	content := map[string][]byte{trialAdmission: []byte(restricted), trialAudit: []byte(metadataPolicy)}
	args := []k3s.Argument{{Name: "admission-control-config-file", Value: trialAdmission}, {Name: "audit-policy-file", Value: trialAudit}}
	var asked []string
	s := APIServer{
		Release: release(t, "1.36"), Args: args, ReadFile: files(content),
		Admission: func(file string, data []byte) (*Admission, error) {
			asked = append(asked, file)
			assert.Equal(t, content[file], data)
			return nil, &Error{File: file, Line: 1, Text: "no admission"}
		},
		Audit: func(file string, data []byte) (*AuditPolicy, error) {
			asked = append(asked, file)
			assert.Equal(t, content[file], data)
			return nil, &Error{File: file, Line: 1, Text: "no audit"}
		},
	}
	var texts []string
	for _, p := range CheckAPIServer(s) {
		texts = append(texts, p.Text)
	}
	assert.Equal(t, []string{"no admission", "no audit"}, texts)
	assert.Equal(t, []string{trialAdmission, trialAudit}, asked)
}
