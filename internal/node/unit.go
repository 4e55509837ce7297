package node

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// Word is one word of a command line and the place it stands in.
type Word struct {
	Text string
	Path string
	Line int
}

// Variable is one environment variable and the place that sets it.
type Variable struct {
	Name, Value string
	Path        string
	Line        int
}

// Service is a service as the node's service manager will start it.
type Service struct {
	// Name is the service's name without a suffix, such as k3s.
	Name string
	// Path is the unit file or init script.
	Path string
	// Masked services are never started.
	Masked bool
	// Start is the command line, the program first.
	Start []Word
	// Environment holds the variables that the command will see, each once.
	Environment []Variable
	// Faults tells what in the files the service manager refuses, or what
	// could not be understood, so that Start or Environment may lack
	// something.
	Faults []Fault
}

// Fault is something wrong with a service's files.
type Fault struct {
	Path string
	// Line is from 1; 0 where the whole file is meant.
	Line int
	Text string
	// Fatal: the service manager will not start the service. Otherwise it is
	// not known what the service will be started with.
	Fatal bool
}

// unitDirs are the directories systemd loads system units from, strongest
// first (systemd.unit(5)). /lib is the same as /usr/lib on a merged /usr.
var unitDirs = []string{
	"/etc/systemd/system.control", "/etc/systemd/system", "/run/systemd/system",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// UnitDirectories lists the directories systemd loads system units from,
// strongest first.
func UnitDirectories() []string { return slices.Clone(unitDirs) }

// SystemdQuery returns what SystemdService wants to know of a node for a
// service; the files its EnvironmentFile settings name, beyond those in
// environmentFiles, come on top.
func SystemdQuery(name string, environmentFiles ...string) Query {
	var q Query
	for _, dir := range unitDirs {
		q = append(q, Pick{Path: path.Join(dir, name+".service"), Content: true})
		for _, d := range dropInNames(name) {
			q = append(q, Pick{Path: path.Join(dir, d), Depth: 1, Content: true})
		}
	}
	for _, f := range environmentFiles {
		q = append(q, Pick{Path: f, Content: true})
	}
	return q
}

// dropInNames lists the names of the drop-in directories of a service, the
// nearest first: its own, those of its name cut at each dash, all services'.
func dropInNames(name string) []string {
	out := []string{name + ".service.d"}
	for i := strings.LastIndexByte(name, '-'); i > 0; i = strings.LastIndexByte(name[:i], '-') {
		out = append(out, name[:i+1]+".service.d")
	}
	return append(out, "service.d")
}

// SystemdService reads a systemd service with its drop-ins and environment
// files. It returns nil and no error when the node has no such unit. A file of
// the set that could not be read, or was never looked at, is an error.
func SystemdService(n *Node, name string) (*Service, error) {
	unit, err := findUnit(n, name+".service")
	if unit == nil || err != nil {
		return nil, err
	}
	s := &Service{Name: name, Path: unit.Path}
	if masked(*unit) {
		s.Masked = true
		return s, nil
	}
	dropIns, err := findDropIns(n, name)
	if err != nil {
		return nil, err
	}
	p := unitParser{service: s}
	for _, e := range append([]Entry{*unit}, dropIns...) {
		if masked(e) {
			continue
		}
		data, err := content(e)
		if err != nil {
			return nil, err
		}
		p.parse(e.Path, string(data))
	}
	if err := p.environment(n); err != nil {
		return nil, err
	}
	switch {
	case p.refused:
	case len(p.start) == 0:
		s.refuse(unit.Path, 0, "no ExecStart: systemd refuses the unit")
	case len(p.start) > 1 && p.kind != "oneshot":
		s.refuse(unit.Path, 0, "more than one ExecStart: systemd refuses the unit (begin the drop-in with an empty ExecStart=)")
	default:
		s.Start = expand(p.start[len(p.start)-1], s.Environment, p.literal)
		return s, nil
	}
	s.Environment = nil
	return s, nil
}

func (s *Service) fault(path string, line int, format string, args ...any) {
	s.Faults = append(s.Faults, Fault{Path: path, Line: line, Text: fmt.Sprintf(format, args...)})
}

// refuse notes why the service manager will not start the service.
func (s *Service) refuse(path string, line int, format string, args ...any) {
	s.fault(path, line, format, args...)
	s.Faults[len(s.Faults)-1].Fatal = true
}

func findUnit(n *Node, file string) (*Entry, error) {
	for _, dir := range unitDirs {
		p := path.Join(dir, file)
		switch e, presence := n.Lookup(p); presence {
		case Unknown:
			return nil, &UnknownPathError{Path: p}
		case Present:
			return &e, nil
		}
	}
	return nil, nil
}

// findDropIns returns the drop-ins of a service in the order they apply:
// sorted by file name over all directories, where of files with one name only
// that of the strongest directory counts.
func findDropIns(n *Node, name string) ([]Entry, error) {
	names := dropInNames(name)
	var dirs []string
	for _, dir := range unitDirs {
		for _, d := range names[:len(names)-1] {
			dirs = append(dirs, path.Join(dir, d))
		}
	}
	for _, dir := range unitDirs {
		dirs = append(dirs, path.Join(dir, names[len(names)-1]))
	}
	found := map[string]Entry{}
	for _, dir := range dirs {
		switch e, presence := n.Lookup(dir); {
		case presence == Unknown:
			return nil, &UnknownPathError{Path: dir}
		case presence == Present && e.Unread != "":
			return nil, fmt.Errorf("%s cannot be listed: %s", dir, e.Unread)
		}
		for _, e := range n.Below(dir) {
			base := path.Base(e.Path)
			if path.Dir(e.Path) != dir || !strings.HasSuffix(base, ".conf") || strings.HasPrefix(base, ".") || e.Kind == KindDirectory {
				continue
			}
			if _, hidden := found[base]; !hidden {
				found[base] = e
			}
		}
	}
	out := make([]Entry, 0, len(found))
	for _, e := range found {
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return path.Base(out[i].Path) < path.Base(out[j].Path) })
	return out, nil
}
