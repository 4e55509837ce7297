package k3s

import (
	"path"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// eitherManager: the node's services are all of one kind, which then is its
// manager's, or which of the two it has is not known.
const eitherManager service.Manager = ""

// whichManager decides whose services count where the node has services of K3s's for
// systemd and for OpenRC: those of the manager that is there. The other's start
// nothing.
func (r *resolver) whichManager() service.Manager {
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
	systemd, openRC := service.SystemdManager.On(r.node), service.OpenRCManager.On(r.node)
	switch {
	case systemd && !openRC:
		return service.SystemdManager
	case openRC && !systemd:
		return service.OpenRCManager
	}
	r.problem(Unreadable, Origin{Source: script}, "is a service of K3s's for OpenRC, and %s is one for systemd: which of them the node starts is not known; remove the one that is not its service manager's", unit)
	return eitherManager
}
