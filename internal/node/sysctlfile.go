package node

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// readSysctlDirs merges the .conf files of dirs, strongest directory first: of
// files with one base name the strongest directory's counts, all are applied
// in the order of their base names, and a later assignment wins.
func readSysctlDirs(n *Node, dirs []string) (map[string]assignment, []assignment, error) {
	files := map[string]Entry{}
	for _, dir := range dirs {
		switch e, p := n.Lookup(dir); {
		case p == Unknown:
			return nil, nil, &UnknownPathError{Path: dir}
		case p == Present && e.Unread != "":
			return nil, nil, fmt.Errorf("%s cannot be listed: %s", dir, e.Unread)
		}
		for _, e := range n.Below(dir) {
			base := path.Base(e.Path)
			if path.Dir(e.Path) != dir || !strings.HasSuffix(base, ".conf") {
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
			return nil, nil, err
		}
		all = append(all, as...)
	}
	exact, globs := fold(all)
	return exact, globs, nil
}

// fold keeps the last assignment of each whole name and all globs in order.
func fold(as []assignment) (map[string]assignment, []assignment) {
	exact := map[string]assignment{}
	var globs []assignment
	for _, a := range as {
		if strings.ContainsAny(a.key, "*?[") {
			globs = slices.DeleteFunc(globs, func(g assignment) bool { return g.key == a.key })
			globs = append(globs, a)
			continue
		}
		exact[a.key] = a
	}
	return exact, globs
}

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
	for i, line := range bytes.Split(data, []byte("\n")) {
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		key, value, assigns := strings.Cut(text, "=")
		key, silent := strings.CutPrefix(key, "-") // "-key=value": a failure to set it is passed over
		if !assigns && !silent {
			continue
		}
		out = append(out, assignment{
			key:       sysctlPath(strings.TrimSpace(key)),
			exclusion: !assigns,
			KernelSetting: KernelSetting{
				Value: strings.Join(strings.Fields(value), " "),
				Path:  e.Path,
				Line:  i + 1,
			},
		})
	}
	return out, nil
}

// sysctlPath turns a parameter's name into its path under /proc/sys. Which of
// "." and "/" comes first is the separator; the other one is then part of a
// name, as an interface's dot is in net.ipv4.conf.eth0/1.forwarding.
func sysctlPath(name string) string {
	i := strings.IndexAny(name, "./")
	if i < 0 || name[i] == '/' {
		return path.Clean(name)
	}
	return path.Clean(strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name))
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
