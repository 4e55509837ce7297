package harden

import (
	"fmt"
	"io/fs"
	"path"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

const afterStartComment = `# After each start of K3s: certificates and kubeconfigs that it makes for everybody
# to read are for root alone (CIS 1.1.13, 1.1.15, 1.1.17, 1.1.20).
`

// afterStart has the service of a server tighten after each start what K3s makes
// too open, where that is known to work. A plan without a node is for one of
// systemd on which K3s has not run, and whose service is K3s's own or still to come
// (see preconditions): on another its drop-in would do nothing.
func (p *planner) afterStart() {
	if p.c.Role != k3s.Server {
		return
	}
	name, unit := k3s.TightenDropIn(p.c.Role.ServiceName()), true
	if p.current != nil {
		if name, unit = p.eff.TightenPlace(p.current); name == "" {
			return
		}
	}
	text := k3s.TightenUnit(p.c.layout())
	if !unit {
		text = k3s.TightenScript(p.c.layout())
	}
	switch {
	case text == "":
		p.note("K3s's certificates stay as K3s makes them, 0644: the name of the data directory %q needs quotes, and the service tightens nothing there", p.c.dataDir)
	case p.current != nil && foreign(p.current, name):
		p.note("K3s's certificates stay as K3s makes them, 0644: %s is the node's own, and its service tightens nothing", name)
	default:
		p.write(file(name, 0o644, []byte(header+"\n"+afterStartComment+text)))
	}
}

// madeAlready gives what K3s made too open at an earlier start the mode that its
// service gives it after the next one: the check judges what is there. K3s leaves
// the mode of a file that is there.
func (p *planner) madeAlready() {
	if p.current == nil || p.c.Role != k3s.Server {
		return
	}
	modes := map[string]fs.FileMode{}
	var said []string
	for _, t := range p.c.layout().Tightenings() {
		for _, e := range p.current.Below(t.Dir) {
			matches, _ := path.Match(t.Match, path.Base(e.Path)) // the patterns are good
			if !matches || e.Kind != node.KindFile || e.Target != "" || e.Mode&^t.Mode == 0 {
				continue
			}
			modes[e.Path] = e.Mode & t.Mode
			said = append(said, fmt.Sprintf("%s (was %04o, becomes %04o)", e.Path, e.Mode.Perm(), modes[e.Path].Perm()))
		}
	}
	if len(said) > 0 {
		p.plan.Change.Modes = modes
		p.note("what K3s has made is for root alone: %s", enumerate(said, 20))
	}
}
