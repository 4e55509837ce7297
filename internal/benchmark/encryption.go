package benchmark

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// encryption wants Secrets to be encrypted at rest by one of providers, or by
// any where it names none, with keys that are not in the image.
type encryption struct{ providers []string }

func (d *decoder) encryption(n *yaml.Node) expectation {
	var e encryption
	d.fields(n, "encryption", map[string]func(*yaml.Node){
		"providers": func(n *yaml.Node) { e.providers = d.texts(n) },
	})
	return e
}

func (e encryption) picks(p paths) node.Query {
	return node.Query{{Path: encryptionConfig(p)}}
}

func encryptionConfig(p paths) string { return k3s.LayoutOf(p.data).Cred() + "/encryption-config.json" }

func (encryption) component() k3s.Component { return k3s.APIServer }

func (e encryption) judge(x *examination) verdict { return e.stored(x, e.judgeConfig(x)) }

func (e encryption) judgeConfig(x *examination) verdict {
	v := verdict{expected: "Secrets are encrypted with keys that are not in the image"}
	if len(e.providers) > 0 {
		v.expected += ", by one of " + strings.Join(e.providers, ", ")
	}
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	file, from, _ := x.in.Effective.Flag(k3s.APIServer, "encryption-provider-config")
	if strings.TrimSpace(file) == "" {
		v.status, v.found = Fail, "no encryption configuration: secrets-encryption is not true"
		v.evidence = x.settings("secrets-encryption")
		x.blameVain(&v, "secrets-encryption", "")
		return v
	}
	v.evidence = evidenceOf(k3s.APIServer, from)
	if own := slices.ContainsFunc(from, func(a k3s.Argument) bool { return !a.Origin.Default }); own {
		return e.judgeFile(x, v, x.absolute(file))
	}
	provider := "aescbc"
	if s, ok := x.in.Effective.Settings["secrets-encryption-provider"]; ok {
		provider = s.Values[len(s.Values)-1].Text
		v.evidence = append(v.evidence, x.settings("secrets-encryption-provider")...)
	}
	if len(e.providers) == 0 {
		v.status, v.found = Pass, "K3s makes the key and the configuration at first start"
		return v
	}
	if !slices.Contains(e.providers, provider) {
		v.status, v.found = Fail, "secrets-encryption-provider: "+k3s.Redact("secrets-encryption-provider", provider)
		return v
	}
	v.status, v.found = Deferred, encryptionConfig(x.paths)+" is not there before K3s has run"
	if _, presence := x.node().Lookup(encryptionConfig(x.paths)); presence == node.Present {
		v.found = encryptionConfig(x.paths) + " is in the image; its keys would be shared by every node made of it"
	}
	v.reason = fmt.Sprintf("K3s makes a key and writes the configuration for %s at first start", provider)
	return v
}

// judgeFile judges an encryption configuration of the user's own: the first
// provider listed for Secrets is the one that writes. Keys that stand in it are
// in every copy of the image, and whoever has one reads every Secret.
func (e encryption) judgeFile(x *examination, v verdict, file string) verdict {
	data, c := x.file(file)
	if c != nil {
		return c.verdict(v.expected)
	}
	config, err := kube.LoadEncryption(x.release(), file, data)
	if err != nil {
		v.status, v.found = Fail, file+" is not a valid encryption configuration"
		for _, problem := range kube.Errors(err) {
			v.evidence = append(v.evidence, Evidence{Source: problem.File, Line: problem.Line, Detail: problem.Text})
		}
		return v
	}
	switch {
	case config.Writes == "":
		v.status, v.found = Fail, file+" has no provider for Secrets"
	case len(e.providers) > 0 && !slices.Contains(e.providers, config.Writes):
		v.status, v.found = Fail, fmt.Sprintf("%s: %s encrypts Secrets", file, config.Writes)
	case len(config.KeyLines) > 0:
		v.status, v.found = Fail, file+" has keys, which every copy of the image shares: take the argument and the file out, so that K3s makes a key (secrets-encryption: true), or use kms"
		for _, line := range config.KeyLines {
			v.evidence = append(v.evidence, Evidence{Source: file, Line: line, Detail: "a key (not shown)"})
		}
	default:
		v.status, v.found = Pass, fmt.Sprintf("%s: %s encrypts Secrets", file, config.Writes)
	}
	return v
}
