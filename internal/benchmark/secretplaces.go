package benchmark

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/boot"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// Where cloud-init reads what it does at first boot: its own configuration, and
// the seeds of user data that an image can bring.
const (
	cloudConfigFile = "/etc/cloud/cloud.cfg"
	cloudConfigDir  = "/etc/cloud/cloud.cfg.d"
	cloudSeeds      = "/var/lib/cloud/seed"
)

// bootSeeds are where a Raspberry Pi's image has its user data, and where Ubuntu's
// installer leaves what it was given.
var bootSeeds = []string{"/boot/firmware/user-data", "/boot/user-data", "/var/log/installer/autoinstall-user-data"}

// userData are the texts that cloud-init reads.
func (x *examination) userData() ([]string, string) {
	out := append([]string{cloudConfigFile}, bootSeeds...)
	for _, dir := range []string{cloudConfigDir, cloudSeeds} {
		all, problem := x.tree(dir)
		if problem != "" {
			return nil, problem
		}
		for _, e := range all {
			out = append(out, e.Path)
		}
	}
	return out, ""
}

func (x *examination) secretsInUserData() ([]Evidence, string) {
	names, problem := x.userData()
	if problem != "" {
		return nil, problem
	}
	files, problem := x.files(names...)
	var out []Evidence
	left := allowance(maxSearched)
	if e := x.in.Effective; e != nil && e.Service != nil { // which has a control of its own
		names = append(names, e.Service.Files...)
	}
	for _, f := range x.boot().Texts() { // scripts and units hold tokens as user data does
		environment := slices.ContainsFunc(systemEnvironment, func(p node.Pick) bool { return node.Within(p.Path, f.Path) }) // which has a control, too
		if !boot.Distribution(f.Path) && !slices.Contains(names, f.Path) && !environment {
			files = append(files, f)
		}
	}
	for _, f := range files {
		for _, p := range boot.UserData(f.Data) {
			text := []byte(p.Text)
			if problem := left.take(f.Path, len(text), "user data"); problem != "" {
				return out, problem
			}
			for _, e := range slices.Concat(looksOfSecrets(f.Path, text), assignedSecrets(f.Path, text), insideTexts(f.Path, text), credentialURLs(f.Path, text)) {
				e.Line += p.Line - 1
				out = append(out, e)
			}
		}
	}
	return out, problem
}

// insideTexts searches a YAML file, and the texts in it as those of write_files,
// for keys of secrets.
func insideTexts(file string, data []byte) []Evidence {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil {
		return nil
	}
	out := namedValues(file, &doc, secretNames)
	var visit func(*yaml.Node)
	visit = func(n *yaml.Node) {
		out = append(out, slices.Concat(packedSecrets(file, n), listedPasswords(file, n))...)
		if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "\n") {
			for _, e := range secretKeys(file, []byte(n.Value)) {
				e.Line += n.Line
				out = append(out, e)
			}
		}
		for _, c := range n.Content {
			visit(c)
		}
	}
	visit(&doc)
	return out
}

// member is the value of a key of a mapping, nil where it has none.
func member(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// maxUnpacked is how much of a packed file of user data is searched, in bytes.
const maxUnpacked = 1 << 20

// packedSecrets searches a file of write_files that is written in base64, be it
// compressed too.
func packedSecrets(file string, n *yaml.Node) []Evidence {
	content, encoding := member(n, "content"), member(n, "encoding")
	if content == nil || encoding == nil || !strings.Contains(encoding.Value, "b64") && !strings.Contains(encoding.Value, "base64") {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(content.Value), ""))
	if err != nil {
		return nil // cloud-init does not read it either
	}
	if z, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
		data, _ = io.ReadAll(io.LimitReader(z, maxUnpacked)) // what could be unpacked is searched
	}
	if len(slices.Concat(searchSecrets(file, data), assignedSecrets(file, data), credentialURLs(file, data))) == 0 {
		return nil
	}
	return []Evidence{{Source: file, Line: content.Line, Detail: "a secret in a file written in base64 (not shown)"}}
}

