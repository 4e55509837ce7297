package k3s

import (
	"path"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

// option is one key of a configuration file or one option of the command line
// with the values it gives.
type option struct {
	// name is as written, without dashes and without a "+" behind it.
	name   string
	append bool
	list   bool
	values []Value
	origin Origin
}

// readConfig reads the configuration file and its drop-ins and merges them by
// K3s's rules: a later plain key replaces what came before, lists included;
// "key+" appends. The order is that in which keys were first seen.
func (r *resolver) readConfig(file string) []option {
	entries := r.configFiles(file)
	if len(entries) > 0 && !r.release.ReadsConfigFile() {
		r.problem(Ignored, Origin{Source: entries[0].Path}, "K3s %s reads no configuration file (it does from v1.19): put the options into the service", r.release)
		return nil
	}
	if r.tooMuch(entries) {
		return nil
	}
	var merged []option
	index := map[string]int{}
	for _, e := range entries {
		if e.Kind == node.KindLink { // reached only where K3s could read the files before it
			r.vain(everyKey, nil, Origin{Source: e.Path}, "%s is a link that leads nowhere: K3s takes that for a missing configuration and reads no configuration file at all; remove it", e.Path)
			return nil
		}
		for _, o := range r.readConfigFile(e) {
			i, seen := index[o.name]
			if !seen {
				index[o.name] = len(merged)
				merged = append(merged, o)
				continue
			}
			old := merged[i]
			if o.append {
				old.values = append(old.values, o.values...)
				old.list = true
				merged[i] = old
				continue
			}
			r.replaced(old, o)
			merged[i] = o
		}
	}
	return withoutValue(merged)
}

// withoutValue gives a key that has no value at all the empty one, as K3s
// does. Until then it has none, because appending to it starts a new list.
func withoutValue(options []option) []option {
	for i, o := range options {
		if !o.list && len(o.values) == 0 {
			options[i].values = []Value{{Origin: o.origin}}
		}
	}
	return options
}

// replaced reports that a key takes the place of an earlier one with other values.
func (r *resolver) replaced(old, now option) {
	if sameValues(old.values, now.values) && old.origin.Source != now.origin.Source {
		return
	}
	switch {
	case old.origin.Source == now.origin.Source:
		r.vain(old.name, old.values, old.origin, "%s is given again at %s, which counts; remove one of them", ShownKey(old.name), now.origin)
	case old.list || now.list:
		r.vain(old.name, old.values, old.origin, "the list %s is replaced whole by %s; write %s+ there to append to it", ShownKey(old.name), now.origin, ShownKey(now.name))
	default:
		r.problem(Noted, old.origin, "%s: %s is replaced by %s at %s", ShownKey(old.name),
			show(old), show(now), now.origin)
	}
}

func show(o option) string {
	var texts []string
	for _, v := range o.values {
		texts = append(texts, Redact(o.name, v.Text))
	}
	return strings.Join(texts, ",")
}

func sameValues(a, b []Value) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Text != b[i].Text {
			return false
		}
	}
	return true
}

