package harden

import (
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s/configfile"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// ownDropIn is the drop-in of a configuration file that LayoutDropIn writes. K3s
// reads drop-ins behind the configuration file, sorted by name: this one comes
// behind nearly all that others number, so that what it says counts, and one
// that is to win over it needs only a later name.
func ownDropIn(main string) string { return k3s.DropInDir(main) + "/99-k3s-cis.yaml" }

// foreign says whether the node has a file at p that no plan made.
func foreign(current *node.Node, p string) bool {
	if current == nil {
		return false
	}
	e, presence := current.Lookup(p)
	return presence == node.Present && e.Kind == node.KindFile && !ours(e.Data)
}

// passing says whether a value stands where the first boot may take it away: in
// the configuration file, of a node whose hardening is to outlast that.
func (m *merger) passing(f found) bool { return m.own != nil && f.doc == m.docs[0] }

// before says whether a value stands in a file that K3s reads before the
// drop-in, whose value then counts.
func (m *merger) before(f found) bool {
	return m.own != nil && f.doc != nil && slices.Index(m.docs, f.doc) < slices.Index(m.docs, m.own)
}

// add writes w into the file that takes what is desired. Lists of a drop-in append
// to those of the files before it, where a plain key would replace them.
func (m *merger) add(w desired) {
	key, known := k3s.FindKey(w.key)
	switch {
	case m.own == nil:
		m.docs[0].Add(w.key, w.text(), w.flag != "" || w.list)
	case !known || key.Kind != k3s.List:
		m.own.Add(w.key, w.text(), w.list)
	default:
		first := !slices.ContainsFunc(m.own.Entries(), func(e configfile.Entry) bool { return e.Name == w.key })
		if first && w.component == k3s.Kubelet && m.release.WritesKubeletConfig() {
			// K3s drops the item behind one without a value (from v1.32), and the
			// list of a configuration file to come may end with such a one.
			m.own.Append(w.key, w.text())
		}
		m.own.Append(w.key, w.text())
	}
}

// anchor is what the plan rests on and only the configuration file says: another
// file in its place must not move K3s away from what was baked.
func (p *planner) anchor() []desired {
	if p.m.own == nil || p.eff == nil {
		return nil
	}
	var out []desired
	for _, v := range p.eff.Settings["data-dir"].Values {
		if _, asked := p.c.Config["data-dir"]; !asked && slices.ContainsFunc([]*configfile.Document{p.m.docs[0], p.m.own}, func(d *configfile.Document) bool { return d.Path == v.Origin.Source }) {
			out = []desired{{key: "data-dir", value: v.Text}}
		}
	}
	return out
}
