package k3s

import (
	"bytes"
	"path"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// Names in the kubelet's configuration directory that K3s writes at start
// (pkg/daemons/agent/agent.go).
const (
	kubeletDefaults  = "00-k3s-defaults.conf"
	kubeletCLIConfig = "10-cli-config.conf"
	kubeletCLIDir    = "20-cli-config-dir"
)

// kubeletFiles shows the kubelet's configuration files as the flags they stand
// for. It returns the user's arguments without those that K3s turns into
// files, and the defaults with what the files say. A flag beats a file.
func (r *resolver) kubeletFiles(user []Value, defaults []Argument) ([]Value, []Argument) {
	user, config, dir := r.configArguments(user)
	var fromFiles []Argument
	var own []Argument // K3s's own file
	commandLine := defaults
	if r.release.WritesKubeletConfig() {
		commandLine = nil
		for _, d := range defaults {
			if kubeletFileFlag(d.Name) {
				own = append(own, d)
			} else {
				commandLine = append(commandLine, d)
			}
		}
	}
	layers := kubeletLayers{}
	files := r.kubeletConfigFiles(config, dir)
	if r.tooMuch(files) {
		files = nil
	}
	for _, f := range files {
		if f.Path == "" {
			layers.defaults(own)
			continue
		}
		r.effective.KubeletFiles = append(r.effective.KubeletFiles, f.Path)
		r.readKubeletFile(f, layers)
	}
	given := map[string]bool{}
	for _, a := range commandLine {
		given[a.Name] = true
	}
	for _, v := range user {
		name, _, _ := strings.Cut(strings.TrimPrefix(v.Text, "--"), "=")
		given[strings.ReplaceAll(strings.TrimRight(name, "+-"), "_", "-")] = true
	}
	for _, a := range layers.arguments() {
		if !given[a.Name] || a.Name == "feature-gates" { // the kubelet joins gates of file and flags
			a.File = true
			fromFiles = append(fromFiles, a)
		}
	}
	return user, append(commandLine, fromFiles...)
}

func kubeletFileFlag(flag string) bool {
	return slices.ContainsFunc(fallbacks[Kubelet], func(f fallback) bool { return f.flag == flag && f.file })
}

// configArguments takes config= and config-dir= out of the kubelet's
// arguments. From v1.32 K3s copies what they name into the kubelet's
// configuration directory; before, the kubelet reads the file itself. The same
// code takes the item after one without "=" for that one's value, and drops it
// whatever it says (pkg/daemons/agent/agent.go, extractConfigArgs).
func (r *resolver) configArguments(user []Value) (rest []Value, config, dir Value) {
	for i := 0; i < len(user); i++ {
		v := user[i]
		name, value, given := strings.Cut(strings.TrimPrefix(v.Text, "--"), "=")
		if name != "config" && (name != "config-dir" || !r.release.WritesKubeletConfig()) {
			rest = append(rest, v)
			if !given && r.release.WritesKubeletConfig() && i+1 < len(user) {
				i++
				consequence := Ignored
				if slices.ContainsFunc(user[i+1:], func(o Value) bool { return o.Text == user[i].Text }) {
					consequence = Noted // it stands there once more, and nothing is lost
				}
				r.problem(consequence, user[i].Origin, "K3s %s drops this item of %s, since it takes it for the value of %s before it: write %s=true there", r.release.MinorName(), argumentKeys[Kubelet], name, name)
			}
			continue
		}
		if !given && i+1 < len(user) {
			i++
			value = user[i].Text
		}
		if value == "" {
			r.problem(Fatal, v.Origin, "%s of the kubelet has no value, and K3s exits", name)
			continue
		}
		named := Value{Text: r.fromServer(value), Origin: v.Origin, Open: v.Open}
		if name == "config" {
			config = named
		} else {
			dir = named
		}
	}
	return rest, config, dir
}

// fromServer makes a path absolute that a component is given: a server has made
// its own directory the working directory by then.
func (r *resolver) fromServer(p string) string {
	if !path.IsAbs(p) && r.role == Server {
		return path.Join(LayoutOf(r.effective.DataDir).Server(), p)
	}
	return path.Clean("/" + p)
}

// kubeletConfigFiles lists the kubelet's configuration files in the order they
// apply. K3s's own file, which it writes anew at every start, is an entry
// without a path.
func (r *resolver) kubeletConfigFiles(config, dir Value) []node.Entry {
	if !r.release.WritesKubeletConfig() {
		files := r.lookupFile(config)
		r.named(files)
		return files
	}
	root := LayoutOf(r.effective.DataDir).KubeletConfigDir()
	byName := map[string][]node.Entry{kubeletDefaults: {{}}}
	r.collectConf(root, "", byName)
	byName[kubeletDefaults] = []node.Entry{{}}
	// K3s writes this one only when it is told of a file elsewhere: what an
	// earlier run left is read like any other.
	if config.Text != "" && !strings.HasPrefix(config.Text, root) {
		byName[kubeletCLIConfig] = r.lookupFile(config)
		r.named(byName[kubeletCLIConfig])
		r.effective.KubeletCopied, r.effective.KubeletCopy = config.Text, path.Join(root, kubeletCLIConfig)
	}
	if dir.Text != "" && !strings.HasPrefix(dir.Text, root) {
		if _, presence := r.node.Lookup(dir.Text); presence == node.Absent {
			r.problem(Fatal, dir.Origin, "config-dir of the kubelet names %s, which does not exist, and K3s exits", dir.Text)
		}
		r.collectConf(dir.Text, kubeletCLIDir+"/", byName)
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
		if strings.HasPrefix(name, kubeletCLIDir+"/") && !strings.HasPrefix(byName[name][0].Path, root) {
			r.named(byName[name])
		}
	}
	slices.Sort(r.effective.KubeletNamed)
	// The kubelet walks the directory: each level sorted, a directory's files
	// at the place of its name.
	level := strings.NewReplacer("/", "\x00") // which comes before all that names have
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(level.Replace(a), level.Replace(b)) })
	var out []node.Entry
	for _, name := range names {
		out = append(out, byName[name]...)
	}
	return out
}

