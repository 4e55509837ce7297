package benchmark

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// paths expands the places of a node that the catalogue names: {data} is K3s's
// data directory, {config} its configuration file.
type paths struct{ data, config string }

func (p paths) expand(s string) string {
	if !strings.Contains(s, "{") {
		return s
	}
	s = strings.ReplaceAll(s, "{data}", k3s.LayoutOf(p.data).Root())
	return strings.ReplaceAll(s, "{config}", cmp.Or(p.config, k3s.ConfigFile))
}

// file wants what is at a path, or everything below it whose base name
// matches, to have at most a mode and to be root's.
type file struct {
	paths []string
	// namedBy are flags of the API server that name the files instead; with
	// parent, the directories they are in are meant.
	namedBy []string
	parent  bool
	// service means the files that make the service that runs K3s: "unit" its
	// unit and drop-ins or its script, "environment" its environment files.
	service string
	// kubelet means the kubelet's configuration files that kubelet-arg names: "named"
	// the files themselves, "copied" what K3s copies of them at each start.
	kubelet  string
	match    string
	except   []string
	kind     node.Kind
	mode     releases[fs.FileMode]
	owned    bool
	optional bool
	// firstBoot is set for what K3s makes itself.
	firstBoot *firstBoot
}

// firstBoot is the mode K3s gives at first start; earlier is what it gave in
// releases before those of before.
type firstBoot struct {
	mode, earlier fs.FileMode
	before        []patch
}

func (b firstBoot) modeOf(r k3s.Release) fs.FileMode {
	if b.before != nil && before(r, b.before) {
		return b.earlier
	}
	return b.mode
}

func (f file) picks(p paths) node.Query {
	var q node.Query
	for _, s := range f.paths {
		depth := 0
		if f.match != "" {
			depth = node.Deep
		}
		q = append(q, node.Pick{Path: p.expand(s), Depth: depth})
	}
	return q
}

func (f file) judge(x *examination) verdict { return f.afterStart(x, f.judgeNode(x)) }

func (f file) judgeNode(x *examination) verdict {
	if len(f.namedBy) > 0 || f.service != "" || f.kubelet != "" {
		if blocked := x.configuration(); blocked != nil {
			blocked.expected = f.wanted(x)
			return *blocked
		}
		if f = f.resolve(x); len(f.paths) == 0 {
			return verdict{status: NotApplicable, expected: f.wanted(x), found: "no file is named", reason: "the node has nothing of the kind"}
		}
	}
	v := verdict{status: Pass, expected: f.wanted(x)}
	var found, bad, missing, strange []string
	for _, s := range f.paths {
		p := x.paths.expand(s)
		entries, problem := f.entries(x, p)
		if problem != "" {
			return verdict{status: Error, expected: v.expected, found: problem, reason: "the evidence is missing", evidence: []Evidence{{Source: p, Detail: problem}}}
		}
		if len(entries) == 0 {
			missing = append(missing, path.Join(p, f.match))
			if !f.optional {
				v.evidence = append(v.evidence, Evidence{Source: p, Detail: "not there"})
			}
		}
		for _, e := range entries {
			detail := describe(e)
			found = append(found, e.Path+" "+detail)
			if e.Kind != f.kind && f.kind != "any" {
				detail += fmt.Sprintf(", which is a %s and not a %s", e.Kind, f.kind)
				strange = append(strange, e.Path)
			}
			if f.violates(x, e) {
				bad = append(bad, e.Path+" "+detail)
				v.evidence = append(v.evidence, Evidence{Source: e.Path, Detail: detail})
			} else if len(entries) == 1 {
				v.evidence = append(v.evidence, Evidence{Source: e.Path, Detail: detail})
			}
		}
	}
	switch {
	case len(bad) > 0:
		v.status, v.found = Fail, few(bad)
		if len(strange) == len(bad) {
			v.remediation = fmt.Sprintf("Remove %s: a %s belongs there.", few(strange), f.kind)
		}
	case len(missing) > 0 && f.firstBoot != nil:
		return f.deferred(x, v, missing)
	case len(missing) > 0 && !f.optional:
		v.status, v.found = Fail, "missing: "+few(missing)
	case !slices.ContainsFunc(f.paths, func(p string) bool { return !f.shared(x, p) }):
		v.status, v.found, v.reason = NotApplicable, few(found), "a directory that others use too: its mode is not that of the file in it, which the API server makes for root alone"
	case len(found) == 0:
		v.status, v.found, v.reason = NotApplicable, "not there: "+few(missing), "the node has nothing of the kind"
		v.evidence = append(v.evidence, Evidence{Source: missing[0], Detail: "looked for and not there"})
	default:
		v.found = few(found)
		if len(v.evidence) == 0 {
			v.evidence = []Evidence{{Source: x.paths.expand(f.paths[0]), Detail: fmt.Sprintf("%d looked at, none has more", len(found))}}
		}
	}
	return v
}

