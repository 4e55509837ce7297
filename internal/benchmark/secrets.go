package benchmark

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// secrets wants no secret in a kind of files. What is found is named by file,
// line and key; the value never leaves this file.
type secrets struct{ place string }

// keptSuffix ends the names under which the hardening keeps the configuration
// files that it changes, all beside the main one.
const keptSuffix = ".before-k3s-cis"

// secretPlace is one kind of files: how it is searched, and where that is.
type secretPlace struct {
	search func(*examination) ([]Evidence, string)
	where  func(*examination) []string
}

var secretPlaces = map[string]secretPlace{
	"configuration": {(*examination).secretsInConfiguration, func(x *examination) []string {
		return []string{x.configFile(), k3s.DropInDir(x.configFile())}
	}},
	"environment": {(*examination).secretsInEnvironment, func(*examination) []string { return environmentFiles() }},
	"service": {(*examination).secretsInService, func(x *examination) []string {
		if s := x.in.Effective.Service; s != nil {
			return []string{s.Path}
		}
		return []string{k3s.SystemdDir + "/" + x.in.Role.ServiceName() + ".service"}
	}},
	"registries": {(*examination).secretsInRegistries, func(x *examination) []string { return []string{x.registries()} }},
}

func environmentFiles() []string {
	return slices.Concat(k3s.Server.EnvironmentFiles(), k3s.Agent.EnvironmentFiles())
}

func (d *decoder) secrets(n *yaml.Node) expectation {
	var s secrets
	d.fields(n, "secrets", map[string]func(*yaml.Node){
		"in": func(n *yaml.Node) { s.place = d.oneOf(n, names(secretPlaces)...) },
	}, "in")
	return s
}

func (s secrets) picks(paths) node.Query {
	switch s.place {
	case "configuration":
		return node.Query{{Path: k3s.ConfigFile + keptSuffix, Content: true}, {Path: k3s.ConfigDir, Depth: node.Deep, Content: true}}
	case "registries":
		return node.Query{{Path: k3s.RegistriesFile, Content: true}}
	case "environment":
		var q node.Query
		for _, f := range environmentFiles() {
			q = append(q, node.Pick{Path: f, Content: true})
		}
		return q
	}
	return nil // K3s's own query has them
}

func (s secrets) judge(x *examination) verdict {
	v := verdict{expected: "no token, password or key in the " + s.place}
	place := secretPlaces[s.place]
	found, problem := place.search(x)
	switch {
	case problem != "":
		v.status, v.found, v.reason = Error, problem, "the evidence is missing"
	case len(found) > 0:
		v.status, v.evidence = Fail, found
		var where []string
		for _, e := range found {
			where = append(where, fmt.Sprintf("%s:%d: %s", e.Source, e.Line, e.Detail))
		}
		v.found = few(where)
	default:
		v.status, v.found = Pass, "none found"
		for _, p := range place.where(x) {
			detail := "searched"
			if _, presence := x.node().Lookup(p); presence != node.Present {
				detail = "not there"
			}
			v.evidence = append(v.evidence, Evidence{Source: p, Detail: detail})
		}
	}
	return v
}

// files returns files for a search; absent ones are left out.
func (x *examination) files(names ...string) ([]node.Entry, string) {
	var out []node.Entry
	for _, p := range names {
		e, presence := x.node().Lookup(p)
		switch {
		case presence == node.Unknown:
			return nil, x.unseen(p)
		case presence == node.Absent || e.Kind != node.KindFile:
			continue
		case e.Data == nil:
			return nil, fmt.Sprintf("%s could not be read: %s", p, cmp.Or(e.Unread, "its content was not looked at"))
		}
		out = append(out, e)
	}
	return out, ""
}

func (x *examination) configFile() string {
	if x.in.Effective != nil && x.in.Effective.ConfigFile != "" {
		return x.in.Effective.ConfigFile
	}
	return k3s.ConfigFile
}

// keptConfiguration lists the copies that the hardening keeps, and the one of
// the default file even where another is the main one now.
func (x *examination) keptConfiguration() ([]string, string) {
	beside, problem := x.children(path.Dir(x.configFile()))
	out := []string{k3s.ConfigFile + keptSuffix}
	for _, e := range beside {
		if strings.HasSuffix(e.Path, keptSuffix) && e.Path != out[0] {
			out = append(out, e.Path)
		}
	}
	return out, problem
}

func (x *examination) secretsInConfiguration() ([]Evidence, string) {
	kept, problem := x.keptConfiguration()
	if problem != "" {
		return nil, problem
	}
	dropIns, problem := x.children(k3s.DropInDir(x.configFile()))
	if problem != "" {
		return nil, problem
	}
	names := []string{x.configFile()}
	for _, e := range dropIns {
		names = append(names, e.Path)
	}
	files, problem := x.configurationFiles(names)
	if problem != "" {
		return nil, problem
	}
	copies, problem := x.configurationFiles(kept)
	if problem != "" {
		return nil, problem
	}
	files = append(files, copies...)
	var out []Evidence
	for _, f := range files {
		out = append(out, secretKeys(f.Path, f.Data)...)
		out = append(out, passwordURLs(f.Path, f.Data)...)
	}
	beside, problem := x.secretsBeside(files)
	if problem != "" {
		return nil, problem
	}
	named, problem := x.secretsInNamedFiles()
	return slices.Concat(out, beside, named), problem
}

// configurationFiles reads files of K3s's configuration that are judged together.
func (x *examination) configurationFiles(names []string) ([]node.Entry, string) {
	files, problem := x.files(names...)
	if problem != "" {
		return nil, problem
	}
	size := 0
	for _, f := range files {
		size += len(f.Data)
	}
	if err := k3s.CheckConfigSize(len(files), size); err != nil {
		return nil, err.Error()
	}
	return files, ""
}