// configFiles finds the configuration file and its drop-ins, in the order K3s
// reads them. What was not looked at becomes a problem.
func (r *resolver) configFiles(file string) []node.Entry {
	var out []node.Entry
	if strings.HasPrefix(file, "http://") || strings.HasPrefix(file, "https://") {
		r.problem(Unreadable, Origin{Source: file}, "the configuration is read from the network at start, so it cannot be judged")
		return nil
	}
	switch e, presence := r.node.Lookup(path.Clean(file)); {
	case presence == node.Unknown:
		r.unknown(node.Pick{Path: path.Clean(file), Content: true})
	case presence == node.Present && e.Kind == node.KindLink:
		r.vain(everyKey, nil, Origin{Source: e.Path}, "%s is a link that leads nowhere: K3s takes it for missing and reads none of what was meant to be there; remove the link or bring its target", e.Path)
	case presence == node.Present:
		out = append(out, e)
	}
	dir := DropInDir(path.Clean(file))
	switch e, presence := r.node.Lookup(dir); {
	case presence == node.Unknown:
		r.unknown(DropIns(path.Clean(file)))
	case presence == node.Present && e.Kind == node.KindFile:
		r.problem(Fatal, Origin{Source: dir}, "is not a directory, and K3s refuses to start: remove it or make it a directory of .yaml files")
	case presence == node.Present && e.Unread != "":
		r.problem(Unreadable, Origin{Source: dir}, "cannot be listed: %s", e.Unread)
	}
	r.undoneBelow(dir)
	for _, e := range r.node.Below(dir) {
		lower := strings.ToLower(path.Base(e.Path))
		yamlFile := strings.HasSuffix(lower, ".yaml") || strings.HasSuffix(lower, ".yml")
		switch {
		case path.Dir(e.Path) != dir:
		case !yamlFile && e.Kind == node.KindFile:
			r.problem(Noted, Origin{Source: e.Path}, "K3s reads only files ending in .yaml or .yml here, and not this one")
		case yamlFile && e.Kind == node.KindDirectory && e.Target != "":
			r.problem(Fatal, Origin{Source: e.Path}, "leads to a directory, which K3s cannot read: remove the link")
		case yamlFile && e.Kind != node.KindDirectory && !r.release.ReadsConfigDropIns():
			r.problem(Ignored, Origin{Source: e.Path}, "K3s %s reads no drop-ins (it does from v1.21): move its keys into %s", r.release, file)
		case yamlFile && e.Kind != node.KindDirectory:
			out = append(out, e)
		}
	}
	return out
}

// readConfigFile reads one file the way K3s does: yaml.v2, not strict, the
// first document only. Lines come from a second parse that keeps positions.
func (r *resolver) readConfigFile(e node.Entry) []option {
	whole := Origin{Source: e.Path}
	switch {
	case e.Unread != "":
		r.problem(Unreadable, whole, "cannot be read: %s", e.Unread)
		return nil
	case e.Kind == node.KindDirectory:
		r.problem(Fatal, whole, "is a directory, and K3s refuses to start: remove it")
		return nil
	case e.Kind != node.KindFile:
		r.problem(Unreadable, whole, "is not a regular file")
		return nil
	case e.Data == nil && e.Size > 0:
		r.unknown(node.Pick{Path: e.Path, Content: true})
		return nil
	}
	items, err := decodeV2(e.Data)
	if err != nil {
		line, what := safetext.YAMLFault(err)
		whole.Line = line
		r.problem(Fatal, whole, "K3s cannot parse it and exits: %s", what)
		return nil
	}
	keys, several := positions(e.Data, len(items))
	if several {
		r.problem(Ignored, whole, "K3s reads only the first YAML document of a file: join them into one")
	}
	var out []option
	for i, item := range items {
		origin := whole
		if keys != nil {
			origin.Line = keys[i].line
		}
		o := option{name: scalar(item.Key), origin: origin}
		o.name, o.append = strings.CutSuffix(o.name, "+")
		if o.append && !r.release.ReadsConfigDropIns() {
			o.name, o.append = o.name+"+", false
		}
		switch v := item.Value.(type) {
		case []any:
			o.list = true
			for j, element := range v {
				at := origin
				if keys != nil && j < len(keys[i].items) {
					at.Line = keys[i].items[j]
				}
				if _, pairs := element.(yamlv2.MapSlice); pairs {
					r.problem(Fatal, at, "an item of %s is a mapping, which K3s passes on as nonsense: write name=value", ShownKey(o.name))
					continue
				}
				o.values = append(o.values, Value{Text: scalar(element), Origin: at})
			}
		case yamlv2.MapSlice:
			r.problem(Fatal, origin, "%s has keys below it, which K3s does not understand: give one value or a list of values", ShownKey(o.name))
			continue
		case nil: // see withoutValue
		default:
			if keys != nil && keys[i].value > 0 {
				origin.Line = keys[i].value
			}
			o.values = []Value{{Text: scalar(v), Origin: origin}}
		}
		out = append(out, o)
	}
	return out
}
