package service

import (
	"path"
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// managerFiles are those the system manager itself reads; the second is where
// newer releases look when the first is not there.
var managerFiles = []string{"/etc/systemd/system.conf", "/usr/lib/systemd/system.conf"}

// managerDropIns hold more of the manager's settings, strongest first.
var managerDropIns = []string{
	"/etc/systemd/system.conf.d", "/usr/local/lib/systemd/system.conf.d", "/usr/lib/systemd/system.conf.d", "/lib/systemd/system.conf.d",
}

// environmentGenerators are where an administrator has programs that print variables
// for every service (systemd.environment-generator(7)).
var environmentGenerators = []string{"/etc/systemd/system-environment-generators", "/usr/local/lib/systemd/system-environment-generators"}

// generated notes what programs give the service that no file tells.
func (s *Service) generated(n *node.Node) error {
	for _, dir := range environmentGenerators {
		if _, presence := n.Lookup(dir); presence == node.Unknown {
			return &node.UnknownPathError{Path: dir}
		}
		for _, e := range n.Below(dir) {
			if e.Kind == node.KindFile && e.Mode&0o111 != 0 && !Masked(e) {
				s.fault(e.Path, 0, "prints variables for every service when the machine boots, so the environment is not known: set them with DefaultEnvironment=")
			}
		}
	}
	return nil
}

// MachineFiles are what every machine has and SystemdQuery asks for: the
// manager's own file, and what specifiers stand for. A plan for a node of which
// nothing is known may take it that they leave K3s's unit as it is; the check
// looks.
func MachineFiles() []string {
	files := slices.Clone(managerFiles)
	for _, p := range specifierQuery() {
		files = append(files, p.Path)
	}
	return files
}

func managerQuery() node.Query {
	var q node.Query
	for _, p := range managerFiles {
		q = append(q, node.Pick{Path: p, Content: true})
	}
	for _, p := range managerDropIns {
		q = append(q, node.Pick{Path: p, Depth: 1, Content: true})
	}
	for _, p := range environmentGenerators {
		q = append(q, node.Pick{Path: p, Depth: 1})
	}
	return q
}

// ManagerEnvironment are the variables that systemd gives to every service.
func ManagerEnvironment(n *node.Node) ([]Variable, error) {
	assigned, _, err := managerEnvironment(n)
	return slices.Clone(assigned), err
}

// managerEnvironment reads the variables that the manager gives to every
// service (DefaultEnvironment= in systemd-system.conf(5)), and lists the files
// that are there for it to read.
func managerEnvironment(n *node.Node) (out []Variable, from []string, err error) {
	var files []node.Entry
	for _, p := range managerFiles {
		e, presence := n.Lookup(path.Clean(p))
		if presence == node.Unknown {
			return nil, nil, &node.UnknownPathError{Path: p}
		}
		if presence == node.Present {
			files = append(files, e)
			break
		}
	}
	dropIns, err := ConfigurationFiles(n, managerDropIns)
	if err != nil {
		return nil, nil, err
	}
	x := specifiers{node: n}
	for _, e := range append(files, dropIns...) {
		from = append(from, e.Path)
		data, err := Configuration(e)
		if err != nil {
			return nil, nil, err
		}
		p := unitParser{specifiers: x, assigned: out}
		err = readINI(string(data), []string{"Manager"}, func(s iniSetting) error {
			if s.key != "DefaultEnvironment" {
				return nil
			}
			return p.setEnvironment(e.Path, s)
		})
		out = p.assigned
		if isUnknownPath(err) {
			return nil, nil, err
		}
		if err != nil {
			return out, from, nil //nolint:nilerr // systemd reads no further
		}
	}
	return out, from, nil
}