// listedPasswords finds passwords in the list of chpasswd; R and RANDOM let
// cloud-init make one up.
func listedPasswords(file string, n *yaml.Node) []Evidence {
	chpasswd := member(n, "chpasswd")
	if chpasswd == nil {
		return nil
	}
	list := member(chpasswd, "list")
	if list == nil {
		return nil
	}
	var out []Evidence
	for _, text := range scalars(list) {
		for line := range strings.Lines(text) {
			_, password, given := strings.Cut(strings.TrimSpace(line), ":")
			if given && password != "" && password != "R" && password != "RANDOM" {
				return append(out, Evidence{Source: file, Line: list.Line, Detail: "chpasswd has a password (not shown)"})
			}
		}
	}
	return out
}

// assignments are how shells, units and environment files give variables.
var assignments = regexp.MustCompile(`\b([A-Z][A-Z0-9_]*)=("[^"]+"|'[^']+'|[^\s"']+)`)

// secretOptions are options of K3s's command line with the value that they are
// given, be it as an item of a list.
var secretOptions = regexp.MustCompile(`(?:^|[\s"'=])--(` + strings.Join(k3s.SecretKeys(), "|") + `)(?:=|["']?,?\s+)["']?([^\s"'$<{\x60\\-][^\s"']*)`)

// assignedSecrets finds assignments to variables that hold secrets, K3s's own and
// those whose names say so, and options of its command line, in a text of any kind.
func assignedSecrets(file string, data []byte) []Evidence {
	var out []Evidence
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if bytes.HasPrefix(bytes.TrimSpace(text), []byte("#")) {
			continue
		}
		if bytes.Contains(text, []byte("--")) {
			for _, m := range secretOptions.FindAllSubmatch(text, -1) {
				if key := string(m[1]); k3s.HoldsSecret(key, string(m[2])) {
					out = append(out, Evidence{Source: file, Line: line, Detail: "--" + key + " has a value (not shown)"})
				}
			}
		}
		if bytes.Contains(text, []byte("=")) {
			for _, m := range assignments.FindAllSubmatch(text, -1) {
				name, value := string(m[1]), strings.Trim(string(m[2]), `"'`)
				if strings.HasPrefix(name, "K3S_") && k3s.HoldsSecret(name, value) && !strings.HasPrefix(value, "$") || secretVariable.MatchString(name) && writtenOut(value) {
					out = append(out, Evidence{Source: file, Line: line, Detail: name + " has a value (not shown)"})
				}
			}
		}
	}
	return out
}

// answer is a value that says yes or no, or how many.
var answer = regexp.MustCompile(`^(?i:true|false|yes|no|none|null|unset|on|off|[0-9]{1,5})$`)

// writtenOut says whether the value of a secret's variable is one, and not a place
// to take it from or the answer to a question.
func writtenOut(value string) bool {
	return value != "" && !strings.ContainsAny(value, "$`<{(*") && !strings.ContainsAny(value[:1], "/;&|)") && !strings.Contains(value, "://") && !answer.MatchString(value)
}

// credentialURL is an address with a password that is written out.
var credentialURL = regexp.MustCompile(`://[^/\s:@"']*:[^/\s@"'${]+@`)

// credentialURLs finds such addresses in lines that are no comments.
func credentialURLs(file string, data []byte) []Evidence {
	if !bytes.Contains(data, []byte("://")) {
		return nil // as most of the files of tens of megabytes that a node may have
	}
	var out []Evidence
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if bytes.Contains(text, []byte("://")) && !bytes.HasPrefix(bytes.TrimSpace(text), []byte("#")) && credentialURL.Match(text) {
			out = append(out, Evidence{Source: file, Line: line, Detail: "a URL with a password (not shown)"})
		}
	}
	return out
}

// secretsInManifests searches the manifests, which K3s puts into the cluster as they are.
func (x *examination) secretsInManifests() ([]Evidence, string) {
	all, problem := x.tree(k3s.LayoutOf(x.paths.data).Manifests())
	if problem != "" {
		return nil, problem
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Path)
	}
	files, problem := x.files(names...)
	var out []Evidence
	left := allowance(maxSearched)
	for _, f := range files {
		out = append(out, looksOfSecrets(f.Path, f.Data)...)
		out = append(out, credentialURLs(f.Path, f.Data)...)
		if !mayHoldSecret(f.Data) {
			continue
		}
		if problem := left.take(f.Path, len(f.Data), "manifests in which Secrets may be"); problem != "" {
			return out, problem
		}
		dec := yaml.NewDecoder(bytes.NewReader(f.Data))
		for {
			var doc yaml.Node
			if dec.Decode(&doc) != nil {
				break
			}
			out = slices.Concat(out, secretObjects(f.Path, &doc), passwordsIn(f.Path, &doc, 0))
		}
	}
	return out, problem
}

