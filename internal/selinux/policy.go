package selinux

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Attribute is the extended attribute that holds a file's label, with a zero
// byte at its end.
const Attribute = "security.selinux"

const (
	configFile = "/etc/selinux/config"
	// maxSpecs is ten times what the largest policies of distributions have.
	maxSpecs = 100_000
)

// Policy is which label each file is to have.
type Policy struct {
	specs []spec // what comes first wins
	// Directories whose files are labelled like those of another: the
	// administrator's, then the distribution's.
	local, distribution []substitution
}

// spec is one line of a file contexts file.
type spec struct {
	where   string // file:line
	pattern string
	kind    byte   // as in ls -l, with - for regular files; 0 for every kind
	label   string // empty for <<none>>
}

type substitution struct{ from, to string }

// Load reads the policy of a root file system through read, which returns the
// bytes of the file at an absolute path of it, or fs.ErrNotExist. It returns
// nil where there is no policy or SELinux is switched off. The error names file
// and line, or whatever read says.
func Load(read func(path string) ([]byte, error)) (*Policy, error) {
	config, err := optional(read, configFile)
	if err != nil || config == "" {
		return nil, err
	}
	mode, name := settings(config)
	if mode == "disabled" {
		return nil, nil
	}
	if name != path.Base(name) || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("%s: SELINUXTYPE=%s: want the name of a directory in %s", configFile, name, path.Dir(configFile))
	}
	main := path.Join(path.Dir(configFile), name, "contexts", "files", "file_contexts")
	var errs []error
	var lines []spec
	for _, suffix := range []string{"", ".homedirs", ".local"} {
		text, err := optional(read, main+suffix)
		if err != nil {
			return nil, err
		}
		if suffix == "" && text == "" {
			return nil, nil
		}
		more, err := parse(main+suffix, text)
		lines, errs = append(lines, more...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(lines) > maxSpecs {
		return nil, fmt.Errorf("%s: more than %d lines", main, maxSpecs)
	}
	p := &Policy{specs: precedence(lines)}
	for suffix, list := range map[string]*[]substitution{".subs": &p.local, ".subs_dist": &p.distribution} {
		text, err := optional(read, main+suffix)
		if err != nil {
			return nil, err
		}
		*list = substitutions(text)
	}
	return p, nil
}

// optional is the text of a file, empty where there is none.
func optional(read func(string) ([]byte, error), name string) (string, error) {
	data, err := read(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return string(data), nil
}

// settings returns SELINUX in lower case and SELINUXTYPE, which has a default.
func settings(config string) (mode, name string) {
	name = "targeted"
	for line := range strings.Lines(config) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.TrimSpace(value); key {
		case "SELINUX":
			mode = strings.ToLower(value)
		case "SELINUXTYPE":
			name = value
		}
	}
	return mode, name
}

// parse reads a file contexts file. The error has all lines that are wrong.
func parse(name, text string) ([]spec, error) {
	var specs []spec
	var errs []error
	number := 0
	for line := range strings.Lines(text) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		s := spec{where: fmt.Sprintf("%s:%d", name, number), pattern: fields[0], label: fields[len(fields)-1]}
		switch {
		case len(fields) == 2:
		case len(fields) == 3 && len(fields[1]) == 2 && fields[1][0] == '-' && strings.Contains("-dbclps", fields[1][1:]):
			s.kind = fields[1][1]
		default:
			errs = append(errs, fmt.Errorf("%s: %q: want a path expression, a file type such as -- or -d where not all are meant, and a label", s.where, strings.TrimSpace(line)))
			continue
		}
		switch {
		case s.label == "<<none>>":
			s.label = ""
		case strings.Count(s.label, ":") < 2:
			errs = append(errs, fmt.Errorf("%s: %q: want a label of the form user:role:type or user:role:type:range", s.where, s.label))
			continue
		}
		specs = append(specs, s)
	}
	return specs, errors.Join(errs...)
}

// precedence puts first what wins: a plain path before any expression, then
// the later line before the earlier one.
func precedence(lines []spec) []spec {
	out := make([]spec, 0, len(lines))
	for _, plain := range []bool{true, false} {
		for i := len(lines) - 1; i >= 0; i-- {
			if isPlain(lines[i].pattern) == plain {
				out = append(out, lines[i])
			}
		}
	}
	return out
}

// isPlain says whether a pattern matches one path only: it has no character
// with a meaning in expressions but escaped ones.
func isPlain(pattern string) bool {
	for i := 0; i < len(pattern); i++ {
		switch {
		case pattern[i] == '\\':
			i++
		case strings.IndexByte(".^$?*+|[({", pattern[i]) >= 0:
			return false
		}
	}
	return true
}

func substitutions(text string) []substitution {
	var out []substitution
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && !strings.HasPrefix(fields[0], "#") {
			out = append(out, substitution{strings.TrimSuffix(fields[0], "/"), strings.TrimSuffix(fields[1], "/")})
		}
	}
	return out
}
