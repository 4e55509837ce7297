package benchmark_test

import (
	"slices"
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

const weakCipher = "TLS_RSA_WITH_3DES_EDE_CBC_SHA"

// argumentMutants break arguments and K3s keys one at a time.
func argumentMutants() []mutant {
	var out []mutant
	for _, a := range []struct {
		control   string
		component k3s.Component
		argument  string
		also      []string
	}{
		{"apiserver.anonymous-auth", k3s.APIServer, "anonymous-auth=true", nil},
		{"apiserver.token-auth-file", k3s.APIServer, "token-auth-file=/etc/tokens.csv", nil},
		{"apiserver.kubelet-client-cert", k3s.APIServer, "kubelet-client-certificate=", nil},
		{"apiserver.kubelet-client-cert", k3s.APIServer, "kubelet-client-key=", nil},
		{"apiserver.kubelet-ca", k3s.APIServer, "kubelet-certificate-authority=", nil},
		{"apiserver.authz-not-alwaysallow", k3s.APIServer, "authorization-mode=Node,RBAC,AlwaysAllow", nil},
		{"apiserver.authz-node", k3s.APIServer, "authorization-mode=RBAC", nil},
		{"apiserver.authz-rbac", k3s.APIServer, "authorization-mode=Node", nil},
		{"apiserver.insecure-bind-address", k3s.APIServer, "insecure-bind-address=0.0.0.0", nil},
		{"apiserver.profiling", k3s.APIServer, "profiling=true", nil},
		{"apiserver.audit-log-maxage", k3s.APIServer, "audit-log-maxage=29", nil},
		{"apiserver.audit-log-maxbackup", k3s.APIServer, "audit-log-maxbackup=9", nil},
		{"apiserver.audit-log-maxsize", k3s.APIServer, "audit-log-maxsize=99", nil},
		{"apiserver.sa-lookup", k3s.APIServer, "service-account-lookup=false", nil},
		{"apiserver.sa-key-file", k3s.APIServer, "service-account-key-file=", nil},
		{"apiserver.tls-cert", k3s.APIServer, "tls-cert-file=", nil},
		{"apiserver.tls-cert", k3s.APIServer, "tls-private-key-file=", nil},
		{"apiserver.client-ca", k3s.APIServer, "client-ca-file=", nil},
		{"apiserver.tls-ciphers", k3s.APIServer, "tls-cipher-suites=" + weakCipher, nil},
		{"apiserver.sa-extend-token-expiration", k3s.APIServer, "service-account-extend-token-expiration=true", nil},
		{"kcm.terminated-pod-gc", k3s.ControllerManager, "terminated-pod-gc-threshold=0", nil},
		{"kcm.profiling", k3s.ControllerManager, "profiling=true", nil},
		{"kcm.use-sa-credentials", k3s.ControllerManager, "use-service-account-credentials=false", nil},
		{"kcm.sa-private-key", k3s.ControllerManager, "service-account-private-key-file=", nil},
		{"kcm.root-ca", k3s.ControllerManager, "root-ca-file=", nil},
		{"kcm.rotate-kubelet-server-cert", k3s.ControllerManager, "feature-gates=RotateKubeletServerCertificate=false", nil},
		{"kcm.bind-address", k3s.ControllerManager, "bind-address=0.0.0.0", nil},
		{"scheduler.profiling", k3s.Scheduler, "profiling=true", nil},
		{"scheduler.bind-address", k3s.Scheduler, "bind-address=0.0.0.0", nil},
		{"kubelet.anonymous-auth", k3s.Kubelet, "anonymous-auth=true", nil},
		{"kubelet.authz-not-alwaysallow", k3s.Kubelet, "authorization-mode=AlwaysAllow", nil},
		{"kubelet.client-ca", k3s.Kubelet, "client-ca-file=", nil},
		{"kubelet.read-only-port", k3s.Kubelet, "read-only-port=10255", nil},
		{"kubelet.streaming-idle-timeout", k3s.Kubelet, "streaming-connection-idle-timeout=0s", nil},
		{"kubelet.make-iptables-util-chains", k3s.Kubelet, "make-iptables-util-chains=false", nil},
		{"kubelet.event-qps", k3s.Kubelet, "event-qps=-1", []string{"node.k3s-starts"}},
		{"kubelet.tls-cert", k3s.Kubelet, "tls-cert-file=", nil},
		{"kubelet.tls-cert", k3s.Kubelet, "tls-private-key-file=", nil},
		{"kubelet.rotate-certificates", k3s.Kubelet, "rotate-certificates=false", nil},
		{"kubelet.rotate-server-certificate", k3s.Kubelet, "feature-gates=RotateKubeletServerCertificate=false", nil},
		{"kubelet.rotate-server-certificate", k3s.Kubelet, "feature-gates=RotateKubeletServerCertificate=False", nil},
		{"kubelet.rotate-server-certificate", k3s.Kubelet, "feature-gates=AllBeta=0", nil},
		{"kcm.rotate-kubelet-server-cert", k3s.ControllerManager, "feature-gates=RotateKubeletServerCertificate=F", nil},
		{"kubelet.tls-ciphers", k3s.Kubelet, "tls-cipher-suites=" + weakCipher, nil},
		{"kubeproxy.metrics-bind", k3s.KubeProxy, "metrics-bind-address=0.0.0.0:10249", nil},
		// Kubernetes of that time does not know the flag any more.
		{"apiserver.basic-auth-file", k3s.APIServer, "basic-auth-file=/etc/users.csv", []string{"node.k3s-starts"}},
		{"apiserver.insecure-port", k3s.APIServer, "insecure-port=8080", nil},
		{"apiserver.secure-port", k3s.APIServer, "secure-port=0", []string{"node.k3s-starts"}},
	} {
		out = append(out, mutant{
			control: a.control, also: fails(a.also...),
			breaks: func(t *testing.T, tr *tree) { tr.arg(t, a.component, a.argument) },
		})
	}
	return slices.Concat(out, pluginMutants(), choiceMutants(), configFileMutants(), etcdMutants(), encryptionMutants())
}

func with(plugin string) func([]string) []string {
	return func(list []string) []string { return append(list, plugin) }
}

func less(plugin string) func([]string) []string {
	return func(list []string) []string {
		return slices.DeleteFunc(list, func(s string) bool { return s == plugin })
	}
}

// pluginMutants change the lists of admission plugins.
func pluginMutants() []mutant {
	off := func(plugin string) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) {
			tr.plugins(t, less(plugin)) // naming it in both lists is another fault
			tr.arg(t, k3s.APIServer, "disable-admission-plugins="+plugin)
		}
	}
	return []mutant{
		{control: "apiserver.admission.no-alwaysadmit", breaks: func(t *testing.T, tr *tree) { tr.plugins(t, with("AlwaysAdmit")) }},
		{control: "apiserver.admission.serviceaccount", breaks: off("ServiceAccount")},
		{control: "apiserver.admission.namespacelifecycle", breaks: off("NamespaceLifecycle")},
		{control: "apiserver.admission.noderestriction", breaks: off("NodeRestriction")},
		{control: "apiserver.admission.noderestriction", breaks: func(t *testing.T, tr *tree) {
			// The trap of the guide: a value of one's own replaces K3s's.
			tr.plugins(t, less("NodeRestriction"))
		}},
		{control: "apiserver.deny-external-ips.unset", breaks: func(t *testing.T, tr *tree) { tr.plugins(t, with("DenyServiceExternalIPs")) }},
		{control: "apiserver.deny-external-ips.set", turns: benchmark.Manual, breaks: func(t *testing.T, tr *tree) { tr.plugins(t, less("DenyServiceExternalIPs")) }},
		{
			control: "apiserver.admission.alwayspullimages", turns: benchmark.Manual,
			given:  func(t *testing.T, tr *tree) { tr.plugins(t, with("AlwaysPullImages")) },
			breaks: func(t *testing.T, tr *tree) { tr.plugins(t, less("AlwaysPullImages")) },
		},
	}
}

