package service

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// openRCPaths lists an OpenRC service's files: the init script, its settings,
// and the environment files that K3s's installer makes the script source.
func openRCPaths(name string) (script, conf string, environment []string) {
	return "/etc/init.d/" + name, "/etc/conf.d/" + name, []string{"/etc/environment", "/etc/rancher/k3s/" + name + ".env"}
}

// openRCSettings is sourced before every script, as its own settings are after it
// (openrc-run.sh).
const openRCSettings = "/etc/rc.conf"

// OpenRCQuery returns what FromOpenRC wants to know of a node.
func OpenRCQuery(name string) node.Query {
	script, conf, environment := openRCPaths(name)
	q := node.Query{{Path: script, Content: true}, {Path: conf, Content: true}, {Path: openRCSettings, Content: true}}
	for _, f := range environment {
		q = append(q, node.Pick{Path: f, Content: true})
	}
	return q
}

var (
	shellAssignment = regexp.MustCompile(`^\s*(?:export\s+)?(command|command_args|command_args_background|command_args_foreground)=`)
	sourcedFile     = regexp.MustCompile(`(?:^|[;\s])(?:\.|source)\s+([^\s;&|]+)`)
)

// FromOpenRC reads an OpenRC init script of the form that K3s's installer
// writes: command and command_args as quoted assignments, environment files
// sourced under "set -o allexport". It returns nil and no error when the node
// has no such script. A script that computes its arguments is reported as a
// fault, not guessed at.
func FromOpenRC(n *node.Node, name string) (*Service, error) {
	script, conf, known := openRCPaths(name)
	e, presence := n.Lookup(script)
	switch presence {
	case node.Unknown:
		return nil, &node.UnknownPathError{Path: script}
	case node.Absent:
		return nil, nil
	}
	data, err := e.Content()
	if err != nil {
		return nil, err
	}
	s := &Service{Name: name, Path: script, Files: []string{script}}
	values := shellValues(s, script, string(data))
	s.openRCOptions(script, string(data))
	if c, p := n.Lookup(conf); p == node.Present {
		s.Files = append(s.Files, conf)
		data, err := c.Content()
		if err != nil {
			return nil, err
		}
		s.openRCOptions(conf, string(data))
		for _, v := range shellValues(s, conf, string(data)) {
			s.fault(conf, v.line, "sets %s, which the script may override", v.name)
		}
	} else if p == node.Unknown {
		return nil, &node.UnknownPathError{Path: conf}
	}
	for _, v := range values {
		words, err := v.words()
		if err != nil {
			s.fault(script, v.line, "%s: %v", v.name, err)
		}
		for _, w := range words {
			s.Start = append(s.Start, Word{Text: w.text, Path: script, Line: w.line})
		}
	}
	var all []Variable
	for _, file := range []string{openRCSettings, conf} {
		exported, err := exportedBy(n, s, file)
		if err != nil {
			return nil, err
		}
		all = append(all, exported...)
	}
	sourced, err := sourcedEnvironment(n, s, script, string(data), known)
	if err != nil {
		return nil, err
	}
	all = append(all, sourced...)
	s.Environment = append(s.Environment, lastOfEach(all, nil)...)
	return s, nil
}

var (
	openRCOption   = regexp.MustCompile(`^\s*(?:export\s+)?(command_user|chroot|start_stop_daemon_args|supervise_daemon_args)=["']?([^"'#]*)`)
	openRCFunction = regexp.MustCompile(`^\s*(?:function\s+)?start\s*\(\s*\)`)
	// daemonOptions give what is started other variables, files or rights, or are
	// another program (start-stop-daemon(8), supervise-daemon(8)).
	daemonOptions = regexp.MustCompile(`(?:^|\s)(?:--(?:env|user|chroot|exec|startas|capabilities|no-new-privs)\b|-[eurxa](?:\s|$))`)
)

// openRCOptions notes what a script says of how its program is started, besides the
// command.
func (s *Service) openRCOptions(file, text string) {
	for i, line := range strings.Split(text, "\n") {
		if openRCFunction.MatchString(line) {
			s.fault(file, i+1, "starts the program by a function start of its own, which is not judged: set command and command_args")
		}
		m := openRCOption.FindStringSubmatch(line)
		switch {
		case m == nil || strings.TrimSpace(m[2]) == "":
		case m[1] == "command_user":
			s.User, _, _ = strings.Cut(strings.TrimSpace(m[2]), ":")
		case m[1] == "chroot", daemonOptions.MatchString(m[2]):
			s.fault(file, i+1, "%s gives the program other files, variables or rights than the node has, which is not judged: leave it out", m[1])
		}
	}
}

var (
	exports  = regexp.MustCompile(`^\s*export\s+(.*)$`)
	exportsA = regexp.MustCompile(`^\s*set\s+(?:-\w*a|-o\s+allexport)`)
)

