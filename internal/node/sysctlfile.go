package node

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// assignment is one line of a sysctl file. Without a value ("-key") it keeps
// globs away from the parameter of exactly that name.
type assignment struct {
	key       string // path form, with slashes
	raw       string // the value as written
	exclusion bool
	KernelSetting
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
			return assignments{}, fmt.Errorf("%s: %w", g.KernelSetting, err)
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

// readSysctlDirs merges the .conf files of dirs, strongest directory first: of
// files with one base name the strongest directory's counts, all are applied
// in the order of their base names, and a later assignment wins.
func readSysctlDirs(n *Node, dirs []string) (assignments, error) {
	files := map[string]Entry{}
	for _, dir := range dirs {
		switch e, p := n.Lookup(dir); {
		case p == Unknown:
			return assignments{}, &UnknownPathError{Path: dir}
		case p == Present && e.Unread != "" && e.Kind != KindLink:
			return assignments{}, fmt.Errorf("%s cannot be listed: %s", dir, e.Unread)
		}
		for _, e := range n.Below(dir) {
			base := path.Base(e.Path)
			if path.Dir(e.Path) != dir || !strings.HasSuffix(base, ".conf") || base[0] == '.' {
				continue
			}
			if _, hidden := files[base]; !hidden {
				files[base] = e
			}
		}
	}
	names := make([]string, 0, len(files))
	for base := range files {
		names = append(names, base)
	}
	sort.Strings(names)
	var all []assignment
	for _, base := range names {
		as, err := readSysctlFile(files[base])
		if err != nil {
			return assignments{}, err
		}
		all = append(all, as...)
	}
	return fold(all)
}

const (
	// systemdBlank is what systemd strips around keys and values: nothing else
	// that is white space to Unicode.
	systemdBlank = " \t\n\r"
	// systemdLineMax is the length in bytes from which systemd refuses a line,
	// and with it the rest of the file.
	systemdLineMax = 1 << 20
)

// readSysctlFile reads one file by the syntax of sysctl.d(5). A line that is
// no assignment is passed over, as systemd-sysctl does.
func readSysctlFile(e Entry) ([]assignment, error) {
	if masked(e) || e.Kind == KindLink || e.Kind == KindDirectory {
		return nil, nil
	}
	data, err := content(e)
	if err != nil {
		return nil, err
	}
	var out []assignment
	rest, number := string(data), 1
	for rest != "" {
		length := strings.IndexAny(rest, "\n\r\x00") // any of them ends a line
		if length < 0 {
			length = len(rest)
		}
		if length >= systemdLineMax {
			break
		}
		if a, ok := sysctlAssignment(rest[:length]); ok {
			a.Path, a.Line = e.Path, number
			out = append(out, a)
		}
		if length < len(rest) && rest[length] == '\n' {
			number++
		}
		rest = rest[min(length+1, len(rest)):]
	}
	return out, nil
}

// sysctlAssignment reads one line.
func sysctlAssignment(line string) (assignment, bool) {
	line = strings.Trim(line, systemdBlank)
	if line == "" || line[0] == '#' || line[0] == ';' {
		return assignment{}, false
	}
	key, value, assigns := strings.Cut(line, "=")
	key, silent := strings.CutPrefix(key, "-") // "-key=value": a failure to set it is passed over
	if !assigns && !silent {
		return assignment{}, false
	}
	value = strings.Trim(value, systemdBlank)
	blank := func(r rune) bool { return r == ' ' || r == '\t' }
	return assignment{
		key: sysctlPath(strings.Trim(key, systemdBlank)), raw: value, exclusion: !assigns,
		KernelSetting: KernelSetting{Value: strings.Join(strings.FieldsFunc(value, blank), " ")},
	}, true
}

// sysctlPath turns a parameter's name into its path under /proc/sys. Which of
// "." and "/" comes first is the separator; the other one is then part of a
// name, as an interface's dot is in net.ipv4.conf.eth0/1.forwarding. What goes
// up ("..") stays as it stands: systemd-sysctl refuses to write there.
func sysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		name = strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "/")
}

// masked says whether e is a link to /dev/null or an empty regular file: both
// switch off what has the same name elsewhere.
func masked(e Entry) bool {
	if e.Target != "" {
		target := e.Target
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(e.Path), target)
		}
		if path.Clean(target) == "/dev/null" {
			return true
		}
	}
	return e.Kind == KindFile && e.Size == 0 && len(e.Data) == 0 && e.Unread == ""
}

// content returns a regular file's bytes, or why there are none.
func content(e Entry) ([]byte, error) {
	switch {
	case e.Unread != "":
		return nil, fmt.Errorf("%s cannot be read: %s", e.Path, e.Unread)
	case e.Kind != KindFile:
		return nil, fmt.Errorf("%s is not a regular file", e.Path)
	case e.Data == nil && e.Size > 0:
		return nil, &UnknownPathError{Path: e.Path}
	}
	return e.Data, nil
}