// choiceMutants undo what CIS and the guide leave to the operator.
func choiceMutants() []mutant {
	return []mutant{
		{
			control: "apiserver.request-timeout", turns: benchmark.Manual,
			given: func(t *testing.T, tr *tree) { tr.arg(t, k3s.APIServer, "request-timeout=300s") },
			breaks: func(t *testing.T, tr *tree) {
				tr.args(t, k3s.APIServer, func(l []string) []string { return without(l, "request-timeout") })
			},
		},
		{control: "kubelet.pod-max-pids", turns: benchmark.Manual, breaks: func(t *testing.T, tr *tree) { tr.arg(t, k3s.Kubelet, "pod-max-pids=-1") }},
		{control: "kubelet.seccomp-default", turns: benchmark.Manual, breaks: func(t *testing.T, tr *tree) { tr.arg(t, k3s.Kubelet, "seccomp-default=false") }},
		{control: "kubelet.protect-kernel-defaults", breaks: func(t *testing.T, tr *tree) {
			tr.config(t, func(m map[string]any) { m["protect-kernel-defaults"] = false })
		}},
		{control: "netpol.cni-support", breaks: func(t *testing.T, tr *tree) {
			tr.config(t, func(m map[string]any) { m["disable-network-policy"] = true })
		}},
		{control: "netpol.cni-support", turns: benchmark.Manual, breaks: func(t *testing.T, tr *tree) {
			tr.config(t, func(m map[string]any) { m["flannel-backend"] = "none" })
		}},
	}
}

func withEtcd(t *testing.T, tr *tree) {
	tr.config(t, func(m map[string]any) { m["cluster-init"] = true })
}