// exportedBy reads what a file of settings exports to the service.
func exportedBy(n *node.Node, s *Service, file string) ([]Variable, error) {
	e, presence := n.Lookup(file)
	switch presence {
	case node.Unknown:
		return nil, &node.UnknownPathError{Path: file}
	case node.Absent:
		return nil, nil
	}
	data, err := e.Content()
	if err != nil {
		return nil, err
	}
	named, every := map[string]bool{}, false
	for line := range strings.SplitSeq(string(data), "\n") {
		every = every || exportsA.MatchString(line)
		if m := exports.FindStringSubmatch(line); m != nil {
			for _, word := range strings.Fields(m[1]) {
				name, _, _ := strings.Cut(word, "=")
				named[name] = true
			}
		}
	}
	var out []Variable
	for _, v := range shellEnvironment(file, data) {
		if every || named[v.Name] {
			out = append(out, v)
		}
	}
	if len(out) > 0 && !slices.Contains(s.Files, file) {
		s.Files = append(s.Files, file)
	}
	return out, nil
}

// sourcedEnvironment reads the files that the script sources.
func sourcedEnvironment(n *node.Node, s *Service, script, text string, known []string) ([]Variable, error) {
	var all []Variable
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, m := range sourcedFile.FindAllStringSubmatch(line, -1) {
			file := strings.Trim(m[1], `"'`)
			if !path.IsAbs(file) || strings.ContainsAny(file, "$`*?") {
				s.fault(script, i+1, "sources %s, which cannot be followed", file)
				continue
			}
			e, presence := n.Lookup(path.Clean(file))
			switch presence {
			case node.Unknown:
				return nil, &node.UnknownPathError{Path: path.Clean(file)}
			case node.Absent:
				continue
			}
			s.Files = append(s.Files, e.Path)
			data, err := e.Content()
			if err != nil {
				return nil, err
			}
			all = append(all, shellEnvironment(e.Path, data)...)
		}
	}
	_ = known
	return all, nil
}

// shellEnvironment reads a file of plain shell assignments, with or without
// "export" before them.
func shellEnvironment(file string, data []byte) []Variable {
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(strings.TrimLeft(line, " \t"), "export "); ok {
			lines[i] = rest
		}
	}
	return EnvironmentFile(file, []byte(strings.Join(lines, "\n")))
}

// shellValue is the raw right-hand side of an assignment in a script.
type shellValue struct {
	name, text string
	line       int
}

// shellValues finds the assignments that make up a service's command line,
// with what stands between their quotes; the last of a name counts. They come
// in the order OpenRC joins them.
func shellValues(s *Service, file, text string) []shellValue {
	found := map[string]shellValue{}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		m := shellAssignment.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		v := shellValue{name: m[1], line: i + 1}
		rest := lines[i][len(m[0]):]
		if rest == "" || rest[0] != '"' && rest[0] != '\'' {
			v.text = rest
			found[v.name] = v
			continue
		}
		quote := rest[0]
		rest = rest[1:]
		for {
			body, closed := untilQuote(rest, quote)
			v.text += body
			if closed {
				break
			}
			i++
			if i == len(lines) {
				s.fault(file, v.line, "the quote of %s is never closed", v.name)
				break
			}
			v.text += "\n"
			rest = lines[i]
		}
		if quote == '"' {
			v.text = unescapeDouble(v.text)
		}
		found[v.name] = v
	}
	var out []shellValue
	for _, name := range []string{"command", "command_args", "command_args_background", "command_args_foreground"} {
		if v, ok := found[name]; ok {
			out = append(out, v)
		}
	}
	return out
}

// untilQuote returns what stands before an unescaped quote, and whether there
// is one.
func untilQuote(s string, quote byte) (string, bool) {
	for i := 0; i < len(s); i++ {
		switch {
		case quote == '"' && s[i] == '\\':
			i++
		case s[i] == quote:
			return s[:i], true
		}
	}
	return s, false
}

// unescapeDouble undoes the escapes of a double-quoted shell string. A
// backslash before a line break stays as a blank and the break, so that line
// numbers survive.
func unescapeDouble(s string) string {
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`, "\\`", "`", "\\\n", " \n").Replace(s)
}

// shellWord is a word and the line it begins in.
type shellWord struct {
	text string
	line int
}

// words splits a value as the shell does when OpenRC evaluates it, up to the
// first redirection. Anything the shell would compute is an error.
func (v shellValue) words() ([]shellWord, error) {
	var out []shellWord
	line := v.line
	s := v.text
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\n':
			line++
			i++
			continue
		case c == ' ' || c == '\t':
			i++
			continue
		case c == '\\' && i+1 < len(s) && s[i+1] == '\n':
			i++
			continue
		}
		w := shellWord{line: line}
		var b strings.Builder
		var quote byte
	word:
		for ; i < len(s); i++ {
			c := s[i]
			switch {
			case quote == '\'' && c != '\'':
				b.WriteByte(c)
			case c == '`' || c == '$':
				return out, fmt.Errorf("%q is computed by the shell, so the command line is not known", c)
			case c == quote:
				quote = 0
			case quote == 0 && (c == '\'' || c == '"'):
				quote = c
			case c == '\\' && i+1 < len(s):
				i++
				b.WriteByte(s[i])
			case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
				break word
			case quote == 0 && (c == '>' || c == '<' || c == '|' || c == '&' || c == ';'):
				return out, nil
			default:
				b.WriteByte(c)
			}
			if c == '\n' {
				line++
			}
		}
		if quote != 0 {
			return out, fmt.Errorf("unbalanced %c", quote)
		}
		w.text = b.String()
		out = append(out, w)
	}
	return out, nil
}