// maxBeside is how many bytes beside the configuration are searched.
const maxBeside = 2 << 20

// secretsBeside searches whatever else is in K3s's directory. Who looks for the
// registries' passwords and the administrator's kubeconfig has controls of their
// own.
func (x *examination) secretsBeside(known []node.Entry) ([]Evidence, string) {
	all, problem := x.tree(k3s.ConfigDir)
	if problem != "" {
		return nil, problem
	}
	searched := map[string]bool{k3s.RegistriesFile: true, k3s.Kubeconfig: true}
	for _, f := range known {
		searched[f.Path] = true
	}
	for _, f := range x.namedSecrets() {
		searched[f.path] = true
	}
	var others []string
	for _, e := range all {
		if !searched[e.Path] {
			others = append(others, e.Path)
		}
	}
	files, problem := x.files(others...)
	size := 0
	for _, f := range files {
		size += len(f.Data)
	}
	if size > maxBeside {
		return nil, fmt.Sprintf("%s has %d KiB beside K3s's configuration, which is more than the %d KiB that are searched for secrets", k3s.ConfigDir, size>>10, maxBeside>>10)
	}
	var out []Evidence
	for _, f := range files {
		out = append(out, searchSecrets(f.Path, f.Data)...)
	}
	return out, problem
}

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

// secretNames are the keys of registries, kubeconfigs and encryption
// configurations under which a secret stands.
var secretNames = append([]string{"secret", "client-key-data", "passwd"}, registryKeys...)

// Texts that are secrets wherever they stand.
var (
	privateKey = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`)
	joinToken  = regexp.MustCompile(`\bK10[0-9a-f]{64}::[^\s"']`)
)

// searchSecrets finds secrets in a file of which only its place is known. Text
// that is not YAML is searched for what is a secret by its looks.
func searchSecrets(file string, data []byte) []Evidence {
	var out []Evidence
	line := 0
	for text := range bytes.Lines(data) {
		line++
		switch {
		case privateKey.Match(text):
			out = append(out, Evidence{file, line, "a private key (not shown)"})
		case joinToken.Match(text):
			out = append(out, Evidence{file, line, "a token of a cluster (not shown)"})
		}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); err != nil {
			break
		}
		out = append(out, namedValues(file, &doc, secretNames)...)
		out = append(out, secretObjects(file, &doc)...)
	}
	return append(append(out, secretKeys(file, data)...), passwordURLs(file, data)...)
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
			out = append(out, Evidence{file, n.Line, "a Secret (not shown)"})
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
				return append(out, Evidence{file, pairs[i].Line, fmt.Sprintf("stands with its aliases for more than the %d values that are looked at", maxScalars)})
			}
			if slices.ContainsFunc(texts, func(v string) bool { return k3s.HoldsSecret(name, v) }) {
				out = append(out, Evidence{file, pairs[i].Line, name + " has a value (not shown)"})
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
			out = append(out, Evidence{file, line, "a URL with a password (not shown)"})
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

func (x *examination) secretsInEnvironment() ([]Evidence, string) {
	files, problem := x.files(environmentFiles()...)
	if problem != "" {
		return nil, problem
	}
	var out []Evidence
	for _, f := range files {
		out = append(out, secretVariables(service.EnvironmentFile(f.Path, f.Data))...)
	}
	return out, ""
}

func secretVariables(vars []service.Variable) []Evidence {
	var out []Evidence
	for _, v := range vars {
		switch {
		case !k3s.HoldsSecret(v.Name, v.Value):
		case k3s.Secret(v.Name):
			out = append(out, Evidence{v.Path, v.Line, v.Name + " has a value (not shown)"})
		default:
			out = append(out, Evidence{v.Path, v.Line, v.Name + " has a URL with a password (not shown)"})
		}
	}
	return out
}

func (x *examination) secretsInService() ([]Evidence, string) {
	e := x.in.Effective
	if e == nil {
		return nil, "the service that runs K3s is not known"
	}
	for _, p := range e.Problems {
		if p.Consequence == k3s.Unreadable {
			return nil, p.Text
		}
	}
	service := e.Service
	if service == nil {
		return nil, ""
	}
	out := secretVariables(service.Environment)
	for i, w := range service.Start {
		option, value, joined := strings.Cut(w.Text, "=")
		bare := strings.TrimLeft(option, "-")
		if !joined && i+1 < len(service.Start) {
			value = service.Start[i+1].Text
		}
		switch {
		case bare != option && k3s.Secret(bare) && k3s.HoldsSecret(bare, value):
			out = append(out, Evidence{w.Path, w.Line, option + " has a value (not shown)"})
		case safetext.HasPassword(w.Text) || joined && safetext.HasPassword(value):
			out = append(out, Evidence{w.Path, w.Line, "a URL with a password (not shown)"})
		}
	}
	return out, ""
}

func (x *examination) secretsInRegistries() ([]Evidence, string) {
	names := []string{k3s.RegistriesFile}
	if file := x.registries(); file != names[0] {
		names = append(names, file)
	}
	files, problem := x.files(names...)
	if problem != "" {
		return nil, problem
	}
	var out []Evidence
	for _, f := range files {
		var doc yaml.Node
		if err := yaml.Unmarshal(f.Data, &doc); err != nil {
			return nil, f.Path + " is not valid YAML, so it cannot be searched"
		}
		out = append(out, namedValues(f.Path, &doc, registryKeys)...)
		out = append(out, passwordURLs(f.Path, f.Data)...)
	}
	return out, ""
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
				out = append(out, Evidence{file, key.Line, key.Value + " has a value (not shown)"})
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