// configFileMutants give components a configuration file that overrules flags.
func configFileMutants() []mutant {
	const file = "/etc/rancher/k3s/component.yaml"
	config := func(component k3s.Component, text string) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) {
			tr.arg(t, component, "config="+file)
			tr.file(file, 0o600, text)
		}
	}
	return []mutant{
		{control: "scheduler.profiling", given: config(k3s.Scheduler, "enableProfiling: false\n"), breaks: config(k3s.Scheduler, "leaderElection: {}\n")},
		{control: "kubeproxy.metrics-bind", given: config(k3s.KubeProxy, "mode: iptables\n"), breaks: config(k3s.KubeProxy, "metricsBindAddress: 0.0.0.0:10249\n")},
	}
}

// etcdMutants need a node whose datastore is embedded etcd.
func etcdMutants() []mutant {
	out := []mutant{
		{control: "apiserver.etcd-client-cert", given: withEtcd, breaks: func(t *testing.T, tr *tree) { tr.arg(t, k3s.APIServer, "etcd-certfile=") }},
		{control: "apiserver.etcd-client-cert", given: withEtcd, breaks: func(t *testing.T, tr *tree) { tr.arg(t, k3s.APIServer, "etcd-keyfile=") }},
		{control: "apiserver.etcd-ca", given: withEtcd, breaks: func(t *testing.T, tr *tree) { tr.arg(t, k3s.APIServer, "etcd-cafile=") }},
	}
	for _, e := range [][2]string{
		{"etcd.server-cert", "cert-file"},
		{"etcd.client-cert-auth", "client-cert-auth"},
		{"etcd.no-auto-tls", "auto-tls"},
		{"etcd.peer-cert", "peer-cert-file"},
		{"etcd.peer-client-cert-auth", "peer-client-cert-auth"},
		{"etcd.no-peer-auto-tls", "peer-auto-tls"},
		{"etcd.unique-ca", "trusted-ca-file"},
	} {
		out = append(out, mutant{
			control: e[0], given: withEtcd, from: benchmark.Deferred,
			breaks: func(t *testing.T, tr *tree) { tr.arg(t, k3s.Etcd, e[1]+"=x") },
		})
	}
	return out
}

const encryptionFile = "/etc/rancher/k3s/encryption.yaml"

// encryptionKey is a key of the 32 bytes that every provider takes.
const encryptionKey = "{keys: [{name: k, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}"

// ownEncryption gives the node an encryption configuration of its own.
func ownEncryption(providers string) func(*testing.T, *tree) {
	return func(t *testing.T, tr *tree) {
		tr.arg(t, k3s.APIServer, "encryption-provider-config="+encryptionFile)
		tr.file(encryptionFile, 0o600, "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers: "+providers+"\n")
	}
}

const kmsProvider = "{kms: {name: k, endpoint: \"unix:///run/kms.sock\", apiVersion: v2}}"

// ownKeyFails are the controls that a key of one's own concerns.
var ownKeyFails = fails("apiserver.encryption-config", "apiserver.encryption-provider", "node.hygiene.config-secrets")

func encryptionMutants() []mutant {
	return []mutant{
		{control: "apiserver.encryption-config", also: fails("apiserver.encryption-provider"), breaks: func(t *testing.T, tr *tree) {
			tr.config(t, func(m map[string]any) { delete(m, "secrets-encryption") })
		}},
		{control: "apiserver.encryption-provider", given: ownEncryption("[" + kmsProvider + "]"), breaks: ownEncryption("[{identity: {}}, " + kmsProvider + "]")},
		{control: "apiserver.encryption-provider", given: ownEncryption("[" + kmsProvider + "]"), breaks: removes(encryptionFile), also: fails("apiserver.encryption-config", "node.k3s-starts")},
		// A key of one's own is in every copy of the image, wherever it stands.
		{control: "apiserver.encryption-config", given: ownEncryption("[" + kmsProvider + "]"), breaks: ownEncryption("[{aescbc: " + encryptionKey + "}]"), also: ownKeyFails},
		{control: "apiserver.encryption-provider", given: ownEncryption("[" + kmsProvider + "]"), breaks: ownEncryption("[{secretbox: " + encryptionKey + "}]"), also: ownKeyFails},
		{control: "apiserver.encryption-provider", given: ownEncryption("[" + kmsProvider + "]"), breaks: ownEncryption("[" + kmsProvider + ", {aescbc: " + encryptionKey + "}]"), also: ownKeyFails},
		{
			control: "apiserver.encryption-provider", given: ownEncryption("[" + kmsProvider + "]"), also: ownKeyFails,
			breaks: ownEncryption("[" + kmsProvider + "]\n- resources: [configmaps]\n  providers: [{aesgcm: " + encryptionKey + "}]"),
		},
		{control: "apiserver.encryption-provider", from: benchmark.Deferred, also: fails("apiserver.encryption-config", "node.k3s-starts"), breaks: func(t *testing.T, tr *tree) {
			tr.arg(t, k3s.APIServer, "encryption-provider-config=no-such-file.yaml")
		}},
	}
}
