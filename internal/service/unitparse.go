package service

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// iniSetting is one assignment of a file in systemd's syntax.
type iniSetting struct {
	section, key, value string
	// where gives the line of an offset in value.
	where func(offset int) int
}

// iniError is what makes systemd stop reading a file.
type iniError struct {
	line int
	text string
}

func (e *iniError) Error() string { return e.text }

// readINI gives the settings of a file in the sections of that names to set,
// in order, and stops at what systemd stops at, an error of set included.
func readINI(text string, sections []string, set func(iniSetting) error) error {
	lines, tooLong := logicalLines(text)
	section := ""
	for _, l := range lines {
		line := strings.Trim(l.text, Blank)
		begin := strings.Index(l.text, line)
		switch {
		case line == "":
			continue
		case !validText(line):
			return &iniError{l.at(0)(begin), "text that is not UTF-8"}
		case line[0] == '[':
			name, closed := strings.CutSuffix(line[1:], "]")
			if !closed || strings.ContainsFunc(name, unsafe) {
				return &iniError{l.at(0)(begin), fmt.Sprintf("%q, which is no section", line)}
			}
			section = name
			continue
		case !slices.Contains(sections, section):
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || key == "" {
			continue // systemd warns and goes on
		}
		at := begin + len(key) + 1 + len(value) - len(strings.TrimLeft(value, Blank))
		err := set(iniSetting{section, strings.TrimRight(key, Blank), strings.Trim(value, Blank), l.at(at)})
		if err != nil {
			return err
		}
	}
	if tooLong > 0 {
		return &iniError{tooLong, "a line longer than 1 MiB"}
	}
	return nil
}

// unsafe are the characters that systemd wants in no section's name.
func unsafe(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`"'\`, r) }

// unitParser gathers the settings of a service over its unit and drop-ins.
type unitParser struct {
	specifiers
	systemd       *Systemd
	service       *Service
	start, post   []command
	kind, restart string
	assigned      []Variable
	files         []Word // EnvironmentFile values, the leading dash kept
	fileFaults    []Fault
	pass          []Word
	unset         []string
}

// parse reads one file. An iniError is what systemd stops at; what stands
// before it counts.
func (p *unitParser) parse(file, text string) error {
	p.included(file, text)
	return readINI(text, []string{"Service"}, func(s iniSetting) error {
		f, known := unitSettings[s.key]
		if !known {
			return nil
		}
		err := f(p, file, s)
		if err == nil || isUnknownPath(err) {
			return err
		}
		return &iniError{s.where(0), fmt.Sprintf("%v in %s", err, s.key)}
	})
}

// included notes what older releases of systemd read in the place of a line.
func (p *unitParser) included(file, text string) {
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimLeft(line, Blank), ".include ") {
			p.service.fault(file, i+1, ".include is followed by older releases of systemd and passed over by newer ones, so what starts is not judged: use a drop-in")
		}
	}
}

// unitSettings apply one assignment. An error is what systemd refuses.
var unitSettings = map[string]func(p *unitParser, file string, s iniSetting) error{
	"ExecStart":        (*unitParser).setStart,
	"ExecCondition":    (*unitParser).checkCommands,
	"ExecStartPre":     (*unitParser).checkCommands,
	"ExecStartPost":    (*unitParser).setPost,
	"ExecReload":       (*unitParser).checkCommands,
	"ExecStop":         (*unitParser).checkCommands,
	"ExecStopPost":     (*unitParser).checkCommands,
	"Environment":      (*unitParser).setEnvironment,
	"EnvironmentFile":  (*unitParser).setEnvironmentFile,
	"PassEnvironment":  (*unitParser).setPass,
	"UnsetEnvironment": (*unitParser).setUnset,
	"WorkingDirectory": (*unitParser).setDirectory,
	"User": func(p *unitParser, _ string, s iniSetting) error {
		p.service.User = s.value
		return nil
	},
	"ReadWritePaths": (*unitParser).setPathLimit, "ReadWriteDirectories": (*unitParser).setPathLimit,
	"ReadOnlyPaths": (*unitParser).setPathLimit, "ReadOnlyDirectories": (*unitParser).setPathLimit,
	"InaccessiblePaths": (*unitParser).setPathLimit, "InaccessibleDirectories": (*unitParser).setPathLimit,
	"ProtectSystem": (*unitParser).setLimit, "ProtectControlGroups": (*unitParser).setLimit,
	"DynamicUser": (*unitParser).setLimit, "PrivateUsers": (*unitParser).setLimit,
	"PrivateNetwork": (*unitParser).setLimit, "PrivateDevices": (*unitParser).setLimit,
	"CapabilityBoundingSet": (*unitParser).setLimit, "RestrictNamespaces": (*unitParser).setLimit, "SystemCallFilter": (*unitParser).setLimit,
	"RestrictAddressFamilies": (*unitParser).setLimit, "ProtectKernelTunables": (*unitParser).setLimit, "PAMName": (*unitParser).setLimit,
	"RootDirectory":        (*unitParser).setView,
	"RootImage":            (*unitParser).setView,
	"BindPaths":            (*unitParser).setView,
	"BindReadOnlyPaths":    (*unitParser).setView,
	"TemporaryFileSystem":  (*unitParser).setView,
	"MountImages":          (*unitParser).setView,
	"ExtensionImages":      (*unitParser).setView,
	"ExtensionDirectories": (*unitParser).setView,
	"Type": func(p *unitParser, _ string, s iniSetting) error {
		return oneOf(&p.kind, s.value, "simple", "exec", "forking", "oneshot", "dbus", "notify", "notify-reload", "idle")
	},
	"Restart": func(p *unitParser, _ string, s iniSetting) error {
		return oneOf(&p.restart, s.value, "no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always")
	},
}

// oneOf takes over a value that systemd knows and passes over another.
func oneOf(to *string, value string, known ...string) error {
	if slices.Contains(known, value) {
		*to = value
	}
	return nil
}

func (p *unitParser) setStart(file string, s iniSetting) error {
	if s.value == "" {
		p.start = nil
		return nil
	}
	commands, err := p.commands(file, s)
	p.start = append(p.start, commands...)
	return err
}

func (p *unitParser) setPost(file string, s iniSetting) error {
	if s.value == "" {
		p.post = nil
		return nil
	}
	commands, err := p.commands(file, s)
	p.post = append(p.post, commands...)
	return err
}

func (p *unitParser) checkCommands(file string, s iniSetting) error {
	_, err := p.commands(file, s)
	return err
}

func (p *unitParser) commands(file string, s iniSetting) ([]command, error) {
	r := execReader{specifiers: p.specifiers, file: file, value: s.value, where: s.where}
	commands, err := r.commands()
	if slices.ContainsFunc(commands, func(c command) bool { return c.shell }) {
		p.service.fault(file, s.where(0), "the prefix | in %s is refused by older releases of systemd and runs the command through a shell in newer ones, so what starts is not judged: leave it out", s.key)
	}
	for _, c := range commands {
		if c.called != "" && len(c.words) > 0 && path.Base(c.called) != path.Base(c.words[0].Text) {
			p.service.fault(file, s.where(0), "the prefix @ in %s starts %s under the name %s, and what it does under another name is not judged: leave it out", s.key, c.words[0].Text, c.called)
		}
	}
	return commands, err
}

func (p *unitParser) setDirectory(_ string, s iniSetting) error {
	value, optional := strings.CutPrefix(s.value, "-")
	if value == "" || value == "~" {
		p.service.Directory = value
		return nil
	}
	text, open, err := p.expand(value)
	if err == nil && len(open) == 0 && !path.IsAbs(text) {
		err = errors.New("a path that is not absolute")
	}
	if err == nil {
		p.service.Directory = text
	}
	if optional {
		return nil // systemd passes over it
	}
	return err
}

// expandWords reads the words of a setting of the environment and replaces
// their specifiers. Words that systemd passes over are left out.
func (x specifiers) expandWords(y wordSyntax, s iniSetting, each func(text string, line int, open string)) error {
	for _, w := range y.words(s.value) {
		text, open, err := x.expand(w.text)
		if isUnknownPath(err) {
			return err
		}
		if err != nil {
			continue
		}
		each(text, s.where(w.offset), first(open))
	}
	return nil
}

// strictSyntax is that of variables: a word that cannot be read ends the line.
var strictSyntax = wordSyntax{escapes: true}

func (p *unitParser) setEnvironment(file string, s iniSetting) error {
	if s.value == "" {
		p.assigned = nil
		return nil
	}
	return p.expandWords(strictSyntax, s, func(text string, line int, open string) {
		if name, value, ok := strings.Cut(text, "="); ok && variableName(name) && validText(value) {
			p.assigned = append(p.assigned, Variable{name, value, file, line, open})
		}
	})
}

// setView notes that the service does not see the node's files where they are.
func (p *unitParser) setView(file string, s iniSetting) error {
	if s.value != "" {
		p.service.fault(file, s.where(0), "%s gives the service other files than the node has, so what it reads is not judged: leave it out", s.key)
	}
	return nil
}

func (p *unitParser) setPass(file string, s iniSetting) error {
	if s.value == "" {
		p.pass = nil
		return nil
	}
	return p.expandWords(wordSyntax{}, s, func(text string, line int, _ string) {
		if variableName(text) {
			p.pass = append(p.pass, Word{Text: text, Path: file, Line: line})
		}
	})
}

func (p *unitParser) setUnset(_ string, s iniSetting) error {
	if s.value == "" {
		p.unset = nil
		return nil
	}
	return p.expandWords(strictSyntax, s, func(text string, _ int, _ string) {
		if name, value, _ := strings.Cut(text, "="); variableName(name) && validText(value) {
			p.unset = append(p.unset, text)
		}
	})
}

func (p *unitParser) setEnvironmentFile(file string, s iniSetting) error {
	if s.value == "" {
		p.files, p.fileFaults = nil, nil
		return nil
	}
	text, open, err := p.expand(s.value)
	switch name := strings.TrimPrefix(text, "-"); {
	case isUnknownPath(err):
		return err
	case err != nil:
	case len(open) > 0:
		if none, err := p.noneByAnyName(s.value); none || err != nil {
			return err
		}
		p.fileFaults = append(p.fileFaults, Fault{Path: file, Line: s.where(0), Text: Undetermined(open[0])})
	case path.IsAbs(name) && len(name) < maxPath: // systemd passes others over
		p.files = append(p.files, Word{text[:len(text)-len(name)] + "/" + strings.Join(PathParts(name), "/"), file, s.where(0), ""})
	}
	return nil //nolint:nilerr // systemd passes the setting over
}

// noneByAnyName says whether an environment file that may be missing is, whichever
// of the service's names systemd puts into its own.
func (p *unitParser) noneByAnyName(value string) (bool, error) {
	if !p.aliased || !strings.HasPrefix(value, "-") {
		return false, nil
	}
	for _, name := range p.names {
		x := p.specifiers
		x.name, x.aliased = name, false
		file, open, err := x.expand(strings.TrimPrefix(value, "-"))
		if err != nil || len(open) > 0 || !path.IsAbs(file) || file != path.Clean(file) || strings.ContainsAny(file, "*?[") {
			return false, nil //nolint:nilerr // who reads the setting says so
		}
		switch _, presence := p.node.Lookup(file); presence {
		case node.Unknown:
			return false, &node.UnknownPathError{Path: file}
		case node.Present:
			return false, nil
		}
	}
	return true, nil
}

// environment computes the variables the service sees: files beat Environment
// settings, these beat what the manager gives, later ones beat earlier ones,
// UnsetEnvironment beats all.
func (p *unitParser) environment(manager []Variable) error {
	all := slices.Concat(manager, p.assigned)
	p.service.Faults = append(p.service.Faults, p.fileFaults...)
	for _, f := range p.files {
		vars, err := p.environmentFile(f)
		if err != nil {
			return err
		}
		all = append(all, vars...)
	}
	p.service.Environment = append(p.service.Environment, lastOfEach(all, p.unset)...)
	if len(p.pass) == 0 {
		return nil
	}
	known := map[string]bool{}
	for _, v := range p.service.Environment {
		known[v.Name] = true
	}
	for _, name := range p.unset {
		known[name] = true
	}
	for _, w := range p.pass {
		if !known[w.Text] {
			known[w.Text] = true
			p.service.fault(w.Path, w.Line, "a variable that PassEnvironment= names has a value on the running machine only, so it is not judged: set it with Environment=")
		}
	}
	return nil
}

// environmentFile reads a file that EnvironmentFile names.
func (p *unitParser) environmentFile(f Word) ([]Variable, error) {
	name, optional := strings.CutPrefix(f.Text, "-")
	if strings.ContainsAny(name, "*?[") || name != path.Clean(name) {
		p.service.fault(f.Path, f.Line, "EnvironmentFile=%s: wildcards and paths that go up are not followed, so the environment is not known: name the files", name)
		return nil, nil
	}
	refuse := func(what string) {
		if !optional {
			p.service.refuse(f.Path, f.Line, "the environment file %s %s: the service will not start", name, what)
		}
	}
	e, presence := p.node.Lookup(name)
	if presence == node.Present {
		p.service.Files = append(p.service.Files, name)
	}
	switch {
	case presence == node.Unknown:
		return nil, &node.UnknownPathError{Path: name}
	case Masked(e):
		return nil, nil
	case presence == node.Absent, e.Kind == node.KindLink:
		refuse("does not exist")
		return nil, nil
	case e.Kind == node.KindDirectory:
		refuse("is a directory")
		return nil, nil
	}
	data, err := p.read(e)
	if err != nil {
		return nil, err
	}
	vars, err := readEnvironment(e.Path, data)
	if err != nil {
		refuse(err.Error())
		return nil, nil
	}
	return vars, nil
}

func isUnknownPath(err error) bool {
	var unknown *node.UnknownPathError
	return errors.As(err, &unknown)
}

// lastOfEach keeps the last assignment of each name that is not unset.
func lastOfEach(all []Variable, unset []string) []Variable {
	last := make(map[string]int, len(all))
	for i, v := range all {
		last[v.Name] = i
	}
	gone := make(map[string]bool, len(unset))
	for _, name := range unset {
		gone[name] = true
	}
	var out []Variable
	for i, v := range all {
		if last[v.Name] == i && !gone[v.Name] && !gone[v.Name+"="+v.Value] {
			out = append(out, v)
		}
	}
	return out
}
