package harden

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// preconditions lists what the plan was made from: of each file that Query collects
// the bytes it had, and of each directory that there are no further files in it
// that K3s or systemd would read. A plan without a node takes for granted that
// the node says nothing itself, or was hardened by this very plan.
func (p *planner) preconditions() {
	written := map[string]string{}
	for _, e := range p.plan.Change.Write {
		if e.Kind == node.KindFile {
			written[e.Path] = hash(e.Data)
		}
	}
	done := map[string]bool{}
	var dirs []node.Precondition
	add := func(name string) {
		if done[name] {
			return
		}
		done[name] = true
		if either := p.contents(name, written[name]); either != nil {
			p.plan.Change.Preconditions = append(p.plan.Change.Preconditions, node.Precondition{Path: name, Either: either})
		}
	}
	for _, e := range p.plan.Change.Write {
		if e.Kind == node.KindFile {
			add(e.Path)
		}
	}
	for _, pick := range p.query() {
		suffixes := startSuffixes(pick)
		switch {
		case !pick.Content || done[pick.Path] || p.current == nil && slices.Contains(p.unread(), pick.Path):
		case suffixes == nil:
			add(pick.Path)
		default:
			done[pick.Path] = true
			dirs = append(dirs, node.Precondition{Path: pick.Path, Children: true, Suffixes: suffixes})
			for _, name := range p.children(pick.Path, suffixes) {
				add(name)
			}
		}
	}
	if p.current == nil && p.c.Role == k3s.Server {
		// What afterStart takes for granted.
		for _, name := range append(slices.Clone(service.OpenRCManager.Programs()), p.c.layout().TLS()+"/server-ca.crt") {
			add(name)
		}
	}
	p.plan.Change.Preconditions = append(p.plan.Change.Preconditions, dirs...)
}

// contents lists what a file may hold for the plan to be right.
func (p *planner) contents(name, planned string) []string {
	if p.current == nil {
		switch {
		case planned != "":
			return []string{"", planned}
		case slices.Contains(p.environmentFiles(), name):
			return []string{"", hash(nil)}
		default:
			return append([]string{""}, plainUnits(p.c.Role, name)...)
		}
	}
	e, presence := p.current.Lookup(name)
	switch {
	case presence == node.Absent:
		return []string{""}
	case presence == node.Present && e.Kind == node.KindFile && e.Data != nil:
		return []string{hash(e.Data)}
	}
	return nil
}

// environmentFiles may be there and empty; K3s's installer makes one so. An
// empty unit file would mask the unit.
func (p *planner) environmentFiles() []string { return p.c.Role.EnvironmentFiles() }

// children are the files of the node in dir that count.
func (p *planner) children(dir string, suffixes []string) []string {
	if p.current == nil {
		return nil
	}
	var out []string
	for _, e := range p.current.Below(dir) {
		if e.Kind == node.KindFile && path.Dir(e.Path) == dir && slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(e.Path, s) }) {
			out = append(out, e.Path)
		}
	}
	return out
}

// query is everything that the plan was made from.
func (p *planner) query() node.Query {
	q := append(Query(p.c.Options), below(p.c.Role, p.c.dataDir)...)
	if main := p.m.docs[0].Path; main != k3s.ConfigFile {
		q = append(q, node.Pick{Path: main, Content: true}, k3s.DropIns(main))
	}
	return q
}

// unread lists what nobody reads on a node without K3s configuration: the
// environment of all users is for OpenRC scripts, the guide's policies for the
// flags that name them, and every machine has a name and a release.
func (p *planner) unread() []string {
	l := p.c.layout()
	return append(service.MachineFiles(), "/etc/environment", l.PodSecurityFile(), l.AuditPolicyFile())
}

// startSuffixes are the endings of the files that count in a directory, nil
// for a file.
func startSuffixes(pick node.Pick) []string {
	switch {
	case pick.Depth == 0:
		return nil
	case pick.Depth == node.Deep && path.Base(pick.Path) == "manifests":
		return []string{".yaml", ".yml", ".json", ".skip"}
	case strings.HasSuffix(pick.Path, ".yaml.d"):
		return []string{".yaml", ".yml", ".YAML", ".YML"}
	default:
		return []string{".conf"}
	}
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
