package configfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// Document is one K3s configuration file that is being edited. What is not
// edited keeps its bytes: comments, blank lines, quotes and order survive.
type Document struct {
	Path string
	// present says whether the file is on the node already.
	Present bool
	data    []byte
	root    *yaml.Node // the mapping
	// changed holds the key nodes of entries that were edited, added ones too.
	changed map[*yaml.Node]bool
	// lasts holds the last line of entries from which items were removed.
	lasts map[*yaml.Node]int
}

// Entry is one key of a document.
type Entry struct {
	doc *Document
	// name is K3s's long name of the key, without the + that appends.
	Name  string
	Plus  bool
	Key   *yaml.Node
	value *yaml.Node
}

// Parse reads a configuration file. A nil data stands for a file that
// is not there.
func Parse(path string, data []byte) (*Document, error) {
	d := &Document{Path: path, Present: data != nil, data: data, changed: map[*yaml.Node]bool{}, lasts: map[*yaml.Node]int{}}
	d.root = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return d, nil
	} else if err != nil {
		line, what := safetext.YAMLFault(err)
		return nil, fmt.Errorf("%s: is not YAML that K3s can read: %s", k3s.Origin{Source: path, Line: line}, what)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return d, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: found a %s where K3s wants a mapping of keys to values", path, root.Line, kindName(root))
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil && len(second.Content) > 0 && second.Content[0].Tag != "!!null" {
		return nil, fmt.Errorf("%s:%d: K3s reads the first YAML document alone and drops this one: join the two", path, second.Content[0].Line)
	}
	for i := 0; i < len(root.Content); i += 2 {
		if k := root.Content[i]; k.Kind != yaml.ScalarNode || k.Tag == "!!merge" {
			return nil, fmt.Errorf("%s:%d: found a %s as a key where K3s wants the name of a flag", path, k.Line, kindName(k))
		}
	}
	d.root = root
	return d, nil
}

// Entries lists the document's keys in order. K3s counts only the last of two
// equal keys, so earlier ones are left out.
func (d *Document) Entries() []Entry {
	var out []Entry
	at := map[string]int{} // of a key in out
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		k := d.root.Content[i]
		name, plus := strings.CutSuffix(k.Value, "+")
		if k, ok := k3s.FindKey(name); ok {
			name = k.Name
		}
		e := Entry{doc: d, Name: name, Plus: plus, Key: k, value: d.root.Content[i+1]}
		if j, twice := at[k.Value]; twice {
			out[j] = e
			continue
		}
		at[k.Value] = len(out)
		out = append(out, e)
	}
	return out
}

// Items are the scalars an entry gives K3s, one a flag.
func (e Entry) Items() []*yaml.Node {
	v := resolve(e.value)
	if v.Kind != yaml.SequenceNode {
		return []*yaml.Node{v}
	}
	out := make([]*yaml.Node, 0, len(v.Content))
	for _, n := range v.Content {
		out = append(out, resolve(n))
	}
	return out
}

// Place is where a node of the document stands.
func (d *Document) Place(n *yaml.Node) string {
	if n.Line == 0 {
		return d.Path
	}
	return fmt.Sprintf("%s:%d", d.Path, n.Line)
}

// Edited says whether anything of the document is to be written.
func (d *Document) Edited() bool { return len(d.changed) > 0 }

// Add gives key one more item; a key that has none is made, as a list when
// list is true.
func (d *Document) Add(key, value string, list bool) {
	for _, e := range d.Entries() {
		if e.Name != key {
			continue
		}
		d.changed[e.Key] = true
		if v := resolve(e.value); v.Kind == yaml.SequenceNode {
			v.Content = append(v.Content, scalar(value))
			if strings.Contains(value, "=") {
				v.Style &^= yaml.FlowStyle // arguments are long: one a line
			}
			return
		}
		old := *e.value
		*e.value = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if old.Tag != "!!null" {
			e.value.Content = append(e.value.Content, &old)
		}
		e.value.Content = append(e.value.Content, scalar(value))
		return
	}
	k, v := scalar(key), scalar(value)
	if list {
		v = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{v}}
	}
	d.root.Content = append(d.root.Content, k, v)
	d.changed[k] = true
}

// Set replaces the text of one item of e.
func (d *Document) Set(e Entry, item *yaml.Node, value string) {
	n := scalar(value)
	item.Value, item.Tag, item.Style, item.Kind = n.Value, n.Tag, n.Style, n.Kind
	d.changed[e.Key] = true
}

// Append gives the list that key+ appends to those of earlier files one more
// item; it is made where there is none.
func (d *Document) Append(key, value string) {
	i := slices.IndexFunc(d.Entries(), func(e Entry) bool { return e.Name == key })
	if i < 0 {
		d.Add(key+"+", value, true)
		return
	}
	d.Add(key, value, true)
}

// Remove takes one item out of e, whose value is a list from then on.
func (d *Document) Remove(e Entry, item *yaml.Node) {
	d.changed[e.Key] = true
	if last, simple := lastLine(e.value); simple {
		d.lasts[e.Key] = max(d.lasts[e.Key], last)
	}
	if v := resolve(e.value); v.Kind == yaml.SequenceNode {
		v.Content = slices.DeleteFunc(v.Content, func(n *yaml.Node) bool { return resolve(n) == item })
		return
	}
	*e.value = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
}

// Rename gives an entry's key another name.
func (d *Document) Rename(e Entry, name string) {
	d.changed[e.Key] = true
	e.Key.Value = name
}

func scalar(v string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v}
	if v == "true" || v == "false" {
		n.Tag = "!!bool"
		return n
	}
	// K3s reads YAML 1.1, where y, on and no are no text either.
	var read any
	if err := yamlv2.Unmarshal([]byte(v), &read); err == nil {
		switch read.(type) {
		case bool, int, float64:
			n.Style = yaml.DoubleQuotedStyle
		}
	}
	return n
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

func kindName(n *yaml.Node) string {
	switch resolve(n).Kind {
	case yaml.MappingNode:
		return "mapping"
	case yaml.SequenceNode:
		return "list"
	default:
		return "single value"
	}
}
