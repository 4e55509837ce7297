package kube

import (
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// SecretFile is a flag that names a file with a secret in it.
type SecretFile struct {
	Component k3s.Component
	Flag      string
	// Whole says that the file is nothing but a secret.
	Whole bool
}

// SecretFiles returns the flags that name files which are keys, or hold some
// (the descriptions of the components' flags).
func SecretFiles() []SecretFile {
	return []SecretFile{
		{k3s.APIServer, "encryption-provider-config", false},
		{k3s.APIServer, "token-auth-file", true},
		{k3s.APIServer, "authentication-token-webhook-config-file", false},
		{k3s.APIServer, "authorization-webhook-config-file", false},
		{k3s.APIServer, "audit-webhook-config-file", false},
		{k3s.APIServer, "service-account-signing-key-file", true},
		{k3s.APIServer, "tls-private-key-file", true},
		{k3s.APIServer, "etcd-keyfile", true},
		{k3s.APIServer, "ssh-keyfile", true},
		{k3s.APIServer, "kubelet-client-key", true},
		{k3s.APIServer, "proxy-client-key-file", true},
		{k3s.ControllerManager, "service-account-private-key-file", true},
		{k3s.ControllerManager, "cluster-signing-key-file", true},
		{k3s.ControllerManager, "cluster-signing-kube-apiserver-client-key-file", true},
		{k3s.ControllerManager, "cluster-signing-kubelet-client-key-file", true},
		{k3s.ControllerManager, "cluster-signing-kubelet-serving-key-file", true},
		{k3s.ControllerManager, "cluster-signing-legacy-unknown-key-file", true},
		{k3s.ControllerManager, "tls-private-key-file", true},
		{k3s.ControllerManager, "kubeconfig", false},
		{k3s.ControllerManager, "authentication-kubeconfig", false},
		{k3s.ControllerManager, "authorization-kubeconfig", false},
		{k3s.Scheduler, "tls-private-key-file", true},
		{k3s.Scheduler, "kubeconfig", false},
		{k3s.Scheduler, "authentication-kubeconfig", false},
		{k3s.Scheduler, "authorization-kubeconfig", false},
		{k3s.Etcd, "key-file", true},
		{k3s.Etcd, "peer-key-file", true},
		{k3s.Kubelet, "tls-private-key-file", true},
		{k3s.Kubelet, "kubeconfig", false},
		{k3s.Kubelet, "bootstrap-kubeconfig", false},
		{k3s.Kubelet, "experimental-bootstrap-kubeconfig", false},
		{k3s.KubeProxy, "kubeconfig", false},
	}
}

// SNIKeyFlag is the flag of pairs of a certificate and its key.
const SNIKeyFlag = "tls-sni-cert-key"

// SNIFiles takes a value of SNIKeyFlag apart: "certificate,key", which names may
// follow behind a colon (k8s.io/component-base/cli/flag.NamedCertKey).
func SNIFiles(value string) (certificate, key string) {
	files, _, _ := strings.Cut(value, ":")
	certificate, key, _ = strings.Cut(files, ",")
	return strings.TrimSpace(certificate), strings.TrimSpace(key)
}