// kubeletFiles says what the names of the kubelet's configuration files mean.
var kubeletFiles = map[string]string{
	"named":  "what kubelet-arg names with config= and config-dir=",
	"copied": "what K3s copies from config=",
}

// resolve fills in the paths that the flags or the service name.
func (f file) resolve(x *examination) file {
	f.paths = nil
	if s := x.in.Effective.Service; s != nil && f.service != "" {
		f.paths = serviceFiles(s, f.service == "environment")
	}
	switch e := x.in.Effective; {
	case f.kubelet == "named":
		f.paths = e.KubeletNamed
	case f.kubelet == "copied" && e.KubeletCopy != "":
		f.paths = []string{e.KubeletCopy}
	}
	for _, flag := range f.namedBy {
		p, _, c := x.named(flag)
		if c != nil || path.Base(p) == "-" {
			continue // "-" stands for standard output
		}
		if f.parent {
			p = path.Dir(p)
		}
		if !slices.Contains(f.paths, p) {
			f.paths = append(f.paths, p)
		}
	}
	return f
}

// serviceFiles lists the files that a service is read from.
func serviceFiles(s *service.Service, environment bool) []string {
	all := []string{s.Path}
	for _, w := range s.Start {
		all = append(all, w.Path)
	}
	for _, v := range s.Environment {
		all = append(all, v.Path)
	}
	all = slices.DeleteFunc(all, func(p string) bool {
		unit := p == s.Path || slices.Contains([]string{".service", ".conf"}, path.Ext(p))
		return unit == environment
	})
	slices.Sort(all)
	return slices.Compact(all)
}

// entries returns what is to be judged at p, or why that is not known.
func (f file) entries(x *examination, p string) ([]node.Entry, string) {
	e, presence := x.node().Lookup(p)
	switch {
	case presence == node.Unknown:
		return nil, x.unseen(p)
	case presence == node.Absent:
		return nil, ""
	case f.match == "":
		return []node.Entry{e}, ""
	}
	all, problem := x.tree(p)
	if problem != "" {
		return nil, problem
	}
	var out []node.Entry
	for _, e := range all {
		if ok, _ := path.Match(f.match, path.Base(e.Path)); !ok || slices.Contains(f.except, path.Base(e.Path)) {
			continue
		}
		if f.kind == "any" || (e.Kind == node.KindDirectory) == (f.kind == node.KindDirectory) {
			out = append(out, e)
		}
	}
	return out, ""
}

func (f file) violates(x *examination, e node.Entry) bool {
	if f.shared(x, e.Path) {
		return e.Kind != f.kind || f.owned && e.UID != 0 || e.Mode&0o002 != 0
	}
	if f.kind != "any" && e.Kind != f.kind {
		return true
	}
	if f.owned && (e.UID != 0 || e.GID != 0) {
		return true
	}
	m, limited := maxMode(f.mode, x.in.Benchmark)
	return limited && e.Mode&^(m|f.beyond(e.Path)) != 0
}

// beyond are the permissions that a file of a service has by nature beyond
// those of its kind: OpenRC runs its scripts, and what describes the whole
// system to every program cannot be for root alone.
func (f file) beyond(p string) fs.FileMode {
	switch {
	case f.service == "unit" && path.Dir(p) == "/etc/init.d":
		return 0o755
	case f.service == "environment" && slices.Contains(k3s.SystemEnvironmentFiles(), p):
		return 0o644
	}
	return 0
}

// shared says whether p is the directory of a file that a flag names and
// others use it too: that not everyone may put a file there is all that is asked
// of it then, since the API server makes its log for root alone.
func (f file) shared(x *examination, p string) bool {
	return f.parent && k3s.LayoutOf(x.paths.data).Shared(p)
}

// named are the picks of what flags of the API server name.
func (f file) named(x *examination) node.Query {
	if len(f.namedBy) == 0 {
		return nil
	}
	var q node.Query
	for _, p := range f.resolve(x).paths {
		q = append(q, node.Pick{Path: p})
	}
	return q
}

