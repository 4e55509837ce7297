package benchmark

import (
	"cmp"
	"path"
	"slices"
	"sync"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Query returns what has to be collected from a node before Evaluate, for a
// data directory dataDir ("" for K3s's default). Files whose content is not
// judged are looked at without it. What the node's configuration names and what
// a user's own controls read come on top (FollowUp).
func Query(role k3s.Role, dataDir string) node.Query {
	if usual, known := usualQueries[role]; known && k3s.LayoutOf(dataDir) == k3s.LayoutOf("") {
		return slices.Clone(usual())
	}
	return query(role, dataDir)
}

// usualQueries are the queries for K3s's default data directory, which nearly
// every node has; they follow from the catalogue alone.
var usualQueries = map[k3s.Role]func() node.Query{
	k3s.Server: sync.OnceValue(func() node.Query { return query(k3s.Server, "") }),
	k3s.Agent:  sync.OnceValue(func() node.Query { return query(k3s.Agent, "") }),
}

func query(role k3s.Role, dataDir string) node.Query {
	q := append(node.Query{{Path: "/etc"}}, k3s.Query(role, dataDir)...)
	for _, p := range k3s.BinaryPaths() {
		q = append(q, node.Pick{Path: p, Content: true}) // of which a binary has too much to be collected
	}
	for _, c := range catalogue() {
		q = append(q, c.control.Query(dataDir)...)
	}
	return compact(q)
}

// FollowUp returns what has to be collected on top of what the node was, because the
// node's configuration names it (another data directory, configuration files,
// an audit policy in a place of the user's own), the hardening kept it as a copy
// or the user's own controls read it. Where it is not empty, collect it together
// with the first query, resolve again and evaluate that; otherwise the controls
// concerned are errors.
func FollowUp(in Input) node.Query {
	n, e, own := in.Node, in.Effective, in.Own
	q := append(Query(e.Role, e.DataDir), e.Missing...)
	x := examine(in)
	for _, c := range own {
		q = append(q, c.Query(e.DataDir)...)
	}
	for _, c := range catalogue() {
		q = append(q, c.control.named(x)...)
	}
	for _, c := range own {
		q = append(q, c.named(x)...)
	}
	q = append(q, k3s.DropIns(x.configFile()))
	if dir := path.Dir(x.configFile()); dir != k3s.ConfigDir { // which Query has, with all that is in it
		q = append(q, node.Pick{Path: dir, Depth: 1})
	}
	kept, _ := x.keptConfiguration()
	for _, p := range kept {
		q = append(q, node.Pick{Path: p, Content: true})
	}
	for _, p := range x.accounts() {
		q = append(q, node.Pick{Path: p, Content: true})
	}
	q = append(append(q, x.elsewhere()...), x.keyQuery()...)
	for _, f := range x.namedSecrets() {
		q = append(q, node.Pick{Path: f.path, Content: true})
	}
	if dir := x.snapshotDir(); dir != "" {
		q = append(q, node.Pick{Path: dir, Depth: 1})
	}
	if dir, named := x.credentialPrograms(); named {
		q = append(q, node.Pick{Path: dir, Depth: 1})
	}
	if dir := x.staticPodPath(); dir != "" && !madeAtBoot(dir) && e.Role == k3s.Server {
		q = append(q, node.Pick{Path: dir, Depth: 1, Content: true})
	}
	for _, named := range namedFiles {
		value, from, set := e.Flag(named.component, named.flag)
		if set && value != "" && slices.ContainsFunc(from, func(a k3s.Argument) bool { return !a.Origin.Default }) {
			q = append(q, node.Pick{Path: x.absolute(value), Content: true})
		}
	}
	x.lacking = func(p string) { q = append(q, node.Pick{Path: p, Content: true}) }
	_, _ = x.admission() // which may name further files
	for _, of := range names(protected) {
		for _, p := range protected[of].list(x) {
			if _, presence := n.Lookup(p); presence == node.Unknown && n.Hidden(p) == "" && n.Undone(p) == "" && !slices.ContainsFunc(q, func(k node.Pick) bool { return k.Path == p }) {
				q = append(q, node.Pick{Path: p})
			}
		}
	}
	q = append(q, x.boot().Missing()...)
	if e.Program != "" {
		q = append(q, node.Pick{Path: e.Program, Content: true})
	}
	asked := make(map[node.Pick]bool, len(n.Query()))
	for _, p := range n.Query() {
		asked[p] = true
	}
	var lacking node.Query
	for _, p := range q {
		if !path.IsAbs(p.Path) || path.Clean(p.Path) != p.Path {
			continue // nothing that could be collected
		}
		more := p.Depth == 0 && !p.Content && slices.Contains(q, node.Pick{Path: p.Path, Content: true})
		if !asked[p] && !more && !known(n, p) {
			lacking = append(lacking, p)
		}
	}
	return compact(lacking)
}

// known says whether n has what p asks for of one path, or knows why there is
// none of it.
func known(n *node.Node, p node.Pick) bool {
	if p.Depth != 0 {
		return false
	}
	e, presence := n.Lookup(p.Path)
	return presence == node.Absent || presence == node.Present && (!p.Content || e.Data != nil || e.Unread != "")
}

// namedFiles are the flags that name files which verdicts rest on; loaded are
// those that Kubernetes's own loaders judge.
var namedFiles = []struct {
	component k3s.Component
	flag      string
	loaded    bool
}{
	{k3s.APIServer, "admission-control-config-file", true},
	{k3s.APIServer, "audit-policy-file", true},
	{k3s.APIServer, "authentication-config", true},
	{k3s.APIServer, "authorization-config", true},
	{k3s.APIServer, "encryption-provider-config", true},
	{k3s.Scheduler, "config", false},
	{k3s.KubeProxy, "config", false},
}

// compact sorts q and leaves out picks that say the same.
func compact(q node.Query) node.Query {
	slices.SortFunc(q, func(a, b node.Pick) int {
		content := func(p node.Pick) int {
			if p.Content {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Depth, b.Depth), cmp.Compare(content(a), content(b)))
	})
	return slices.Compact(q)
}
