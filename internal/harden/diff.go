package harden

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// Diff shows what plan would change on a node: a unified diff for each file,
// one line for each change of mode or owner, for what is made, copied or
// removed, and for each parameter of a running kernel. Of what the node has
// only values of K3s keys are shown that cannot be secrets, and what the plan
// writes too; of the user's own manifests nothing. It is empty when nothing would
// change. A nil node stands for an empty one.
func Diff(plan *Plan, current *node.Node) string {
	var b strings.Builder
	for _, e := range plan.Change.Write {
		diffEntry(&b, e, lookup(current, e.Path))
	}
	for _, p := range slices.Sorted(maps.Keys(plan.Change.Modes)) {
		if old := lookup(current, p); old != nil && old.Mode != plan.Change.Modes[p] {
			fmt.Fprintf(&b, "%s: mode %s -> %s\n", p, octal(old.Mode), octal(plan.Change.Modes[p]))
		}
	}
	for _, from := range slices.Sorted(maps.Keys(plan.Change.Keep)) {
		if _, presence := lookupIn(current, plan.Change.Keep[from]); presence != node.Present {
			fmt.Fprintf(&b, "%s: the original is kept as %s\n", from, plan.Change.Keep[from])
		}
	}
	for _, p := range plan.Change.Remove {
		if _, presence := lookupIn(current, p); presence != node.Absent {
			fmt.Fprintf(&b, "%s: removed\n", p)
		}
	}
	if current != nil && current.Kernel != nil {
		for _, name := range slices.Sorted(maps.Keys(plan.Change.Kernel)) {
			if now, ok := current.Kernel[name]; ok && now != plan.Change.Kernel[name] {
				fmt.Fprintf(&b, "running kernel: %s %s -> %s\n", name, now, plan.Change.Kernel[name])
			}
		}
	}
	return b.String()
}

// diffEntry shows one path; old is nil where there is nothing yet.
func diffEntry(b *strings.Builder, e node.Entry, old *node.Entry) {
	switch {
	case old == nil && e.Kind == node.KindDirectory:
		fmt.Fprintf(b, "%s: new directory, mode %s, owner %d:%d\n", e.Path, octal(e.Mode), e.UID, e.GID)
		return
	case old == nil:
		fmt.Fprintf(b, "%s: new file, mode %s, owner %d:%d\n", e.Path, octal(e.Mode), e.UID, e.GID)
		b.WriteString(unified(e.Path, nil, e.Data, true))
		return
	case old.Kind != e.Kind:
		fmt.Fprintf(b, "%s: is a %s, becomes a %s\n", e.Path, old.Kind, e.Kind)
		return
	}
	if old.Mode != e.Mode {
		fmt.Fprintf(b, "%s: mode %s -> %s\n", e.Path, octal(old.Mode), octal(e.Mode))
	}
	if old.UID != e.UID || old.GID != e.GID {
		fmt.Fprintf(b, "%s: owner %d:%d -> %d:%d\n", e.Path, old.UID, old.GID, e.UID, e.GID)
	}
	if e.Kind != node.KindFile {
		return
	}
	if old.Data == nil {
		fmt.Fprintf(b, "%s: content becomes %d bytes (what it is now was not read)\n", e.Path, len(e.Data))
		return
	}
	if !bytes.Equal(old.Data, e.Data) {
		b.WriteString(unified(e.Path, old.Data, e.Data, false))
	}
}

// unified is the unified diff of a file with its secrets hidden.
func unified(name string, old, data []byte, isNew bool) string {
	hide := newLines(data)
	switch {
	case isConfiguration(name):
		hide = hideSecrets
	case holdsSecret(name, old) || holdsSecret(name, data):
		return fmt.Sprintf("%s: content changes (%d to %d bytes, not shown: it may hold a secret)\n", name, len(old), len(data))
	}
	from := name
	if isNew {
		from = "/dev/null"
	}
	out := udiff.Unified(from, name, string(hide(old)), string(hide(data)))
	if out == "" {
		return fmt.Sprintf("%s: only hidden values change\n", name)
	}
	return out
}

// isConfiguration says whether a path is one of K3s's configuration files,
// wherever these are.
func isConfiguration(name string) bool {
	dir := path.Dir(name)
	return isYAML(name) && (path.Base(name) == path.Base(k3s.ConfigFile) || name == agentConfig || isYAML(dir)) || strings.HasSuffix(dir, ".yaml.d")
}

// holdsSecret says whether a file may hold an object that secrets are kept in:
// a manifest of the user's own, or what says that it does.
func holdsSecret(name string, data []byte) bool {
	own := slices.Contains(planManifests, path.Base(name))
	return !own && strings.Contains(name, "/manifests/") || secretKind.Match(data)
}

