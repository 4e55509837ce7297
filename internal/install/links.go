package install

import (
	"fmt"
	"path"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// link is a symbolic link that goes with K3s.
type link struct {
	path, to string
	// elsewhere are other places of the same thing: where the image has it, it is
	// the image's own.
	elsewhere []string
	// manager is the one that it is for; "" for any.
	manager service.Manager
}

// places are all that may have what the link is for.
func (l link) places() []string { return append([]string{l.path}, l.elsewhere...) }

// commands are those that k3s is by its name (K3s: cmd/k3s/main.go).
var commands = []string{"kubectl", "crictl", "ctr"}

// commandDirs are where a system has its programs.
var commandDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// links are K3s's names beside the binary, and what has its service started at
// boot, as "systemctl enable" and "rc-update add" make it.
func (o Options) links() []link {
	var out []link
	for _, name := range commands {
		l := link{path: path.Join(o.BinDir, name), to: "k3s"}
		for _, dir := range commandDirs {
			if dir != o.BinDir {
				l.elsewhere = append(l.elsewhere, path.Join(dir, name))
			}
		}
		out = append(out, l)
	}
	if o.Module != nil {
		out = append(out, link{path: k3s.SystemdDir + "/multi-user.target.wants/" + moduleService, to: k3s.SystemdDir + "/" + moduleService, manager: service.SystemdManager})
	}
	if len(o.Roles) > 1 {
		return out
	}
	for _, role := range o.Roles {
		name := role.ServiceName()
		out = append(out,
			link{path: k3s.SystemdDir + "/multi-user.target.wants/" + name + ".service", to: k3s.SystemdDir + "/" + name + ".service", manager: service.SystemdManager},
			link{path: "/etc/runlevels/default/" + name, to: "/etc/init.d/" + name, manager: service.OpenRCManager})
	}
	return out
}

// link plans a link where the node has nothing of the kind.
func (p *Plan) link(l link, have *node.Node) error {
	for _, place := range l.places() {
		e, presence := have.Lookup(place)
		switch {
		case presence == node.Unknown:
			return fmt.Errorf("%s could not be looked at", place)
		case presence == node.Absent:
			continue
		case place == l.path && e.Target == l.to:
			p.Links[l.path] = l.to // which is nothing to do
		case l.manager != "" && e.Target == "":
			return fmt.Errorf("%s: found %s where a link to %s is to be: remove it", place, kindOf(e), l.to)
		case l.manager == "":
			p.Notes = append(p.Notes, fmt.Sprintf("%s is the image's own and stays: no link %s to k3s is made", place, l.path))
		}
		return nil
	}
	p.Links[l.path] = l.to
	return nil
}
