package configfile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Render returns the document's bytes: the original ones when nothing was
// edited, else the original with the edited entries put in place and the added
// ones at its end, under comment. Files that cannot be edited that way (written
// in braces, with anchors, with carriage returns) are written anew with their
// comments.
func (d *Document) Render(comment string) ([]byte, error) {
	if !d.Edited() && d.Present {
		return d.data, nil
	}
	want, err := plain(d.root)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	if out, ok := d.splice(comment); ok {
		if got, err := decode(out); err == nil && equalPlain(got, want) {
			return out, nil
		}
	}
	out, err := encode(d.root)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	if got, err := decode(out); err != nil || !equalPlain(got, want) {
		return nil, fmt.Errorf("%s: cannot be edited without changing what it means: rewrite it as plain `key: value` lines", d.Path)
	}
	return out, nil
}

// splice edits the original line by line, and puts comment before what is added.
func (d *Document) splice(comment string) ([]byte, bool) {
	if bytes.ContainsRune(d.data, '\r') || d.root.Style == yaml.FlowStyle {
		return nil, false
	}
	lines := bytes.SplitAfter(d.data, []byte("\n"))
	if n := len(lines); n > 0 && len(lines[n-1]) == 0 {
		lines = lines[:n-1]
	}
	type patch struct {
		first, last int // lines, from 1
		text        []byte
	}
	var patches []patch
	var added []byte
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		k, v := d.root.Content[i], d.root.Content[i+1]
		if !d.changed[k] {
			continue
		}
		text, err := encodeEntry(k, v)
		if err != nil {
			return nil, false
		}
		if k.Line == 0 {
			added = append(added, text...)
			continue
		}
		last, simple := lastLine(v)
		if !simple || k.Column != 1 {
			return nil, false
		}
		patches = append(patches, patch{k.Line, max(last, d.lasts[k], k.Line), text})
	}
	slices.SortFunc(patches, func(a, b patch) int { return b.first - a.first })
	for _, p := range patches {
		if p.last > len(lines) {
			return nil, false
		}
		lines = slices.Replace(lines, p.first-1, p.last, p.text)
	}
	out := bytes.Join(lines, nil)
	if len(added) == 0 {
		return out, true
	}
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	if d.Present && len(bytes.TrimSpace(out)) > 0 {
		out = append(out, "\n"+comment+"\n"...)
	}
	return append(out, added...), true
}

// lastLine is the last line of a value, and whether it can be told: the ends
// of scalars over several lines are not in the parsed tree. Neither is a
// closing bracket on a line of its own; what is left of it then fails to parse.
func lastLine(n *yaml.Node) (last int, simple bool) {
	if n.Anchor != "" || n.Kind == yaml.AliasNode || n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 ||
		strings.Contains(n.Value, "\n") {
		return 0, false
	}
	last = n.Line
	for _, c := range n.Content {
		l, ok := lastLine(c)
		if !ok {
			return 0, false
		}
		last = max(last, l)
	}
	return last, true
}

// encodeEntry writes one key and value without the comments around them, which
// stand on lines of their own and stay there.
func encodeEntry(k, v *yaml.Node) ([]byte, error) {
	key, value := *k, *v
	key.HeadComment, key.FootComment, value.HeadComment, value.FootComment = "", "", "", ""
	if n := len(value.Content); n > 0 && value.Kind == yaml.SequenceNode {
		value.Content = slices.Clone(value.Content)
		for i, item := range value.Content {
			c := *item
			if i > 0 && c.FootComment != "" && i < n-1 {
				value.Content[i] = &c
				continue
			}
			if i == n-1 {
				c.FootComment = ""
			}
			value.Content[i] = &c
		}
	}
	return encode(&yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{&key, &value}})
}

func encode(n *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// pair is a key with its items as text, what K3s makes flags of.
type pair struct {
	key   string
	items []string
}

// plain is what a mapping tells K3s: keys in order, each with its items.
func plain(root *yaml.Node) ([]pair, error) {
	var out []pair
	for i := 0; i+1 < len(root.Content); i += 2 {
		p := pair{key: root.Content[i].Value}
		v := resolve(root.Content[i+1])
		switch v.Kind {
		case yaml.SequenceNode:
			for _, c := range v.Content {
				p.items = append(p.items, "- "+resolve(c).Value)
			}
		case yaml.MappingNode:
			b, err := yaml.Marshal(v)
			if err != nil {
				return nil, err
			}
			p.items = []string{string(b)}
		default:
			p.items = []string{v.Value}
		}
		out = append(out, p)
	}
	return out, nil
}

func decode(data []byte) ([]pair, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return plain(doc.Content[0])
}

func equalPlain(a, b []pair) bool {
	return slices.EqualFunc(a, b, func(x, y pair) bool { return x.key == y.key && slices.Equal(x.items, y.items) })
}
