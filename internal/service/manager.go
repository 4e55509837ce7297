package service

import "github.com/k3s-cis/packer-plugin-k3s/internal/node"

// Manager is what starts a node's services.
type Manager string

// The service managers whose services this package reads, which are those that K3s's
// own installer knows.
const (
	SystemdManager Manager = "systemd"
	OpenRCManager  Manager = "openrc"
)

// Managers returns them, the usual one first.
func Managers() []Manager { return []Manager{SystemdManager, OpenRCManager} }

// managerPrograms are the places of systemd's first process and of the program that
// runs OpenRC's scripts.
var managerPrograms = map[Manager][]string{
	SystemdManager: {"/usr/lib/systemd/systemd", "/lib/systemd/systemd"},
	OpenRCManager:  {"/sbin/openrc-run", "/usr/sbin/openrc-run", "/usr/bin/openrc-run"},
}

// Programs returns the places of the programs of which a node that has the manager
// has one.
func (m Manager) Programs() []string { return managerPrograms[m] }

// On says whether a node has the manager.
func (m Manager) On(n *node.Node) bool {
	for _, p := range m.Programs() {
		if _, presence := n.Lookup(p); presence == node.Present {
			return true
		}
	}
	return false
}

// ManagersQuery returns what On wants to know of a node.
func ManagersQuery() node.Query {
	var q node.Query
	for _, m := range Managers() {
		for _, p := range m.Programs() {
			q = append(q, node.Pick{Path: p})
		}
	}
	return q
}
