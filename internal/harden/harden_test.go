package harden

import (
	"io/fs"
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

func release(t testing.TB, s string) k3s.Release {
	t.Helper()
	r, err := k3s.ParseRelease(s)
	require.NoError(t, err)
	return r
}

// newest are the options of two lines of HCL.
func newest(t testing.TB) Options {
	t.Helper()
	return Options{Release: release(t, "v1.36.3+k3s1"), Role: k3s.Server, Benchmark: "cis-2.1"}
}

// having is a node that has files of the given content, owned by root, 0600.
func having(t testing.TB, o Options, files map[string]string) *node.Node {
	t.Helper()
	var entries []node.Entry
	dirs := map[string]bool{}
	for name, data := range files {
		entries = append(entries, node.Entry{Path: name, Kind: node.KindFile, Mode: 0o600, Data: []byte(data), Size: int64(len(data))})
		for dir := path.Dir(name); dir != "/" && !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
			entries = append(entries, node.Entry{Path: dir, Kind: node.KindDirectory, Mode: 0o755})
		}
	}
	return node.New(Query(o), entries)
}

// applied is have after plan was put in place.
func applied(t testing.TB, o Options, plan *Plan, have *node.Node) *node.Node {
	t.Helper()
	q := Query(o)
	entries := map[string]node.Entry{}
	if have != nil {
		q = have.Query()
		for _, e := range have.Entries() {
			entries[e.Path] = e
		}
	}
	for from, to := range plan.Change.Keep {
		e := entries[from]
		e.Path = to
		entries[to] = e
	}
	for _, p := range plan.Change.Remove {
		delete(entries, p)
	}
	for _, e := range plan.Change.Write {
		entries[e.Path] = e
	}
	var all []node.Entry
	for _, e := range entries {
		all = append(all, e)
	}
	return node.New(q, all)
}

// planned is the content of a file of the plan.
func planned(t testing.TB, plan *Plan, name string) string {
	t.Helper()
	for _, e := range plan.Change.Write {
		if e.Path == name {
			return string(e.Data)
		}
	}
	require.Failf(t, "not in the plan", "%s", name)
	return ""
}

func modeOf(plan *Plan, name string) (fs.FileMode, bool) {
	for _, e := range plan.Change.Write {
		if e.Path == name {
			return e.Mode, true
		}
	}
	return 0, false
}
