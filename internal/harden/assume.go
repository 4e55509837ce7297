package harden

import (
	"crypto/sha256"
	"encoding/hex"
	"path"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// assume lists what the plan was made from. A plan without a node takes for
// granted that the node says nothing itself, or was hardened by this very plan.
func (p *planner) assume() {
	if p.have != nil {
		p.pin()
		return
	}
	var out []node.Assumption
	for _, e := range p.plan.Change.Write {
		if e.Kind == node.KindFile {
			out = append(out, node.Assumption{Path: e.Path, Either: []string{"", hash(e.Data)}})
		}
	}
	out = append(out, node.Assumption{Path: k3s.DropInDir(k3s.ConfigFile), Children: true, Suffixes: yamlSuffixes})
	for _, f := range startFiles(p.c.Role) {
		out = append(out, node.Assumption{Path: f, Either: []string{"", hash(nil)}})
	}
	for _, dir := range startDirectories(p.c.Role) {
		out = append(out, node.Assumption{Path: dir, Children: true, Suffixes: []string{".conf"}})
	}
	if p.c.Role == k3s.Server {
		out = append(out, node.Assumption{Path: p.c.layout().Manifests(), Children: true, Suffixes: manifestSuffixes})
	}
	p.plan.Change.Assume = out
}

// pin holds the plan to the very bytes it was made from.
func (p *planner) pin() {
	var out []node.Assumption
	pinned := map[string]bool{}
	add := func(f string) {
		if pinned[f] {
			return
		}
		pinned[f] = true
		e, presence := p.have.Lookup(f)
		switch {
		case presence == node.Absent:
			out = append(out, node.Assumption{Path: f, Either: []string{""}})
		case presence == node.Present && e.Kind == node.KindFile && e.Data != nil:
			out = append(out, node.Assumption{Path: f, Either: []string{hash(e.Data)}})
		}
	}
	for _, e := range p.plan.Change.Write {
		if e.Kind == node.KindFile {
			add(e.Path)
		}
	}
	dirs := []node.Assumption{{Path: k3s.DropInDir(p.m.docs[0].path), Children: true, Suffixes: yamlSuffixes}}
	for _, f := range startFiles(p.c.Role) {
		add(f)
	}
	for _, d := range startDirectories(p.c.Role) {
		dirs = append(dirs, node.Assumption{Path: d, Children: true, Suffixes: []string{".conf"}})
	}
	if p.c.Role == k3s.Server {
		dirs = append(dirs, node.Assumption{Path: p.c.layout().Manifests(), Children: true, Suffixes: manifestSuffixes})
	}
	for _, d := range dirs {
		for _, e := range p.have.Below(d.Path) {
			if e.Kind == node.KindFile && path.Dir(e.Path) == d.Path {
				add(e.Path)
			}
		}
	}
	p.plan.Change.Assume = append(out, dirs...)
}

// The endings of the files that K3s reads from its directories.
var (
	yamlSuffixes     = []string{".yaml", ".yml", ".YAML", ".YML"}
	manifestSuffixes = []string{".yaml", ".yml", ".json", ".skip"}
)

// startFiles say how K3s is started: its unit and its environment.
func startFiles(role k3s.Role) []string {
	name := role.ServiceName()
	files := []string{
		k3s.SystemdDir + "/" + name + ".service",
		"/usr/local/lib/systemd/system/" + name + ".service",
		"/usr/lib/systemd/system/" + name + ".service",
		"/lib/systemd/system/" + name + ".service",
		"/etc/init.d/" + name, "/etc/conf.d/" + name,
		"/etc/rancher/k3s/" + name + ".env",
	}
	return append(files, role.EnvironmentFiles()...)
}

// startDirectories hold drop-ins of the unit.
func startDirectories(role k3s.Role) []string {
	name := role.ServiceName()
	return []string{k3s.SystemdDir + "/" + name + ".service.d"}
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
