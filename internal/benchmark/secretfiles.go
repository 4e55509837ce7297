package benchmark

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
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
		if file := e.Text(key); path.IsAbs(file) {
			out = append(out, namedSecret{path.Clean(file), key, true})
		}
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
				out = append(out, Evidence{Source: f.path, Line: 0, Detail: "has a secret, since " + f.by + " names it (not shown)"})
			case !f.whole:
				out = append(out, searchSecrets(f.path, file.Data)...)
			}
		}
	}
	return out, ""
}
