package cis

import (
	"cmp"
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Query returns what has to be collected from a node before Evaluate, for a
// data directory dataDir ("" for K3s's default). Files whose content is not
// judged are looked at without it. What a user's own controls read comes on
// top (Control.Query), and so does what the node's configuration names
// (FollowUp).
func Query(role k3s.Role, dataDir string) node.Query {
	q := append(node.Query{{Path: "/etc"}}, k3s.Query(role, dataDir)...)
	for _, p := range k3s.BinaryPaths() {
		q = append(q, node.Pick{Path: p})
	}
	for _, dir := range serviceDirs {
		q = append(q, node.Pick{Path: dir + "/" + role.ServiceName() + ".service"})
	}
	for _, c := range catalogue().controls {
		q = append(q, c.control.Query(dataDir)...)
	}
	return compact(q)
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