// named notes files that kubelet-arg names.
func (r *resolver) named(files []node.Entry) {
	for _, f := range files {
		r.effective.KubeletNamed = append(r.effective.KubeletNamed, f.Path)
	}
}

// collectConf adds the .conf files below root under prefix plus their path.
func (r *resolver) collectConf(root, prefix string, byName map[string][]node.Entry) {
	switch e, presence := r.node.Lookup(root); {
	case presence == node.Unknown:
		r.unknown(node.Pick{Path: root, Depth: node.Deep, Content: true})
	case presence == node.Present && e.Unread != "":
		r.problem(Unreadable, Origin{Source: root}, "cannot be listed: %s", e.Unread)
	}
	r.undoneBelow(root)
	for _, e := range r.node.Below(root) {
		if e.Kind == node.KindDirectory {
			if e.Unread != "" {
				r.problem(Unreadable, Origin{Source: e.Path}, "cannot be listed: %s", e.Unread)
			}
			continue
		}
		if path.Ext(e.Path) == ".conf" {
			byName[prefix+strings.TrimPrefix(e.Path, root+"/")] = []node.Entry{e}
		}
	}
}

// lookupFile finds a file that an argument names.
func (r *resolver) lookupFile(v Value) []node.Entry {
	if v.Text == "" {
		return nil
	}
	e, presence := r.node.Lookup(v.Text)
	switch presence {
	case node.Unknown:
		r.unknown(node.Pick{Path: v.Text, Content: true})
		return nil
	case node.Absent:
		r.problem(Fatal, v.Origin, "the kubelet's configuration file %s does not exist, and K3s exits", v.Text)
		return nil
	}
	return []node.Entry{e}
}

// readKubeletFile adds what one KubeletConfiguration says to layers.
func (r *resolver) readKubeletFile(e node.Entry, layers kubeletLayers) {
	whole := Origin{Source: e.Path}
	switch {
	case e.Unread != "":
		r.problem(Unreadable, whole, "cannot be read: %s", e.Unread)
		return
	case e.Kind != node.KindFile:
		r.problem(Unreadable, whole, "is not a regular file")
		return
	case e.Data == nil && e.Size > 0:
		r.unknown(node.Pick{Path: e.Path, Content: true})
		return
	}
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(e.Data)).Decode(&doc); err != nil {
		line, what := safetext.YAMLFault(err)
		whole.Line = line
		r.problem(Fatal, whole, "the kubelet cannot parse it and exits: %s", what)
		return
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode || hasAlias(root, 0) {
		r.problem(Fatal, whole, "is not a KubeletConfiguration written out in full (a mapping without aliases)")
		return
	}
	for field, want := range map[string]string{"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1"} {
		if n := descend(root, []string{field}); n == nil || n.Value != want {
			r.problem(Fatal, whole, "has no %s: %s, and the kubelet exits", field, want)
		}
	}
	for _, f := range kubeletFields {
		n := descend(root, strings.Split(f.path, "."))
		if n == nil {
			continue
		}
		layers.add(f, n, e.Path)
	}
}

func hasAlias(n *yaml.Node, depth int) bool {
	return n.Kind == yaml.AliasNode || depth > 100 ||
		slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return hasAlias(c, depth+1) })
}

// descend finds a field below a mapping; of doubles the last.
func descend(n *yaml.Node, fields []string) *yaml.Node {
	for _, field := range fields {
		if n.Kind != yaml.MappingNode {
			return nil
		}
		var found *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == field {
				found = n.Content[i+1]
			}
		}
		if found == nil {
			return nil
		}
		n = found
	}
	return n
}
