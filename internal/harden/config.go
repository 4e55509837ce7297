package harden

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s/configfile"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// merger brings what is desired into the configuration files of a node.
type merger struct {
	release   k3s.Release
	overwrite Overwrite
	// own is the drop-in that takes what is desired; nil where the main file does.
	own *configfile.Document
	// docs are the files in K3s's order, the main one first.
	docs []*configfile.Document
	// eff is what the node says today, units and environment included; nil
	// when it says nothing.
	eff  *k3s.Effective
	errs []error
}

// found is a value that the node gives already for something desired.
type found struct {
	value string
	where string
	doc   *configfile.Document // nil outside configuration files
	entry configfile.Entry
	item  int // index in entry.items()
}

// newMerger reads the configuration files that K3s will read.
func newMerger(o Options, current *node.Node, eff *k3s.Effective) (*merger, error) {
	m := &merger{release: o.Release, overwrite: o.Overwrite, eff: eff}
	main := k3s.ConfigFile
	if eff != nil && eff.ConfigFile != "" {
		main = eff.ConfigFile
	}
	paths := []string{main}
	if current != nil && o.Release.ReadsConfigDropIns() {
		for _, e := range current.Below(k3s.DropInDir(main)) {
			if path.Dir(e.Path) == k3s.DropInDir(main) && e.Kind == node.KindFile && isYAML(e.Path) && e.Path != ownDropIn(main) {
				paths = append(paths, e.Path)
			}
		}
	}
	own := o.Release.ReadsConfigDropIns() && foreign(current, ownDropIn(main))
	if o.Layout == LayoutDropIn || own {
		paths = append(paths, ownDropIn(main))
		slices.Sort(paths[1:])
	}
	var errs []error
	size := 0
	for i, p := range paths {
		data, err := contentOf(current, p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		size += len(data)
		if err := k3s.CheckConfigSize(i+1, size); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		if p == ownDropIn(main) && o.Layout == LayoutDropIn {
			if own {
				errs = append(errs, fmt.Errorf("%s: config_layout = %q writes this file, and the node has one of its own there: give that another name", p, LayoutDropIn))
			}
			data = nil // a plan's own file is made anew
		}
		d, err := configfile.Parse(p, data)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if p == ownDropIn(main) && o.Layout == LayoutDropIn {
			m.own = d
		}
		m.docs = append(m.docs, d)
	}
	return m, errors.Join(errs...)
}

func isYAML(p string) bool {
	ext := strings.ToLower(path.Ext(p))
	return ext == ".yaml" || ext == ".yml"
}

// merge brings in all that is desired. Errors are collected in m.errs.
func (m *merger) merge(ws []desired) {
	var keys []string
	byKey := map[string][]desired{}
	for _, w := range ws {
		if _, ok := byKey[w.key]; !ok {
			keys = append(keys, w.key)
		}
		byKey[w.key] = append(byKey[w.key], w)
	}
	if m.own == nil {
		m.spellOut()
	}
	for _, key := range keys {
		if !m.freeList(key, byKey[key]) {
			continue
		}
		for _, w := range byKey[key] {
			m.bring(w)
		}
	}
}

// spellOut writes name=true for arguments of the kubelet that stand without a
// value where K3s would drop the item behind them (from v1.32): the guide's
// arguments are added there.
func (m *merger) spellOut() {
	if !m.release.WritesKubeletConfig() {
		return
	}
	for _, d := range m.docs {
		for _, e := range d.Entries() {
			if e.Name != k3s.ArgumentKey(k3s.Kubelet) {
				continue
			}
			items := e.Items()
			for i := 0; i < len(items); i++ {
				name := strings.TrimPrefix(items[i].Value, "--")
				switch {
				case name == "" || strings.Contains(name, "="):
				case name == "config" || name == "config-dir":
					i++ // the next one is its value
				default:
					d.Set(e, items[i], items[i].Value+"=true")
				}
			}
		}
	}
}

// freeList deals with drop-ins that replace a whole list: K3s then forgets what
// earlier files say. It reports whether what is desired can be brought in.
func (m *merger) freeList(key string, ws []desired) bool {
	if !ws[0].list && ws[0].flag == "" {
		return true
	}
	for {
		i := m.replacer(key)
		if i <= max(0, slices.Index(m.docs, m.own)) {
			return true
		}
		var lost []string
		var missing []desired
		for _, w := range ws {
			if !slices.ContainsFunc(m.find(w), func(f found) bool { return w.served(f.value) }) {
				lost, missing = append(lost, w.shownText()), append(missing, w)
			}
		}
		if len(lost) == 0 {
			return true
		}
		doc := m.docs[i]
		j := slices.IndexFunc(doc.Entries(), func(e configfile.Entry) bool { return e.Name == key && !e.Plus })
		e := doc.Entries()[j]
		if !m.overwrite.Lists {
			m.errs = append(m.errs, conflict(missing, "%s: %s replaces the list of the files before it, so that %s would be lost: write `%s+:` there, or set overwrite = \"lists\" to have that done",
				doc.Place(e.Key), key, enumerate(lost, 5), e.Key.Value))
			return false
		}
		doc.Rename(e, e.Key.Value+"+")
	}
}

// replacer is the index of the last file that replaces key's list, -1 for none.
func (m *merger) replacer(key string) int {
	for i := len(m.docs) - 1; i >= 0; i-- {
		for _, e := range m.docs[i].Entries() {
			if e.Name == key && !e.Plus {
				return i
			}
		}
	}
	return -1
}

// bring makes the node say w.
func (m *merger) bring(w desired) {
	var served bool
	all := m.find(w)
	for _, f := range all {
		switch {
		case w.served(f.value) && m.passing(f):
			if !w.union {
				w.value = f.value // and stays so when the file is written anew
			}
		case w.served(f.value):
			served = true
		case w.list:
			// another item beside ours
		case w.union:
			// joined below
		case f.doc == nil:
			m.errs = append(m.errs, conflict([]desired{w}, "%s: %s, but %s wants %s: change it there, where K3s reads it last",
				f.where, describe(w, f.value), w.asker(), w.shown(w.value)))
			return
		case !m.overwrite.Config:
			m.errs = append(m.errs, conflict([]desired{w}, "%s: %s, but %s wants %s: change it there, or set overwrite = \"config\"",
				f.where, describe(w, f.value), w.asker(), w.shown(w.value)))
			return
		case m.before(f):
			// what the drop-in says counts
		default:
			f.doc.Set(f.entry, f.entry.Items()[f.item], w.text())
			served = true
		}
	}
	if served {
		return
	}
	if w.union {
		m.join(w, all)
		return
	}
	m.add(w)
}

// join brings a comma list in: into the node's own item where a file has one,
// so that it also holds where K3s passes only the last of several.
func (m *merger) join(w desired, all []found) {
	value := w.value
	for _, f := range all {
		value = union(value, f.value)
	}
	w.value = value
	for i := len(all) - 1; i >= 0; i-- {
		if f := all[i]; f.doc != nil && !m.before(f) {
			f.doc.Set(f.entry, f.entry.Items()[f.item], w.text())
			return
		}
	}
	m.add(w)
}

// keepEnabled sees to it that the node's own configuration does not switch off
// admission plugins that are desired.
func (m *merger) keepEnabled(setting []string) {
	w := desired{key: k3s.ArgumentKey(k3s.APIServer), component: k3s.APIServer, flag: "disable-admission-plugins"}
	all := m.find(w)
	for i := len(all) - 1; i >= 0; i-- { // backwards: removing moves what follows
		f := all[i]
		var bad, rest []string
		for _, name := range strings.Split(f.value, ",") {
			if slices.Contains(setting, strings.TrimSpace(name)) {
				bad = append(bad, name)
			} else {
				rest = append(rest, name)
			}
		}
		switch {
		case len(bad) == 0:
		case f.doc == nil:
			m.errs = append(m.errs, conflict([]desired{w}, "%s: disable-admission-plugins=%s switches off %s, which the guide wants on: change it there", f.where, w.shown(f.value), strings.Join(bad, ", ")))
		case !m.overwrite.Config:
			m.errs = append(m.errs, conflict([]desired{w}, "%s: disable-admission-plugins=%s switches off %s, which the guide wants on: change it there, or set overwrite = \"config\"", f.where, w.shown(f.value), strings.Join(bad, ", ")))
		case len(rest) > 0:
			w.value = strings.Join(rest, ",")
			f.doc.Set(f.entry, f.entry.Items()[f.item], w.text())
		default:
			f.doc.Remove(f.entry, f.entry.Items()[f.item])
		}
	}
}

// find returns what the node gives w today, in K3s's order, without what a
// later file replaces.
func (m *merger) find(w desired) []found {
	var out []found
	first := 0
	if w.flag != "" || w.list {
		first = max(m.replacer(w.key), 0)
	}
	for _, d := range m.docs[first:] {
		for _, e := range d.Entries() {
			if e.Name != w.key {
				continue
			}
			for i, item := range e.Items() {
				value := item.Value
				if w.flag != "" {
					a := parseArg(item.Value)
					if a.name != w.flag {
						continue
					}
					value = a.value
				}
				out = append(out, found{value: value, where: d.Place(item), doc: d, entry: e, item: i})
			}
		}
	}
	return append(out, m.elsewhere(w)...)
}

// elsewhere returns what units and environment files give w.
func (m *merger) elsewhere(w desired) []found {
	if m.eff == nil {
		return nil
	}
	var out []found
	if w.flag == "" {
		for _, v := range m.eff.Settings[w.key].Values {
			if m.outside(v.Origin) {
				out = append(out, found{value: v.Text, where: v.Origin.String()})
			}
		}
		return out
	}
	for _, a := range m.eff.Args[w.component] {
		if a.Name == w.flag && m.outside(a.Origin) {
			out = append(out, found{value: a.Value, where: a.Origin.String()})
		}
	}
	return out
}

// outside says whether a value comes from neither a configuration file nor
// K3s, nor from a kubelet drop-in, over which flags win.
func (m *merger) outside(o k3s.Origin) bool {
	if o.Default || strings.HasPrefix(o.Source, m.eff.DataDir+"/agent/etc/") {
		return false
	}
	return !slices.ContainsFunc(m.docs, func(d *configfile.Document) bool { return d.Path == o.Source })
}

// describe says what was found for w, secrets left out.
func describe(w desired, value string) string {
	if w.flag != "" {
		return fmt.Sprintf("%s %s=%s", w.key, w.flag, w.shown(value))
	}
	return fmt.Sprintf("%s: %s", w.key, w.shown(value))
}
