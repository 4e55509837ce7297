package benchmark

import (
	"bytes"
	"path"
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// namedSecret is a file that K3s's configuration names because of the secret in
// it.
type namedSecret struct {
	path string
	// by is the key or flag that names it.
	by string
	// whole is true for a file that is nothing but a secret.
	whole bool
}

// secretFlags are the flags that name files which are keys, or hold some.
var secretFlags = []struct {
	component k3s.Component
	flag      string
	whole     bool
}{
	{k3s.APIServer, "encryption-provider-config", false},
	{k3s.APIServer, "token-auth-file", true},
	{k3s.APIServer, "authentication-token-webhook-config-file", false},
	{k3s.APIServer, "authorization-webhook-config-file", false},
	{k3s.APIServer, "audit-webhook-config-file", false},
	{k3s.APIServer, "service-account-signing-key-file", true},
	{k3s.APIServer, "tls-private-key-file", true},
	{k3s.APIServer, "etcd-keyfile", true},
	{k3s.APIServer, "kubelet-client-key", true},
	{k3s.APIServer, "proxy-client-key-file", true},
	{k3s.ControllerManager, "service-account-private-key-file", true},
	{k3s.ControllerManager, "cluster-signing-key-file", true},
	{k3s.ControllerManager, "kubeconfig", false},
	{k3s.Scheduler, "kubeconfig", false},
	{k3s.Kubelet, "kubeconfig", false},
	{k3s.Kubelet, "bootstrap-kubeconfig", false},
	{k3s.Kubelet, "tls-private-key-file", true},
	{k3s.KubeProxy, "kubeconfig", false},
}

// namedSecrets lists the files with secrets that the node's own configuration
// names: by keys and variables of K3s's, and by flags of its components.
func (x *examination) namedSecrets() []namedSecret {
	e := x.in.Effective
	if e == nil {
		return nil
	}
	var out []namedSecret
	for _, key := range k3s.SecretFileKeys() {
		if file := e.Text(key); path.IsAbs(file) {
			out = append(out, namedSecret{path.Clean(file), key, true})
		}
	}
	for _, f := range secretFlags {
		value, from, set := e.Flag(f.component, f.flag)
		if set && value != "" && slices.ContainsFunc(from, func(a k3s.Argument) bool { return !a.Origin.Default }) {
			out = append(out, namedSecret{x.absolute(value), "--" + f.flag, f.whole})
		}
	}
	if file := x.registries(); file != k3s.RegistriesFile {
		out = append(out, namedSecret{file, k3s.PrivateRegistryKey, false})
	}
	return out
}

// registries is the file with the registries' passwords.
func (x *examination) registries() string {
	if e := x.in.Effective; e != nil && path.IsAbs(e.Text(k3s.PrivateRegistryKey)) {
		return path.Clean(e.Text(k3s.PrivateRegistryKey))
	}
	return k3s.RegistriesFile
}

func (x *examination) secretsInNamedFiles() ([]Evidence, string) {
	var out []Evidence
	for _, f := range x.namedSecrets() {
		if f.by == k3s.PrivateRegistryKey {
			continue // a control of its own
		}
		files, problem := x.files(f.path)
		if problem != "" {
			return nil, problem
		}
		for _, file := range files {
			switch {
			case f.whole && len(bytes.TrimSpace(file.Data)) > 0:
				out = append(out, Evidence{f.path, 0, "has a secret, since " + f.by + " names it (not shown)"})
			case !f.whole:
				out = append(out, searchSecrets(f.path, file.Data)...)
			}
		}
	}
	return out, ""
}