// maxSearched is how much text one search for secrets goes through, in bytes.
const maxSearched = 8 << 20

// allowance is how many bytes are left of it.
type allowance int

// take goes through bytes of a file, and says why it does not where that is too much.
func (a *allowance) take(file string, size int, of string) (problem string) {
	if *a -= allowance(size); *a < 0 {
		return fmt.Sprintf("%s and more: over %d MiB of %s are not searched", file, maxSearched>>20, of)
	}
	return ""
}

// mayHoldSecret says whether a manifest has the word Secret, be it written with
// escapes.
func mayHoldSecret(data []byte) bool {
	return bytes.Contains(data, []byte("Secret")) || bytes.IndexByte(data, '\\') >= 0 || bytes.Contains(data, []byte("env")) ||
		bytes.Contains(bytes.ToLower(data), []byte("passw")) && passwordKey.Match(data) || bytes.Contains(data, []byte("--")) && optionInText.Match(data)
}

// passwordKey is how keys and variables of passwords end.
var passwordKey = regexp.MustCompile(`(?i)passw(or)?d["']?\s*(:|$|[,}])`)

// secretVariable is how variables of containers end whose value is a secret.
var secretVariable = regexp.MustCompile(`(?i)(passw(or)?d|(^|[^e]_)token|(client|app|api|shared|jwt|hmac)_?secret|secret_?key|access_?key|api_?key|private_?key)$`)

// sealedKey is the key of values that are encrypted; those that sops encrypts say so.
const sealedKey, sealedValue = "encryptedData", "ENC["

// passwordOption is an option of a container's program whose value is a password.
var passwordOption = regexp.MustCompile(`^--?(?:[a-z0-9]+[.-])*(?:password|passwd|token|api-?key)$`)

// optionInText is such an option anywhere in a manifest.
var optionInText = regexp.MustCompile(`--[a-z0-9.-]*(?:password|passwd|token|api-?key)["'=,\]\s]`)

// passwordsIn finds passwords that are written out in a manifest: under keys that
// end so, in variables and arguments of containers, and in the values of charts, which are YAML
// in a text.
func passwordsIn(file string, n *yaml.Node, line int) []Evidence {
	var out []Evidence
	found := func(key, value *yaml.Node, named bool) {
		v := strings.TrimSpace(value.Value)
		if value.Kind == yaml.ScalarNode && value.Tag == "!!str" && v != "" && !strings.ContainsAny(v[:1], "${</") && !strings.HasPrefix(v, sealedValue) && named && !same(v, "true") && !same(v, "false") {
			out = append(out, Evidence{Source: file, Line: line + key.Line, Detail: safetext.Name(key.Value) + " has a value (not shown)"})
		}
	}
	if name, value := member(n, "name"), member(n, "value"); name != nil && value != nil {
		found(name, value, secretVariable.MatchString(name.Value))
	}
	for i, c := range n.Content {
		switch {
		case n.Kind == yaml.MappingNode && (i%2 == 0 || n.Content[i-1].Value == sealedKey):
			continue
		case n.Kind == yaml.MappingNode && n.Content[i-1].Value == "valuesContent":
			var values yaml.Node
			if yaml.Unmarshal([]byte(c.Value), &values) == nil {
				out = append(out, passwordsIn(file, &values, line+c.Line)...)
			}
			continue
		case n.Kind == yaml.MappingNode && c.Kind == yaml.SequenceNode && slices.Contains([]string{"args", "command"}, n.Content[i-1].Value):
			for j, w := range c.Content {
				option, value, joined := strings.Cut(w.Value, "=")
				if !joined && j+1 < len(c.Content) {
					value = c.Content[j+1].Value
				}
				key := &yaml.Node{Value: option, Line: w.Line}
				found(key, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}, passwordOption.MatchString(option) && !strings.HasPrefix(option, "--no-") && !strings.HasPrefix(value, "-"))
			}
		case n.Kind == yaml.MappingNode:
			found(n.Content[i-1], c, passwordKey.MatchString(n.Content[i-1].Value+":"))
		}
		out = append(out, passwordsIn(file, c, line)...)
	}
	return out
}