func (f file) deferred(x *examination, v verdict, missing []string) verdict {
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	mode := f.firstBoot.modeOf(x.release())
	v.status, v.found = Deferred, "not there before K3s has run: "+few(missing)
	v.reason = fmt.Sprintf("K3s makes it at first start, mode %04o, owner root:root", mode)
	if opened := f.openedAtBoot(x, mode); opened != nil {
		f.opened(&v, *opened)
		return v
	}
	if m, limited := maxMode(f.mode, x.in.Benchmark); limited && mode&^m != 0 {
		if by, tightened := f.tightenedBy(x, m); tightened {
			v.reason += fmt.Sprintf("; %s then makes that %04o, after each start", by.Source, m)
			v.evidence = append(v.evidence, Evidence{Source: by.Source, Line: by.Line, Detail: "the service tightens it after each start"})
			return v
		}
		v.status = Manual
		v.reason += fmt.Sprintf("; that is more than %04o, so somebody has to tighten it after the first start", m)
	}
	return v
}

// openedAtBoot is one of the files that K3s makes as a command of the node leaves
// it, where that is more than f allows.
func (f file) openedAtBoot(x *examination, mode fs.FileMode) *node.Entry {
	for _, s := range f.paths {
		made := node.Entry{Path: path.Join(x.paths.expand(s), strings.ReplaceAll(f.match, "*", "x")), Kind: node.KindFile, Mode: mode}
		for _, e := range x.boot().Permitted(made) {
			m, limited := maxMode(f.mode, x.in.Benchmark)
			if limited && e.Mode&^(m|mode) != 0 || f.owned && (e.UID != 0 || e.GID != 0) {
				return &e
			}
		}
	}
	return nil
}

// opened makes v the verdict on a file that is opened so.
func (file) opened(v *verdict, e node.Entry) {
	v.status, v.reason, v.found = Fail, "", e.Path+" "+describe(e)
	v.remediation = "Take out what sets that mode: K3s makes the file for root alone."
	v.evidence = append(v.evidence, Evidence{Source: e.Path, Detail: describe(e)})
}

// tightenedBy is what has the service give all that f speaks of mode m or less
// after each start.
func (f file) tightenedBy(x *examination, m fs.FileMode) (by k3s.Origin, tightened bool) {
	for _, s := range f.paths {
		dir, match := x.paths.expand(s), f.match
		if match == "" {
			dir, match = path.Dir(dir), path.Base(dir)
		}
		if by, tightened = x.in.Effective.TightenedBy(x.node(), dir, match, m); !tightened {
			return k3s.Origin{}, false
		}
	}
	return by, tightened
}

func (f file) wanted(x *examination) string {
	what := few(expandAll(x.paths, f.paths))
	if len(f.paths) == 0 {
		what = "what " + strings.Join(f.namedBy, ", ") + " names"
		if f.service != "" {
			what = "the " + f.service + " of the service that runs K3s"
		}
		if f.kubelet != "" {
			what = kubeletFiles[f.kubelet]
		}
	}
	if f.match != "" {
		what += "/**/" + f.match
	}
	var want []string
	if m, limited := maxMode(f.mode, x.in.Benchmark); limited {
		want = append(want, fmt.Sprintf("mode %04o or less", m))
	}
	if f.owned {
		want = append(want, "owner root:root")
	}
	if f.optional {
		what += " (if there)"
	}
	return what + " " + strings.Join(want, ", ")
}

// describe says what e is, in the way a person compares with an expectation.
func describe(e node.Entry) string {
	s := fmt.Sprintf("%04o %s", e.Mode.Perm(), owner(e))
	for _, special := range specialModes {
		if e.Mode&special.bit != 0 {
			s += special.name
		}
	}
	if e.Kind != node.KindFile {
		s += " " + string(e.Kind)
	}
	if e.Note != "" {
		s += " (" + e.Note + ")"
	}
	return s
}

var specialModes = []struct {
	bit  fs.FileMode
	name string
}{{fs.ModeSetuid, " setuid"}, {fs.ModeSetgid, " setgid"}, {fs.ModeSticky, " sticky"}}

func owner(e node.Entry) string {
	name := func(id int) string {
		if id == 0 {
			return "root"
		}
		return strconv.Itoa(id)
	}
	return name(e.UID) + ":" + name(e.GID)
}

// few joins at most five of all.
func few(all []string) string {
	const most = 5
	if len(all) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
	}
	return strings.Join(all, ", ")
}

func expandAll(p paths, all []string) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = p.expand(s)
	}
	return out
}
