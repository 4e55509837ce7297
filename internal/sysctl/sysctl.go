package sysctl

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// Setting is one place that sets one kernel parameter.
type Setting struct {
	Value string
	// Path and Line say where: a file of the node and the line in it, from 1.
	Path string
	Line int
	// Note says how this place acts where that is not plain: "kernel command
	// line", "read last by sysctl --system", "gone after a reboot".
	Note string
}

// String returns "path:line" and the note.
func (s Setting) String() string {
	where := fmt.Sprintf("%s:%d", s.Path, s.Line)
	if s.Note != "" {
		where += " (" + s.Note + ")"
	}
	return where
}

// Parameter is what one kernel parameter will be after boot.
type Parameter struct {
	// Name is the name that was looked up, such as kernel.panic.
	Name string
	// Setting is what decides the value. It is the zero value when nothing
	// but Conflicts speaks of the parameter.
	Setting Setting
	// Conflicts lists places with another value that may win depending on the
	// boot entry chosen or the program that applies the files. Where there is
	// one, Setting proves nothing.
	Conflicts []Setting
}

// Parameters are the kernel parameters that a node's files set at boot.
type Parameters struct {
	persistent assignments
	// volatile is what would hold with /run, which is gone after a reboot.
	volatile assignments
	// legacy is what /etc/sysctl.conf says.
	legacy assignments
	lines  []commandLine
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
var sysctlUnits = []string{"/etc/systemd/system/" + sysctlService}

const sysctlService = "systemd-sysctl.service"

// decides are the settings of a drop-in that keep the service from running, or have
// it run something else.
var decides = regexp.MustCompile(`(?m)^\s*(?:ExecStart|ExecCondition|Condition\w+|Assert\w+)\s*=`)

// Query returns what Read wants to know of a node.
func Query() node.Query {
	var q node.Query
	for _, dir := range sysctlDirs {
		q = append(q, node.Pick{Path: dir, Depth: 1, Content: true})
	}
	q = append(q, node.Pick{Path: legacySysctl, Content: true})
	for _, unit := range sysctlUnits {
		q = append(q, node.Pick{Path: unit}, node.Pick{Path: unit + ".d", Depth: 1, Content: true})
	}
	return append(q, commandLineQuery()...)
}

// Read computes, from files alone, the kernel parameters a node
// will have after boot: the files of all sysctl.d directories in the order
// systemd-sysctl applies them, /etc/sysctl.conf, and the kernel command line.
// A file of the set that could not be read, or was never looked at, is an
// error: the answer is unknown then.
func Read(n *node.Node) (*Parameters, error) {
	for _, unit := range sysctlUnits {
		if e, p := n.Lookup(unit); p == node.Present && service.Masked(e) {
			return nil, fmt.Errorf("%s is masked: no sysctl file will be applied at boot; unmask it", unit)
		}
		for _, e := range n.Below(unit + ".d") {
			if m := decides.FindString(string(e.Data)); m != "" && strings.HasSuffix(e.Path, ".conf") {
				return nil, fmt.Errorf("%s has %s: whether the sysctl files are applied at boot is not known; take the drop-in out", e.Path, strings.TrimSpace(m))
			}
		}
	}
	b := &Parameters{}
	var err error
	if b.persistent, err = readDirs(n, slices.DeleteFunc(slices.Clone(sysctlDirs), volatileDir)); err != nil {
		return nil, err
	}
	if b.volatile, err = readDirs(n, sysctlDirs); err != nil {
		return nil, err
	}
	switch e, p := n.Lookup(legacySysctl); p {
	case node.Unknown:
		return nil, &node.UnknownPathError{Path: legacySysctl, How: n.Undone(legacySysctl)}
	case node.Present:
		as, err := readFile(e)
		if err != nil {
			return nil, err
		}
		if b.legacy, err = fold(as); err != nil {
			return nil, err
		}
	}
	if b.lines, err = readCommandLines(n); err != nil {
		return b, err
	}
	for a := range b.Arguments() {
		if a.Name == "systemd.mask" && a.Value == sysctlService {
			return nil, fmt.Errorf("%s:%d masks %s: no sysctl file will be applied at boot; take systemd.mask out", a.Path, a.Line, sysctlService)
		}
	}
	return b, nil
}

// Places lists what can set a parameter at boot: the directories of settings that are
// there, and the files in them that are read.
func Places(n *node.Node) []node.Entry {
	var out []node.Entry
	for _, dir := range sysctlDirs {
		if e, p := n.Lookup(dir); p == node.Present && !volatileDir(dir) {
			out = append(out, e)
			for _, f := range n.Below(dir) {
				if f.Kind == node.KindFile && strings.HasSuffix(f.Path, ".conf") {
					out = append(out, f)
				}
			}
		}
	}
	return out
}

func volatileDir(path string) bool { return strings.HasPrefix(path, "/run/") }

// Lookup returns what parameter name (with dots) will be after boot, and
// whether any file or command line speaks of it at all.
func (b *Parameters) Lookup(name string) (Parameter, bool) {
	key := pathOf(name)
	p := Parameter{Name: name}
	a, set := b.persistent.find(key)
	if set {
		p.Setting = a.Setting
	}
	differs := func(s Setting) bool { return !set || s.Value != p.Setting.Value }

	if v, ok := b.volatile.find(key); ok && volatileDir(v.Path) && differs(v.Setting) {
		v.Note = "gone after a reboot"
		p.Conflicts = append(p.Conflicts, v.Setting)
	}
	if l, ok := b.legacy.find(key); ok && differs(l.Setting) {
		l.Note = "read last where sysctl --system applies the files"
		p.Conflicts = append(p.Conflicts, l.Setting)
	}
	p.commandLine(key, b.lines, set)
	return p, set || len(p.Conflicts) > 0 || p.Setting.Path != ""
}
