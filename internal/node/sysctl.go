package node

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// KernelSetting is one place that sets one kernel parameter.
type KernelSetting struct {
	Value string
	// Path and Line say where: a file of the node and the line in it, from 1.
	Path string
	Line int
	// Note says how this place acts where that is not plain: "kernel command
	// line", "read last by sysctl --system", "gone after a reboot".
	Note string
}

// String returns "path:line" and the note.
func (s KernelSetting) String() string {
	where := fmt.Sprintf("%s:%d", s.Path, s.Line)
	if s.Note != "" {
		where += " (" + s.Note + ")"
	}
	return where
}

// KernelParameter is what one kernel parameter will be after boot.
type KernelParameter struct {
	// Name has dots, such as kernel.panic.
	Name string
	// Setting is what decides the value. It is the zero value when nothing
	// but Conflicts speaks of the parameter.
	Setting KernelSetting
	// Conflicts lists places with another value that may win depending on the
	// boot entry chosen or the program that applies the files. Where there is
	// one, Setting proves nothing.
	Conflicts []KernelSetting
}

// BootParameters are the kernel parameters that a node's files set at boot.
type BootParameters struct {
	exact    map[string]assignment
	globs    []assignment // in the order they are applied
	volatile map[string]assignment
	legacy   map[string]assignment
	legacyGl []assignment
	lines    []commandLine
}

// assignment is one line of a sysctl file; an exclusion ("-key") takes the
// key out of what globs match.
type assignment struct {
	key       string // path form, with slashes
	exclusion bool
	KernelSetting
}

// sysctlDirs are the directories systemd-sysctl reads, strongest first
// (sysctl.d(5)). /lib/sysctl.d is the same as /usr/lib/sysctl.d on a merged
// /usr and one more directory where it is not.
var sysctlDirs = []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}

// legacySysctl is read by systemd-sysctl only through a link in a directory
// (Debian's 99-sysctl.conf), but last of all by procps's and BusyBox's sysctl
// where OpenRC or sysvinit boots the node.
const legacySysctl = "/etc/sysctl.conf"

// sysctlUnits are where an administrator masks the service that applies the
// files at boot.
var sysctlUnits = []string{"/etc/systemd/system/systemd-sysctl.service"}

// SysctlQuery returns what KernelParameters wants to know of a node.
func SysctlQuery() Query {
	var q Query
	for _, dir := range sysctlDirs {
		q = append(q, Pick{Path: dir, Depth: 1, Content: true})
	}
	q = append(q, Pick{Path: legacySysctl, Content: true})
	for _, unit := range sysctlUnits {
		q = append(q, Pick{Path: unit})
	}
	return append(q, commandLineQuery()...)
}

// KernelParameters computes, from files alone, the kernel parameters a node
// will have after boot: the files of all sysctl.d directories in the order
// systemd-sysctl applies them, /etc/sysctl.conf, and the kernel command line.
// A file of the set that could not be read, or was never looked at, is an
// error: the answer is unknown then.
func KernelParameters(n *Node) (*BootParameters, error) {
	for _, unit := range sysctlUnits {
		if e, p := n.Lookup(unit); p == Present && masked(e) {
			return nil, fmt.Errorf("%s is masked: no sysctl file will be applied at boot; unmask it", unit)
		}
	}
	b := &BootParameters{volatile: map[string]assignment{}, legacy: map[string]assignment{}}
	persistent := slices.DeleteFunc(slices.Clone(sysctlDirs), func(d string) bool { return strings.HasPrefix(d, "/run/") })
	var err error
	if b.exact, b.globs, err = readSysctlDirs(n, persistent); err != nil {
		return nil, err
	}
	if b.volatile, _, err = readSysctlDirs(n, sysctlDirs); err != nil {
		return nil, err
	}
	switch e, p := n.Lookup(legacySysctl); p {
	case Unknown:
		return nil, &UnknownPathError{Path: legacySysctl}
	case Present:
		as, err := readSysctlFile(e)
		if err != nil {
			return nil, err
		}
		b.legacy, b.legacyGl = fold(as)
	}
	b.lines, err = readCommandLines(n)
	return b, err
}

// Lookup returns what parameter name (with dots) will be after boot, and
// whether any file or command line speaks of it at all.
func (b *BootParameters) Lookup(name string) (KernelParameter, bool) {
	key := sysctlPath(name)
	p := KernelParameter{Name: strings.ReplaceAll(key, "/", ".")}
	a, set := find(b.exact, b.globs, key)
	if set {
		p.Setting = a.KernelSetting
	}
	differs := func(s KernelSetting) bool { return !set || s.Value != p.Setting.Value }

	if v, ok := b.volatile[key]; ok && strings.HasPrefix(v.Path, "/run/") && differs(v.KernelSetting) {
		v.Note = "gone after a reboot"
		p.Conflicts = append(p.Conflicts, v.KernelSetting)
	}
	if l, ok := find(b.legacy, b.legacyGl, key); ok && differs(l.KernelSetting) {
		l.Note = "read last where sysctl --system applies the files"
		p.Conflicts = append(p.Conflicts, l.KernelSetting)
	}
	p.commandLine(key, b.lines, set)
	return p, set || len(p.Conflicts) > 0 || p.Setting.Path != ""
}

// Names lists every parameter that is set by its whole name, sorted.
func (b *BootParameters) Names() []string {
	seen := map[string]bool{}
	for _, m := range []map[string]assignment{b.exact, b.volatile, b.legacy} {
		for key, a := range m {
			seen[strings.ReplaceAll(key, "/", ".")] = seen[key] || !a.exclusion
		}
	}
	for _, line := range b.lines {
		for key := range line.parameters() {
			seen[strings.ReplaceAll(key, "/", ".")] = true
		}
	}
	var out []string
	for name, set := range seen {
		if set {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}

// find applies systemd-sysctl's rule that a glob never touches a parameter
// that is also set, or excluded, by its whole name.
func find(exact map[string]assignment, globs []assignment, key string) (assignment, bool) {
	if a, ok := exact[key]; ok {
		return a, !a.exclusion
	}
	for _, g := range slices.Backward(globs) {
		if ok, err := path.Match(g.key, key); err == nil && ok {
			return g, !g.exclusion
		}
	}
	return assignment{}, false
}
