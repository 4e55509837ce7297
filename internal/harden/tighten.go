package harden

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// tighten plans the modes and owners that the check asks for of files of the
// node's own, whose content stays: manifests, drop-ins, the registries' file,
// the kubelet's configuration files, units and environment files. Each is said.
func (p *planner) tighten() {
	if p.current == nil {
		return // what there is of them makes the plan stale
	}
	var said []string
	for _, t := range p.nodeFiles() {
		e, presence := p.current.Lookup(t.path)
		if presence != node.Present || e.Kind != node.KindFile || e.Data == nil || e.Target != "" || p.writes(t.path) {
			continue
		}
		if e.Mode&^t.most == 0 && e.UID == 0 && e.GID == 0 {
			continue
		}
		said = append(said, fmt.Sprintf("%s (was %04o %d:%d, becomes %04o root:root)", e.Path, e.Mode.Perm(), e.UID, e.GID, (e.Mode&t.most).Perm()))
		e.Mode, e.UID, e.GID = e.Mode&t.most, 0, 0
		p.write(e)
	}
	if len(said) > 0 {
		p.note("mode and owner of files of the node's own are set as the check asks for: %s", strings.Join(said, ", "))
	}
}

// writes says whether the plan writes a path already.
func (p *planner) writes(name string) bool {
	return slices.ContainsFunc(p.plan.Change.Write, func(e node.Entry) bool { return e.Path == name })
}

// nodeFile is a file of the node's own and the permissions it may have at most.
type nodeFile struct {
	path string
	most fs.FileMode
}

func (p *planner) nodeFiles() []nodeFile {
	out := []nodeFile{{k3s.RegistriesFile, 0o600}}
	dirs := []string{k3s.DropInDir(p.m.docs[0].Path)}
	if p.c.Role == k3s.Server {
		dirs = append(dirs, p.c.layout().Manifests())
	}
	for _, dir := range dirs {
		for _, e := range p.current.Below(dir) {
			out = append(out, nodeFile{e.Path, 0o600})
		}
	}
	for _, name := range p.c.Role.EnvironmentFiles() {
		out = append(out, nodeFile{name, 0o600})
	}
	if p.kubelet != nil {
		for _, name := range p.kubelet.KubeletNamed {
			out = append(out, nodeFile{name, 0o600})
		}
	}
	if p.eff == nil || p.eff.Service == nil {
		return out
	}
	for _, name := range p.eff.Service.Files {
		if base := path.Base(path.Dir(name)); strings.HasPrefix(name, k3s.SystemdDir+"/") && (path.Ext(name) == ".service" || strings.HasSuffix(base, ".service.d")) {
			out = append(out, nodeFile{name, 0o644})
		}
	}
	return out
}
