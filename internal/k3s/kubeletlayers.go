package k3s

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// kubeletLayers is what the files say so far, by flag.
type kubeletLayers map[string]kubeletValue

// kubeletValue is one flag's value: whole, or by key where files merge.
type kubeletValue struct {
	whole  *Argument
	byKey  map[string]Argument
	joiner string
}

func (l kubeletLayers) defaults(own []Argument) {
	for _, a := range own {
		f, _ := fieldOf(a.Name)
		if f.joiner == "" {
			l[a.Name] = kubeletValue{whole: &a}
			continue
		}
		v := l.keyed(a.Name, f.joiner)
		for pair := range strings.SplitSeq(a.Value, ",") {
			key, _, _ := strings.Cut(pair, f.joiner)
			v.byKey[key] = Argument{Name: a.Name, Value: pair, Origin: a.Origin}
		}
	}
}

func (l kubeletLayers) keyed(flag, joiner string) kubeletValue {
	v, ok := l[flag]
	if !ok || v.byKey == nil {
		v = kubeletValue{byKey: map[string]Argument{}, joiner: joiner}
		l[flag] = v
	}
	return v
}

// add merges a field the way the kubelet merges its files (JSON merge patch):
// lists and scalars replace, maps merge by key, null removes.
func (l kubeletLayers) add(f kubeletField, n *yaml.Node, file string) {
	origin := Origin{Source: file, Line: n.Line}
	switch {
	case n.Tag == "!!null":
		delete(l, f.flag)
	case n.Kind == yaml.ScalarNode:
		l[f.flag] = kubeletValue{whole: &Argument{Name: f.flag, Value: f.text(n), Origin: origin}}
	case n.Kind == yaml.SequenceNode:
		var items []string
		for _, item := range n.Content {
			items = append(items, item.Value)
		}
		l[f.flag] = kubeletValue{whole: &Argument{Name: f.flag, Value: strings.Join(items, ","), Origin: origin}}
	case n.Kind == yaml.MappingNode && f.joiner != "":
		v := l.keyed(f.flag, f.joiner)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i].Value, n.Content[i+1]
			if value.Tag == "!!null" {
				delete(v.byKey, key)
				continue
			}
			v.byKey[key] = Argument{Name: f.flag, Value: key + f.joiner + value.Value, Origin: Origin{Source: file, Line: value.Line}}
		}
	}
}

// arguments returns what the files say, sorted by flag.
func (l kubeletLayers) arguments() []Argument {
	var out []Argument
	for _, v := range l {
		if v.whole != nil {
			out = append(out, *v.whole)
		}
		for _, a := range v.byKey {
			out = append(out, a)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Name != out[j].Name {
			return out[i].Name < out[j].Name
		}
		return out[i].Value < out[j].Value
	})
	return out
}

// kubeletField is a field of KubeletConfiguration and the flag it stands for.
type kubeletField struct {
	path, flag string
	// joiner stands between key and value of a map's items on the command
	// line; empty for all other fields.
	joiner string
	// boolean fields are read as YAML 1.1 does: yes and on are true.
	boolean bool
}

func (f kubeletField) text(n *yaml.Node) string {
	if !f.boolean {
		return n.Value
	}
	switch strings.ToLower(n.Value) {
	case "true", "yes", "on", "y":
		return "true"
	case "false", "no", "off", "n":
		return "false"
	}
	return fmt.Sprintf("%s (not a boolean)", strconv.Quote(n.Value))
}

func fieldOf(flag string) (kubeletField, bool) {
	i := slices.IndexFunc(kubeletFields, func(f kubeletField) bool { return f.flag == flag })
	if i < 0 {
		return kubeletField{}, false
	}
	return kubeletFields[i], true
}
