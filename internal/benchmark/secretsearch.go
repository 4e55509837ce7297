package benchmark

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// secretNames are the keys of registries, kubeconfigs and encryption
// configurations under which a secret stands.
var secretNames = append([]string{"secret", "client-key-data", "passwd", "k3s_token", "k3s_agent_token", "k3s_datastore_endpoint"}, registryKeys...)

// Texts that are secrets wherever they stand.
var (
	privateKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----`)
	joinToken  = regexp.MustCompile(`\bK10[0-9a-f]{64}::[^\s"']`)
)

// searchSecrets finds secrets in a file of which only its place is known. Text
// that is not YAML is searched for what is a secret by its looks.
func searchSecrets(file string, data []byte) []Evidence {
	out := looksOfSecrets(file, data)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); err != nil {
			break
		}
		out = append(out, namedValues(file, &doc, secretNames)...)
		out = append(out, secretObjects(file, &doc)...)
		out = alsoFound(out, passwordsIn(file, &doc, 0))
	}
	return append(append(out, secretKeys(file, data)...), passwordURLs(file, data)...)
}

// looksOfSecrets finds what is a secret wherever it stands.
func looksOfSecrets(file string, data []byte) []Evidence {
	var out []Evidence
	line := 0
	for text := range bytes.Lines(data) {
		line++
		switch {
		case privateKey.Match(text):
			out = append(out, Evidence{Source: file, Line: line, Detail: "a private key (not shown)"})
		case joinToken.Match(text):
			out = append(out, Evidence{Source: file, Line: line, Detail: "a token of a cluster (not shown)"})
		}
	}
	return out
}

// secretObjects finds Kubernetes Secrets that hold anything.
func secretObjects(file string, n *yaml.Node) []Evidence {
	var out []Evidence
	if n.Kind == yaml.MappingNode {
		kind, filled := "", false
		for i := 0; i+1 < len(n.Content); i += 2 {
			switch key, value := n.Content[i].Value, n.Content[i+1]; key {
			case "kind":
				kind = value.Value
			case "data", "stringData":
				filled = filled || len(value.Content) > 0
			}
		}
		if kind == "Secret" && filled {
			out = append(out, Evidence{Source: file, Line: n.Line, Detail: "a Secret (not shown)"})
		}
	}
	for _, child := range n.Content {
		out = append(out, secretObjects(file, child)...)
	}
	return out
}

// maxScalars is how many values of a file are looked at, each alias counted.
const maxScalars = 100_000

// secretKeys finds top-level keys of a K3s configuration file that hold
// secrets, in every document of it.
func secretKeys(file string, data []byte) []Evidence {
	var out []Evidence
	looked := 0
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); err != nil {
			break
		}
		if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
			continue
		}
		pairs := doc.Content[0].Content
		for i := 0; i+1 < len(pairs); i += 2 {
			name := strings.TrimSuffix(pairs[i].Value, "+")
			texts := scalars(pairs[i+1])
			if looked += len(texts); looked > maxScalars {
				return append(out, Evidence{Source: file, Line: pairs[i].Line, Detail: fmt.Sprintf("stands with its aliases for more than the %d values that are looked at", maxScalars)})
			}
			if slices.ContainsFunc(texts, func(v string) bool { return k3s.HoldsSecret(name, v) }) {
				out = append(out, Evidence{Source: file, Line: pairs[i].Line, Detail: name + " has a value (not shown)"})
			}
		}
	}
	return out
}

// scalars lists every text in a value once: of a list, a mapping, what an alias
// stands for.
func scalars(n *yaml.Node) []string {
	var out []string
	seen := map[*yaml.Node]bool{}
	var visit func(*yaml.Node)
	visit = func(n *yaml.Node) {
		switch {
		case n == nil || seen[n]:
			return
		case n.Kind == yaml.ScalarNode:
			out = append(out, n.Value)
		}
		seen[n] = true
		visit(n.Alias)
		for _, c := range n.Content {
			visit(c)
		}
	}
	visit(n)
	return out
}

// passwordURLs finds URLs with a password in any line that is no comment.
func passwordURLs(file string, data []byte) []Evidence {
	var out []Evidence
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("#")) && slices.ContainsFunc(words(text), safetext.HasPassword) {
			out = append(out, Evidence{Source: file, Line: line, Detail: "a URL with a password (not shown)"})
		}
	}
	return out
}

// words takes a line apart where a value may begin or end.
func words(line []byte) []string {
	all := strings.FieldsFunc(string(line), func(r rune) bool { return strings.ContainsRune(" \t\r\n'\",", r) })
	for i, w := range all {
		all[i] = strings.TrimRight(strings.TrimLeft(w, "[{"), "}")
	}
	return all
}

func secretVariables(vars []service.Variable) []Evidence {
	var out []Evidence
	for _, v := range vars {
		switch {
		case !k3s.HoldsSecret(v.Name, v.Value):
		case k3s.Secret(v.Name):
			out = append(out, Evidence{Source: v.Path, Line: v.Line, Detail: v.Name + " has a value (not shown)"})
		default:
			out = append(out, Evidence{Source: v.Path, Line: v.Line, Detail: v.Name + " has a URL with a password (not shown)"})
		}
	}
	return out
}

var registryKeys = []string{"password", "auth", "identity_token", "identitytoken", "token", "registrytoken"}

// namedValues finds keys of those names at any depth that have a text, or a
// list of them.
func namedValues(file string, n *yaml.Node, names []string) []Evidence {
	var out []Evidence
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 {
			key := n.Content[i-1]
			if slices.Contains(names, strings.ToLower(key.Value)) && hasText(child) {
				out = append(out, Evidence{Source: file, Line: key.Line, Detail: key.Value + " has a value (not shown)"})
			}
		}
		out = append(out, namedValues(file, child, names)...)
	}
	return out
}

// hasText says whether a value is a text, a list of texts or an alias of one.
func hasText(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value != "" && n.Tag != "!!null"
	case yaml.AliasNode:
		return n.Alias != nil && n.Alias.Kind == yaml.ScalarNode && n.Alias.Value != ""
	case yaml.SequenceNode:
		return slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return c.Kind == yaml.ScalarNode && c.Value != "" })
	}
	return false
}
