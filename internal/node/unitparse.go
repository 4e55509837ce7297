package node

import (
	"path"
	"slices"
	"strings"
)

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
			p.service.refuse(file, where(0), "%v in ExecStart: systemd refuses the unit", err)
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
				p.service.refuse(f.Path, f.Line, "the environment file %s does not exist: the service will not start", name)
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
