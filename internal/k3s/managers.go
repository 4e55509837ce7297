package k3s

import (
	"path"
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// managerPrograms are what a machine has of which its service manager is made, by
// manager.
var managerPrograms = map[manager][]string{
	systemdManager: {"/usr/lib/systemd/systemd", "/lib/systemd/systemd"},
	openRCManager:  {"/sbin/openrc-run", "/usr/sbin/openrc-run", "/usr/bin/openrc-run"},
}

// manager is what starts a node's services.
type manager string

const (
	systemdManager manager = "systemd"
	openRCManager  manager = "OpenRC"
	// eitherManager: the node's services are all of one kind, which then is its
	// manager's, or which of the two it has is not known.
	eitherManager manager = ""
)

func managersQuery() node.Query {
	var q node.Query
	for _, m := range []manager{systemdManager, openRCManager} {
		for _, p := range managerPrograms[m] {
			q = append(q, node.Pick{Path: p})
		}
	}
	return q
}

// whichManager decides whose services count where the node has services of K3s's for
// systemd and for OpenRC: those of the manager that is there. The other's start
// nothing.
func (r *resolver) whichManager() manager {
	there := func(p string) bool {
		_, presence := r.node.Lookup(p)
		return presence == node.Present
	}
	unit, script := "", ""
	for _, name := range []string{r.role.ServiceName(), r.role.other().ServiceName()} {
		for _, dir := range service.UnitDirectories() {
			if p := path.Join(dir, name+".service"); unit == "" && there(p) {
				unit = p
			}
		}
		if p := path.Join(initDir, name); script == "" && there(p) {
			script = p
		}
	}
	if unit == "" || script == "" {
		return eitherManager
	}
	systemd, openRC := slices.ContainsFunc(managerPrograms[systemdManager], there), slices.ContainsFunc(managerPrograms[openRCManager], there)
	switch {
	case systemd && !openRC:
		return systemdManager
	case openRC && !systemd:
		return openRCManager
	}
	r.problem(Unreadable, Origin{Source: script}, "is a service of K3s's for OpenRC, and %s is one for systemd: which of them the node starts is not known; remove the one that is not its service manager's", unit)
	return eitherManager
}