var secretKind = regexp.MustCompile(`\bkind["']?\s*:\s*["']?(Secret|HelmChart)`)

const hidden = safetext.Hidden

// newLines returns what hides the lines that the new content of a file does not
// have: whose they are and what they hold is not known.
func newLines(data []byte) func([]byte) []byte {
	known := map[string]bool{}
	for line := range bytes.Lines(data) {
		known[strings.TrimRight(string(line), "\r\n")] = true
	}
	return func(text []byte) []byte {
		var out bytes.Buffer
		for line := range bytes.Lines(text) {
			shown := strings.TrimRight(string(line), "\r\n")
			if !known[shown] && strings.TrimSpace(shown) != "" {
				shown = hidden
			}
			out.WriteString(safetext.Passwords(shown) + "\n")
		}
		return out.Bytes()
	}
}

// hideSecrets shows of a configuration file the values that cannot be secrets,
// by whole lines: a value may go on over several, and what is in the others
// need not even be YAML.
func hideSecrets(data []byte) []byte {
	shown := shownLines(data)
	var out bytes.Buffer
	number := 0
	for raw := range bytes.Lines(data) {
		number++
		line := strings.TrimRight(string(raw), "\r\n")
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		text := strings.TrimSpace(line)
		replacement, known := shown[number]
		switch {
		case known && replacement == "", text == "", text == "---", slices.Contains(comments, text):
			out.WriteString(line)
		case known:
			out.WriteString(indent + replacement)
		case strings.HasPrefix(text, "#"):
			out.WriteString(indent + "# " + hidden)
		default:
			out.WriteString(indent + hidden)
		}
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// comments are those that a plan writes into a configuration file.
var comments = []string{header, configComment, addedComment}

// shownLines says of the lines of a configuration file that are shown in what
// words, "" for as they are.
func shownLines(data []byte) map[int]string {
	out := map[int]string{}
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return out
	}
	lines := strings.Split(string(data), "\n")
	root := doc.Content[0]
	if root.Style&yaml.FlowStyle != 0 {
		return out
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if key.Line > len(lines) {
			continue
		}
		name := k3s.ShownKey(key.Value)
		out[key.Line] = name + ": " + hidden
		if name == hidden || key.Kind != yaml.ScalarNode {
			continue
		}
		first := value
		if value.Kind == yaml.SequenceNode && len(value.Content) > 0 {
			first = value.Content[0]
		}
		switch text := lines[key.Line-1]; {
		case first.Line > key.Line && strings.TrimRight(text, " \r") == key.Value+":":
			out[key.Line] = ""
		case first.Line == key.Line && harmlessLine(text, value) && harmless(key.Value, value):
			out[key.Line] = ""
		}
		if value.Kind != yaml.SequenceNode || value.Style&yaml.FlowStyle != 0 {
			continue
		}
		for _, item := range value.Content {
			if item.Line <= key.Line || item.Line > len(lines) {
				continue
			}
			out[item.Line] = "- " + hidden
			if harmlessLine(lines[item.Line-1], item) && harmless(key.Value, item) {
				out[item.Line] = ""
			}
		}
	}
	return out
}

// harmlessLine says whether a line has nothing beside a value: no comment, no
// anchor, no tag, no begin of a text over several lines.
func harmlessLine(line string, n *yaml.Node) bool {
	return !strings.ContainsAny(line, "#&*!|>\t") && n.Kind != yaml.AliasNode && n.Anchor == ""
}

// harmless says whether no value of a key is one that Redact changes.
func harmless(key string, n *yaml.Node) bool {
	switch n.Kind {
	case yaml.SequenceNode:
		return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !harmless(key, c) })
	case yaml.ScalarNode:
		return n.Anchor == "" && redact(key, n.Value) == n.Value
	}
	return false
}

// redact shows a value of a key of K3s's, or an item of a component's arguments.
func redact(key, value string) string {
	key = strings.TrimSuffix(key, "+")
	for _, c := range components {
		if k3s.ArgumentKey(c) == key {
			a := parseArg(value)
			if shown := kube.Shown(c, a.name, a.value); shown != a.value {
				return a.name + a.op + shown
			}
			return value
		}
	}
	if k, ok := k3s.FindKey(key); ok && strings.HasSuffix(k.Name, "-arg") {
		return hidden // the arguments of a component that nothing is known of
	}
	return k3s.Redact(key, value)
}

func octal(m fs.FileMode) string {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return fmt.Sprintf("%04o", bits)
}

func lookupIn(current *node.Node, p string) (node.Entry, node.Presence) {
	if current == nil {
		return node.Entry{}, node.Absent
	}
	return current.Lookup(p)
}

func lookup(current *node.Node, p string) *node.Entry {
	if e, presence := lookupIn(current, p); presence == node.Present {
		return &e
	}
	return nil
}
