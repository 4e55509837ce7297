package kube

import (
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// lines finds the line of a field in YAML or JSON text. The zero value knows
// no line of any field.
type lines struct {
	root   *yaml.Node
	offset int // lines of the file before the text
}

// linesOf reads text that begins offset lines into its file. Text that is not
// YAML gives no lines: its own parser says what is wrong with it.
func linesOf(text []byte, offset int) lines {
	var document yaml.Node
	if yaml.Unmarshal(text, &document) != nil || len(document.Content) == 0 {
		return lines{offset: offset}
	}
	return lines{root: document.Content[0], offset: offset}
}

var pathStep = regexp.MustCompile(`\[([^\]]*)\]|[^.\[]+`)

// at returns the line of the field at path, written as Kubernetes writes it
// (plugins[0].configuration.defaults.enforce), or of the nearest field above
// that exists; 0 when there is no text.
func (l lines) at(path string) int {
	if l.root == nil {
		return 0
	}
	line, node := l.root.Line, l.root
	for _, step := range pathStep.FindAllString(path, -1) {
		key, next := child(node, strings.Trim(step, `[]"`))
		if next == nil {
			break
		}
		line, node = key.Line, next
	}
	return line + l.offset
}

// child returns the node that names a member and the member itself; both are
// the item for a sequence.
func child(n *yaml.Node, step string) (key, value *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
	case yaml.MappingNode:
		// The last of two equal keys is the one that a decoder complains of.
		for i := len(n.Content) - 2; i >= 0; i -= 2 {
			if n.Content[i].Value == step {
				return n.Content[i], n.Content[i+1]
			}
		}
	}
	return nil, nil
}