// containerdDir is where K3s takes containerd's configuration, templates of it
// and the registries' hosts from.
func containerdDir(p paths) string { return p.expand("{data}/agent/etc/containerd") }

// registryLine is a secret in containerd's configuration.
var registryLine = regexp.MustCompile(`^\s*"?(?i:(password|auth|identity_?token|authorization))"?\s*=\s*\[?\s*["'][^"'{]`)

func (x *examination) secretsInContainerd() ([]Evidence, string) {
	all, problem := x.tree(containerdDir(x.paths))
	if problem != "" {
		return nil, problem
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Path)
	}
	files, problem := x.files(names...)
	var out []Evidence
	for _, f := range files {
		line := 0
		for text := range bytes.Lines(f.Data) {
			line++
			if m := registryLine.FindSubmatch(text); m != nil {
				out = append(out, Evidence{Source: f.Path, Line: line, Detail: string(m[1]) + " has a value (not shown)"})
			}
		}
		out = append(out, credentialURLs(f.Path, f.Data)...)
	}
	return out, problem
}

// systemEnvironment are what every service or login gets its variables from.
var systemEnvironment = []node.Pick{
	{Path: "/etc/environment", Content: true},
	{Path: "/etc/environment.d", Depth: 1, Content: true},
	{Path: "/etc/profile", Content: true},
	{Path: "/etc/profile.d", Depth: 1, Content: true},
}

// secretsInSystemEnvironment finds variables with secrets, and passwords of
// proxies, in the environment that is not its service's alone.
func (x *examination) secretsInSystemEnvironment() ([]Evidence, string) {
	files, problem := x.filesOf(systemEnvironment)
	var out []Evidence
	for _, f := range files {
		out = append(out, assignedSecrets(f.Path, f.Data)...)
		out = append(out, credentialURLs(f.Path, f.Data)...)
	}
	return out, problem
}

// Files of accounts that are looked into.
const (
	sudoers     = "/etc/sudoers"
	sudoersDir  = "/etc/sudoers.d"
	doasFile    = "/etc/doas.conf"
	doasDir     = "/etc/doas.d"
	shadowFile  = "/etc/shadow"
	shadowCopy  = "/etc/shadow-"
	accountFile = "/etc/passwd"
)

// passwords finds accounts that whoever knows the password of the build, or
// nothing at all, can log in to: /etc/passwd may have it instead of x. The copy that
// useradd and passwd leave lets nobody in, and has passwords to be guessed.
func (x *examination) passwords() ([]Evidence, string) {
	files, problem := x.files(shadowFile, shadowCopy, accountFile)
	var out []Evidence
	for _, f := range files {
		line := 0
		for text := range bytes.Lines(f.Data) {
			line++
			fields := strings.Split(strings.TrimSpace(string(text)), ":")
			switch {
			case len(fields) < 2 || strings.HasPrefix(fields[0], "#"):
			case fields[1] == "" && f.Path == shadowCopy:
			case fields[1] == "":
				out = append(out, Evidence{Source: f.Path, Line: line, Detail: safetext.Name(fields[0]) + " has no password and is not locked"})
			case strings.HasPrefix(fields[1], "$") || len(fields[1]) == 13 && !strings.ContainsAny(fields[1], "!*"):
				out = append(out, Evidence{Source: f.Path, Line: line, Detail: safetext.Name(fields[0]) + " has a password, the same on every node (not shown)"})
			}
		}
	}
	return out, problem
}

// secretsOfManager finds secrets among the variables that the service manager
// gives to every service, where K3s has none.
func (x *examination) secretsOfManager() ([]Evidence, string) {
	vars, err := service.ManagerEnvironment(x.node())
	if err != nil {
		return nil, err.Error()
	}
	return secretVariables(vars), ""
}
