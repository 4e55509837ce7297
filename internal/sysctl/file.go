package sysctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// assignment is one line of a sysctl file. Without a value ("-key") it keeps
// globs away from the parameter of exactly that name.
type assignment struct {
	key       string // path form, with slashes
	raw       string // the value as written
	exclusion bool
	Setting
}

// says tells whether a and b assign the same, to systemd-sysctl.
func (a assignment) says(b assignment) bool { return a.exclusion == b.exclusion && a.raw == b.raw }

// assignments are what files assign together, each key once, in the order in
// which systemd-sysctl writes them.
type assignments struct {
	exact map[string]ordered
	globs []ordered
}

type ordered struct {
	assignment
	place        int
	alternatives []keyPattern
}

// fold keeps of every key, a glob too, the last assignment. One that repeats
// the value keeps the place of the earlier one, another value moves to the end.
func fold(as []assignment) (assignments, error) {
	out := assignments{exact: map[string]ordered{}}
	globs := map[string]ordered{}
	for place, a := range as {
		in := out.exact
		if isGlob(a.key) {
			in = globs
		}
		if old, ok := in[a.key]; ok && old.says(a) {
			place = old.place
		}
		in[a.key] = ordered{assignment: a, place: place}
	}
	for _, g := range globs {
		if g.exclusion {
			continue // globs are kept away from whole names only
		}
		var err error
		if g.alternatives, err = keyPatterns(g.key); err != nil {
			return assignments{}, fmt.Errorf("%s: %w", g.Setting, err)
		}
		out.globs = append(out.globs, g)
	}
	slices.SortFunc(out.globs, func(a, b ordered) int { return b.place - a.place })
	return out, nil
}

// find returns what is written last to the parameter at key. A glob does not
// touch one that is set, or excluded, by its whole name.
func (as assignments) find(key string) (assignment, bool) {
	exact, named := as.exact[key]
	parts := strings.Split(key, "/")
	for _, g := range as.globs {
		if named && !exact.exclusion && g.place < exact.place {
			break
		}
		for _, p := range g.alternatives {
			if (p.crooked || !named) && p.match(parts) {
				return g.assignment, true
			}
		}
	}
	return exact.assignment, named && !exact.exclusion
}

// readDirs merges the .conf files of dirs, strongest directory first: of
// files with one base name the strongest directory's counts, all are applied
// in the order of their base names, and a later assignment wins.
func readDirs(n *node.Node, dirs []string) (assignments, error) {
	files, err := service.ConfigurationFiles(n, dirs)
	if err != nil {
		return assignments{}, err
	}
	var all []assignment
	for _, e := range files {
		as, err := readFile(e)
		if err != nil {
			return assignments{}, err
		}
		if all = append(all, as...); len(all) > maxSettings {
			return assignments{}, fmt.Errorf("%s: more than %d settings of kernel parameters are not judged", dirs[0], maxSettings)
		}
	}
	return fold(all)
}

// maxSettings is how many lines of sysctl files are judged; nobody has as
// many.
const maxSettings = 20_000

// readFile reads one file by the syntax of sysctl.d(5). A line that is
// no assignment is passed over, as systemd-sysctl does.
func readFile(e node.Entry) ([]assignment, error) {
	data, err := service.Configuration(e)
	if err != nil {
		return nil, err
	}
	var out []assignment
	number := 1
	for text := string(data); text != ""; {
		line, rest := service.CutLine(text)
		if len(line) >= service.MaxLine {
			break
		}
		if a, ok := readAssignment(line); ok {
			a.Path, a.Line = e.Path, number
			out = append(out, a)
		}
		number += strings.Count(text[:len(text)-len(rest)], "\n")
		text = rest
	}
	return out, nil
}

// readAssignment reads one line.
func readAssignment(line string) (assignment, bool) {
	line = strings.Trim(line, service.Blank)
	if line == "" || line[0] == '#' || line[0] == ';' {
		return assignment{}, false
	}
	key, value, assigns := strings.Cut(line, "=")
	key, silent := strings.CutPrefix(key, "-") // "-key=value": a failure to set it is passed over
	if !assigns && !silent {
		return assignment{}, false
	}
	value = strings.Trim(value, service.Blank)
	blank := func(r rune) bool { return r == ' ' || r == '\t' }
	return assignment{
		key: pathOf(strings.Trim(key, service.Blank)), raw: value, exclusion: !assigns,
		Setting: Setting{Value: strings.Join(strings.FieldsFunc(value, blank), " ")},
	}, true
}

// pathOf turns a parameter's name into its path under /proc/sys. Which of
// "." and "/" comes first is the separator; the other one is then part of a
// name, as an interface's dot is in net.ipv4.conf.eth0/1.forwarding. What goes
// up ("..") stays as it stands: systemd-sysctl refuses to write there.
func pathOf(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		name = strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	return strings.Join(service.PathParts(name), "/")
}
