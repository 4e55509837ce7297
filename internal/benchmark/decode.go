package benchmark

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder reads YAML strictly and keeps every error with its line and column.
type decoder struct {
	name string
	errs []error
}

func (d *decoder) fail(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("%s:%d:%d: %s", d.name, n.Line, n.Column, fmt.Sprintf(format, args...)))
}

// document parses data as one YAML document. A nil node means an empty one.
func (d *decoder) document(data []byte) *yaml.Node {
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	if err := dec.Decode(&doc); err != nil {
		if len(data) > 0 && !errors.Is(err, io.EOF) {
			d.syntax(err)
		}
		return nil
	}
	if len(doc.Content) == 0 {
		return nil
	}
	var more yaml.Node
	if err := dec.Decode(&more); err == nil {
		d.fail(&more, "a second document is not read: put all controls into one list")
	}
	return doc.Content[0]
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

// syntax reports the parser's own error. It knows no column; the first is
// where the faulty line begins.
func (d *decoder) syntax(err error) {
	line, text := "1", strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, text = m[1], m[2]
	}
	d.errs = append(d.errs, fmt.Errorf("%s:%s:1: not valid YAML: %s", d.name, line, text))
}

// fields calls, for each key of mapping n, the function of that name. Unknown
// and repeated keys are errors, and so are missing ones of required.
func (d *decoder) fields(n *yaml.Node, what string, known map[string]func(*yaml.Node), required ...string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s must be a mapping, found %s", what, kindOf(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		read, ok := known[k.Value]
		switch {
		case k.Kind != yaml.ScalarNode:
			d.fail(k, "%s: a key must be a word, found %s", what, kindOf(k))
		case seen[k.Value]:
			d.fail(k, "%s: %q is there twice", what, k.Value)
		case !ok:
			d.fail(k, "%s has no %q: it knows %s", what, k.Value, strings.Join(names(known), ", "))
		default:
			read(v)
		}
		seen[k.Value] = true
	}
	for _, r := range required {
		if !seen[r] {
			d.fail(n, "%s needs %q", what, r)
		}
	}
}

// each calls read for each item of sequence n, which must have one.
func (d *decoder) each(n *yaml.Node, what string, read func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "%s must be a list, found %s", what, kindOf(n))
		return
	}
	if len(n.Content) == 0 {
		d.fail(n, "%s is an empty list", what)
	}
	for _, item := range n.Content {
		read(item)
	}
}

func (d *decoder) text(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.fail(n, "a text is wanted here, found %s", kindOf(n))
		return ""
	}
	return n.Value
}

func (d *decoder) texts(n *yaml.Node) []string {
	var out []string
	d.each(n, "this", func(item *yaml.Node) { out = append(out, d.text(item)) })
	return out
}

func (d *decoder) oneOf(n *yaml.Node, allowed ...string) string {
	s := d.text(n)
	if !slices.Contains(allowed, s) {
		d.fail(n, "%q is not one of %s", s, strings.Join(allowed, ", "))
	}
	return s
}

func (d *decoder) number(n *yaml.Node) int {
	i, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.fail(n, "a whole number is wanted here, found %s", kindOf(n))
	}
	return i
}

// yes reads the value of a switch that can only be turned on.
func (d *decoder) yes(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || n.Value != "true" {
		d.fail(n, "write true, or leave the key out; found %s", kindOf(n))
	}
}

func (d *decoder) fileMode(n *yaml.Node) fs.FileMode {
	m, err := strconv.ParseUint(n.Value, 8, 32)
	if n.Kind != yaml.ScalarNode || err != nil || m > 0o777 {
		d.fail(n, "a file mode in octal such as \"600\" is wanted here, found %s", kindOf(n))
	}
	return fs.FileMode(m)
}

func (d *decoder) line(n *yaml.Node) *minor {
	m, err := parseMinor(d.text(n))
	if err != nil {
		d.fail(n, "%v", err)
	}
	return &m
}

func (d *decoder) patches(n *yaml.Node) []patch {
	var out []patch
	for i, s := range d.texts(n) {
		p, err := parsePatch(s)
		if err != nil {
			d.fail(n.Content[i], "%v", err)
		}
		out = append(out, p)
	}
	return out
}

// err returns all errors found, joined.
func (d *decoder) err() error { return errors.Join(d.errs...) }

func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias, which is not read here"
	case n.Tag == "!!null":
		return "nothing"
	}
	return strconv.Quote(n.Value)
}

func names[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
