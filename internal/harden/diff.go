package harden

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"sort"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Diff shows what plan would change on a node: a unified diff for each file,
// one line for each change of mode or owner, for what is made, copied or
// removed, and for each parameter of a running kernel. Values of K3s keys that
// are secrets, and whole manifests with Secrets, are not shown. It is empty
// when nothing would change. A nil node stands for an empty one.
func Diff(plan *Plan, have *node.Node) string {
	var b strings.Builder
	for _, e := range plan.Change.Write {
		diffEntry(&b, e, lookup(have, e.Path))
	}
	for _, from := range sortedKeys(plan.Change.Keep) {
		if _, presence := lookupIn(have, plan.Change.Keep[from]); presence != node.Present {
			fmt.Fprintf(&b, "%s: the original is kept as %s\n", from, plan.Change.Keep[from])
		}
	}
	for _, p := range plan.Change.Remove {
		if _, presence := lookupIn(have, p); presence != node.Absent {
			fmt.Fprintf(&b, "%s: removed\n", p)
		}
	}
	if have != nil && have.Kernel != nil {
		for _, name := range sortedKeys(plan.Change.Kernel) {
			if now, ok := have.Kernel[name]; ok && now != plan.Change.Kernel[name] {
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
func unified(path string, old, data []byte, isNew bool) string {
	if holdsSecret(old) || holdsSecret(data) {
		return fmt.Sprintf("%s: content changes (%d to %d bytes, not shown: it may hold a secret)\n", path, len(old), len(data))
	}
	from := path
	if isNew {
		from = "/dev/null"
	}
	out := udiff.Unified(from, path, string(hideSecrets(old)), string(hideSecrets(data)))
	if out == "" {
		return fmt.Sprintf("%s: only hidden values change\n", path)
	}
	return out
}

// holdsSecret says whether a manifest holds an object that secrets are kept in.
func holdsSecret(data []byte) bool { return secretKind.Match(data) }

var secretKind = regexp.MustCompile(`\bkind["']?\s*:\s*["']?(Secret|HelmChart)`)

// userInfo is the name and password in a URL.
var userInfo = regexp.MustCompile(`://[^/\s@'"]+@`)

// hideSecrets replaces the values of keys that K3s keeps secrets in, by whole
// lines: a value may go on over several. A file that is not YAML is checked
// line by line.
func hideSecrets(data []byte) []byte {
	lines := strings.SplitAfter(string(data), "\n")
	for _, span := range secretSpans(data) {
		for i := span.first; i <= span.last && i <= len(lines); i++ {
			line := &lines[i-1]
			end := ""
			if strings.HasSuffix(*line, "\n") {
				end = "\n"
			}
			if i == span.first {
				*line = span.key + ": (hidden)" + end
			} else {
				*line = "  (hidden)" + end
			}
		}
	}
	for i, line := range lines {
		if key, _, ok := strings.Cut(line, ":"); ok && !strings.HasSuffix(strings.TrimSpace(line), "(hidden)") {
			name := strings.Trim(key, " \t-\"'#{,+")
			if isSecretKey(name) {
				lines[i] = key + ": (hidden)" + line[len(strings.TrimRight(line, "\r\n")):]
				continue
			}
		}
		lines[i] = userInfo.ReplaceAllString(line, "://(hidden)@")
	}
	return []byte(strings.Join(lines, ""))
}

func isSecretKey(name string) bool {
	_, known := k3s.FindKey(name)
	return known && k3s.Secret(name)
}

type span struct {
	key         string
	first, last int // lines, from 1
}

// secretSpans are the lines of secret keys, comments behind them included, up
// to the next key.
func secretSpans(data []byte) []span {
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	root := doc.Content[0]
	total := bytes.Count(data, []byte("\n"))
	if len(data) > 0 && data[len(data)-1] != '\n' {
		total++
	}
	var out []span
	for i := 0; i+1 < len(root.Content); i += 2 {
		k := root.Content[i]
		if !isSecretKey(strings.TrimSuffix(k.Value, "+")) {
			continue
		}
		last := total
		if i+2 < len(root.Content) {
			last = max(root.Content[i+2].Line-1, k.Line)
		} else if end, simple := lastLine(root.Content[i+1]); simple {
			last = end
		}
		out = append(out, span{k.Value, k.Line, last})
	}
	return out
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

func lookupIn(have *node.Node, p string) (node.Entry, node.Presence) {
	if have == nil {
		return node.Entry{}, node.Absent
	}
	return have.Lookup(p)
}

func lookup(have *node.Node, p string) *node.Entry {
	if e, presence := lookupIn(have, p); presence == node.Present {
		return &e
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
