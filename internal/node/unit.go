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
	// Faults tells what in the files the service manager will refuse, or
	// what could not be understood, so that Start or Environment may lack
	// something; each names path and line.
	Faults []string
}

// unitDirs are the directories systemd loads system units from, strongest
// first (systemd.unit(5)). /lib is the same as /usr/lib on a merged /usr.
var unitDirs = []string{
	"/etc/systemd/system.control", "/etc/systemd/system", "/run/systemd/system",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

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
		s.fault(unit.Path, 0, "no ExecStart: systemd refuses the unit")
	case len(p.start) > 1 && p.kind != "oneshot":
		s.fault(unit.Path, 0, "more than one ExecStart: systemd refuses the unit (begin the drop-in with an empty ExecStart=)")
	default:
		s.Start = expand(p.start[len(p.start)-1], s.Environment, p.literal)
		return s, nil
	}
	s.Environment = nil
	return s, nil
}

func (s *Service) fault(path string, line int, format string, args ...any) {
	where := path
	if line > 0 {
		where = fmt.Sprintf("%s:%d", path, line)
	}
	s.Faults = append(s.Faults, where+": "+fmt.Sprintf(format, args...))
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

// unitParser gathers the settings of a service over its unit and drop-ins.
type unitParser struct {
	service  *Service
	start    [][]Word
	literal  bool // ExecStart=: variables are not replaced
	refused  bool // systemd will not load the unit
	kind     string
	assigned []Variable
	files    []Word // EnvironmentFile values, the leading dash kept
	unset    []string
}

func (p *unitParser) parse(file, text string) {
	section := ""
	for _, l := range logicalLines(text) {
		line := strings.TrimSpace(l.text)
		switch {
		case line == "":
			continue
		case line[0] == '[':
			section = line
			continue
		case section != "[Service]":
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue // systemd warns and goes on
		}
		value = strings.TrimLeft(value, " \t")
		p.set(file, strings.TrimSpace(key), value, l.at(len(l.text)-len(strings.TrimLeft(l.text, " \t"))+strings.Index(line, value)))
	}
}

// set applies one assignment; where tells the line of an offset in value.
func (p *unitParser) set(file, key, value string, where func(int) int) {
	switch key {
	case "ExecStart":
		if value == "" {
			p.start, p.literal = nil, false
			return
		}
		words, literal, err := execWords(p.service.Name, file, value, where)
		if err != nil {
			p.service.fault(file, where(0), "%v in ExecStart: systemd refuses the unit", err)
			p.refused = true
			return
		}
		p.start, p.literal = append(p.start, words), literal
	case "Environment":
		if value == "" {
			p.assigned = nil
			return
		}
		words, err := splitWords(value)
		if err != nil {
			p.service.fault(file, where(0), "%v; systemd passes the line over", err)
		}
		for _, w := range words {
			name, v, ok := strings.Cut(specifiers(p.service.Name, w.text), "=")
			if ok && variableName(name) {
				p.assigned = append(p.assigned, Variable{name, v, file, where(w.offset)})
			}
		}
	case "EnvironmentFile":
		if value == "" {
			p.files = nil
			return
		}
		p.files = append(p.files, Word{specifiers(p.service.Name, value), file, where(0)})
	case "Type":
		p.kind = value
	case "UnsetEnvironment":
		p.unset = append(p.unset, strings.Fields(value)...)
	}
}

// environment computes the variables the service sees: files beat Environment
// settings, later ones beat earlier ones, UnsetEnvironment beats all.
func (p *unitParser) environment(n *Node) error {
	all := slices.Clone(p.assigned)
	for _, f := range p.files {
		name, optional := strings.CutPrefix(f.Text, "-")
		if strings.ContainsAny(name, "*?[") || !path.IsAbs(name) {
			p.service.fault(f.Path, f.Line, "EnvironmentFile=%s: only absolute paths without wildcards are understood", name)
			continue
		}
		switch e, presence := n.Lookup(path.Clean(name)); presence {
		case Unknown:
			return &UnknownPathError{Path: path.Clean(name)}
		case Absent:
			if !optional {
				p.service.fault(f.Path, f.Line, "the environment file %s does not exist: the service will not start", name)
			}
		case Present:
			if e.Kind == KindLink && optional {
				continue
			}
			data, err := content(e)
			if err != nil {
				return err
			}
			all = append(all, EnvironmentFile(e.Path, data)...)
		}
	}
	p.service.Environment = lastOfEach(all, p.unset)
	return nil
}

// UnknownPathError says that a path matters that was not collected.
type UnknownPathError struct{ Path string }

func (e *UnknownPathError) Error() string { return e.Path + " was not looked at" }

func lastOfEach(all []Variable, unset []string) []Variable {
	last := map[string]int{}
	for i, v := range all {
		last[v.Name] = i
	}
	var out []Variable
	for i, v := range all {
		if last[v.Name] == i && !slices.Contains(unset, v.Name) && !slices.Contains(unset, v.Name+"="+v.Value) {
			out = append(out, v)
		}
	}
	return out
}
