package harden

import (
	"path"
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// own are the files that only a plan makes, whatever the options.
func (p *planner) own() []string {
	files := []string{sysctlFile, moreSysctlFile, k3s.PodSecurityFile, k3s.AuditPolicyFile, ownDropIn(p.m.docs[0].Path)}
	if p.current != nil {
		if name, _ := p.eff.TightenPlace(p.current); name != "" {
			files = append(files, name)
		}
	}
	for _, name := range planManifests {
		files = append(files, p.c.manifest(name))
	}
	return files
}

// remove takes away what an earlier plan made and this one does not.
func (p *planner) remove() {
	for _, name := range p.own() {
		if slices.ContainsFunc(p.plan.Change.Write, func(e node.Entry) bool { return e.Path == name }) {
			continue
		}
		if data, err := contentOf(p.current, name); err == nil && ours(data) {
			p.plan.Change.Remove = append(p.plan.Change.Remove, name)
		}
	}
}

// keep asks for a copy of each file that is not ours and becomes another.
func (p *planner) keep() {
	for _, e := range p.plan.Change.Write {
		if e.Kind != node.KindFile || p.current == nil {
			continue
		}
		old, presence := p.current.Lookup(e.Path)
		if presence != node.Present || old.Kind != node.KindFile || old.Data == nil || ours(old.Data) || string(old.Data) == string(e.Data) {
			continue
		}
		if p.plan.Change.Keep == nil {
			p.plan.Change.Keep = map[string]string{}
		}
		p.plan.Change.Keep[e.Path] = p.copyOf(e.Path)
		p.note("%s is kept as it was in %s", e.Path, p.copyOf(e.Path))
	}
}

// copyOf is where the copy of a file goes. Directories whose every file counts
// get none: the copy of a K3s drop-in stands beside the directory.
func (p *planner) copyOf(name string) string {
	if dir := k3s.DropInDir(p.m.docs[0].Path); path.Dir(name) == dir {
		return path.Join(path.Dir(dir), path.Base(name)+node.KeptSuffix)
	}
	return name + node.KeptSuffix
}
