package benchmark

import (
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// gone wants nothing to be at paths. The last element of a path may be a
// pattern.
type gone struct {
	paths  []string
	except []string
	// running: a running machine has it by nature, so that only an image at
	// rest can be judged.
	running bool
	// filled: an empty file is as good as none.
	filled bool
	// files: a directory with nothing but directories below is as good as none.
	files bool
}

func (g gone) picks(p paths) node.Query {
	var q node.Query
	for _, s := range g.expanded(p) {
		dir, depth := patternRoot(s)
		if g.files {
			depth = node.Deep
		}
		q = append(q, node.Pick{Path: dir, Depth: depth})
	}
	return q
}

// expanded are the paths; those in the data directory in the default one too,
// where K3s may have run before it was given another.
func (g gone) expanded(p paths) []string {
	out := expandAll(p, g.paths)
	for _, s := range g.paths {
		if usual := (paths{data: k3s.DefaultDataDir}).expand(s); !slices.Contains(out, usual) {
			out = append(out, usual)
		}
	}
	return out
}

func (g gone) judge(x *examination) verdict {
	v := verdict{expected: "nothing at " + strings.Join(g.expanded(x.paths), ", ")}
	var found []string
	image := *x // what the image must not have it must not have below a mount point either
	image.in.Node = x.node().WithoutHidden()
	for _, p := range g.expanded(x.paths) {
		entries, problem := g.entries(&image, p)
		if problem != "" {
			return verdict{status: Error, expected: v.expected, found: problem, reason: "the evidence is missing", evidence: []Evidence{{Source: p, Detail: problem}}}
		}
		if entries, problem = g.ofDirectories(&image, entries); problem != "" {
			return verdict{status: Error, expected: v.expected, found: problem, reason: "the evidence is missing", evidence: []Evidence{{Source: p, Detail: problem}}}
		}
		for _, e := range entries {
			if g.filled && e.Kind == node.KindFile && e.Size == 0 {
				continue
			}
			found = append(found, e.Path)
			v.evidence = append(v.evidence, Evidence{Source: e.Path, Detail: describe(e)})
		}
	}
	switch {
	case len(found) == 0:
		v.status, v.found = Pass, "none of it is there"
		v.evidence = []Evidence{{Source: x.paths.expand(g.paths[0]), Detail: "looked for and not there"}}
	case g.running && x.running():
		v.status, v.found = Deferred, few(found)
		v.reason = "the machine is running and has it by nature: remove it in the last step before the image is taken"
	default:
		v.status, v.found = Fail, few(found)
	}
	return v
}

func (g gone) entries(x *examination, p string) ([]node.Entry, string) {
	dir, depth := patternRoot(p)
	if depth == 0 {
		e, presence := x.node().Lookup(p)
		switch presence {
		case node.Unknown:
			return nil, x.unseen(p)
		case node.Present:
			return []node.Entry{e}, ""
		}
		return nil, ""
	}
	all, problem := x.below(dir, dir+strings.Repeat("/-", depth), depth > 1)
	if problem != "" {
		return nil, problem
	}
	var out []node.Entry
	for _, e := range all {
		if ok, _ := path.Match(p, e.Path); ok && !slices.Contains(g.except, path.Base(e.Path)) {
			out = append(out, e)
		}
	}
	return out, ""
}

// ofDirectories puts in the place of each directory what is in it and is none, at
// any depth, where only that counts.
func (g gone) ofDirectories(x *examination, entries []node.Entry) ([]node.Entry, string) {
	if !g.files {
		return entries, ""
	}
	var out []node.Entry
	for _, e := range entries {
		below := []node.Entry{e}
		if e.Kind == node.KindDirectory {
			var problem string
			if below, problem = x.tree(e.Path); problem != "" {
				return nil, problem
			}
		}
		for _, b := range below {
			if b.Kind != node.KindDirectory {
				out = append(out, b)
			}
		}
	}
	return out, ""
}

// patternRoot takes a path apart into the directory before its first pattern
// and how many elements come after that; a path without one is its own root.
func patternRoot(p string) (dir string, depth int) {
	for dir = p; strings.ContainsAny(dir, "*?["); dir = path.Dir(dir) {
		depth++
	}
	return dir, depth
}
