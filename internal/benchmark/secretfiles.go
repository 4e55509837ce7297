package benchmark

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
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

// namedSecrets lists the files with secrets that the node's own configuration
// names: by keys and variables of K3s's, and by flags of its components.
func (x *examination) namedSecrets() []namedSecret {
	e := x.in.Effective
	if e == nil {
		return nil
	}
	var out []namedSecret
	for _, key := range k3s.SecretFileKeys() {
		if file := e.Text(key); file != "" && !strings.HasPrefix(file, "/dev/") {
			out = append(out, namedSecret{x.fromStart(file), key, true})
		}
	}
	if file := e.Text("image-credential-provider-config"); file != "" {
		out = append(out, namedSecret{x.fromStart(file), "image-credential-provider-config", false})
	}
	for _, f := range kube.SecretFiles() {
		value, from, set := e.Flag(f.Component, f.Flag)
		if set && value != "" && slices.ContainsFunc(from, func(a k3s.Argument) bool { return !a.Origin.Default }) {
			out = append(out, namedSecret{x.absolute(value), "--" + f.Flag, f.Whole})
		}
	}
	for _, c := range components {
		for _, a := range e.Args[c] {
			if strings.ReplaceAll(a.Name, "_", "-") != kube.SNIKeyFlag || a.Origin.Default {
				continue
			}
			if _, key := kube.SNIFiles(a.Value); key != "" {
				out = append(out, namedSecret{x.absolute(key), "--" + kube.SNIKeyFlag, true})
			}
		}
	}
	for _, file := range x.registryKeyFiles() {
		out = append(out, namedSecret{file, "key_file of a registry", true})
	}
	for _, c := range x.serviceCredentials() {
		if c.File != "" && !madeAtBoot(c.File) {
			out = append(out, namedSecret{c.File, "LoadCredential", true})
		}
	}
	if file := x.registries(); file != k3s.RegistriesFile {
		out = append(out, namedSecret{file, k3s.PrivateRegistryKey, false})
	}
	return out
}

// serviceCredential is a credential that a file of K3s's service gives it.
type serviceCredential struct {
	service.Credential
	in string
}

func (x *examination) serviceCredentials() []serviceCredential {
	s := x.in.Effective.Service
	if s == nil {
		return nil
	}
	var out []serviceCredential
	for _, p := range append([]string{s.Path}, s.Files...) {
		e, _ := x.node().Lookup(p)
		if ext := path.Ext(p); ext != ".service" && ext != ".conf" {
			continue
		}
		for _, c := range service.Credentials(string(e.Data)) {
			if found := (serviceCredential{c, p}); !slices.Contains(out, found) {
				out = append(out, found)
			}
		}
	}
	return out
}

// fromStart makes a path absolute that K3s opens from where its service starts it.
func (x *examination) fromStart(file string) string {
	if s := x.in.Effective.Service; !path.IsAbs(file) && s != nil && path.IsAbs(s.Directory) {
		return path.Join(s.Directory, file)
	}
	return path.Clean("/" + file)
}

// registryKeyFiles are the private keys with which K3s logs in to registries.
func (x *examination) registryKeyFiles() []string {
	var out []string
	files, _ := x.files(x.registries())
	for _, f := range files {
		var doc struct {
			Configs map[string]struct {
				TLS struct {
					KeyFile string `yaml:"key_file"`
				} `yaml:"tls"`
			} `yaml:"configs"`
		}
		if yaml.Unmarshal(f.Data, &doc) != nil {
			continue // a control of its own says so
		}
		for _, name := range names(doc.Configs) {
			if file := doc.Configs[name].TLS.KeyFile; path.IsAbs(file) {
				out = append(out, path.Clean(file))
			}
		}
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

// snapshotDir is where etcd's snapshots are by the node's own configuration; "" for
// K3s's directory, which is looked at with the datastore.
func (x *examination) snapshotDir() string {
	if e := x.in.Effective; e != nil && path.IsAbs(e.Text(k3s.SnapshotDirKey)) {
		return path.Clean(e.Text(k3s.SnapshotDirKey))
	}
	return ""
}

func (x *examination) secretsInNamedFiles() ([]Evidence, string) {
	var out []Evidence
	if dir := x.snapshotDir(); dir != "" {
		snapshots, problem := x.children(dir)
		if problem != "" {
			return nil, problem
		}
		for _, e := range snapshots {
			out = append(out, Evidence{Source: e.Path, Detail: "is in the directory of etcd's snapshots, which hold the cluster's Secrets"})
		}
	}
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
				out = append(out, Evidence{Source: f.path, Line: 0, Detail: "has a secret, since " + f.by + " names it (not shown)"})
			case !f.whole:
				out = append(out, searchSecrets(f.path, file.Data)...)
			}
		}
	}
	return out, ""
}
