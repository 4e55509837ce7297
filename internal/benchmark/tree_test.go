package benchmark_test

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/boot"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// now is when every test is judged.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// tree is a node in the making.
type tree struct {
	release k3s.Release
	role    k3s.Role
	entries map[string]node.Entry
	kernel  map[string]string
}

// hardened returns what the guide makes of an empty node.
func hardened(t testing.TB, release string, role k3s.Role, benchmark string, change ...func(*harden.Options)) *tree {
	t.Helper()
	r, err := k3s.ParseRelease(release)
	require.NoError(t, err)
	o := harden.Options{Release: r, Role: role, Benchmark: benchmark}
	for _, c := range change {
		c(&o)
	}
	plan, err := harden.Make(o, nil)
	require.NoError(t, err)
	tr := &tree{release: r, role: role, entries: map[string]node.Entry{}}
	for _, dir := range []string{"/etc", "/var", "/usr", "/proc"} {
		tr.dir(dir, 0o755)
	}
	for _, e := range plan.Change.Write {
		tr.put(e)
	}
	return tr
}

// put lays down an entry and makes the parents it lacks, 0755.
func (tr *tree) put(e node.Entry) {
	for dir := path.Dir(e.Path); dir != "/"; dir = path.Dir(dir) {
		if _, ok := tr.entries[dir]; !ok {
			tr.entries[dir] = node.Entry{Path: dir, Kind: node.KindDirectory, Mode: 0o755}
		}
	}
	if e.Kind == node.KindFile {
		e.Size = int64(len(e.Data))
		if e.Data == nil && e.Unread == "" {
			e.Data = []byte{}
		}
	}
	tr.entries[e.Path] = e
}

func (tr *tree) file(p string, mode fs.FileMode, data string) {
	tr.put(node.Entry{Path: p, Kind: node.KindFile, Mode: mode, Data: []byte(data)})
}

func (tr *tree) dir(p string, mode fs.FileMode) {
	tr.put(node.Entry{Path: p, Kind: node.KindDirectory, Mode: mode})
}

// node returns what collecting Query from the tree gives.
func (tr *tree) node(q node.Query) *node.Node {
	var out []node.Entry
	for _, e := range tr.entries {
		out = append(out, e)
	}
	n := node.New(q, out)
	n.Kernel = tr.kernel
	return n
}

// input resolves the tree's configuration.
func (tr *tree) input(t testing.TB, release string) benchmark.Input {
	t.Helper()
	n := boot.Read(tr.node(benchmark.Query(tr.role, ""))).After()
	e, err := k3s.Resolve(n, tr.release, tr.role)
	require.NoError(t, err)
	if more := benchmark.FollowUp(benchmark.Input{Node: n, Effective: e}); len(more) > 0 || e.DataDir != k3s.DefaultDataDir {
		n = boot.Read(tr.node(append(benchmark.Query(tr.role, e.DataDir), more...))).After()
		e, err = k3s.Resolve(n, tr.release, tr.role)
		require.NoError(t, err)
	}
	return benchmark.Input{Node: n, Effective: e, Benchmark: release, Role: tr.role, Now: now}
}

// edit changes a file's text, which must hold from.
func (tr *tree) edit(t testing.TB, p, from, to string) {
	t.Helper()
	e, ok := tr.entries[p]
	require.True(t, ok, "%s is not in the tree", p)
	require.Contains(t, string(e.Data), from, p)
	tr.file(p, e.Mode, strings.ReplaceAll(string(e.Data), from, to))
}

// config changes K3s's configuration file.
func (tr *tree) config(t testing.TB, change func(map[string]any)) {
	t.Helper()
	m := map[string]any{}
	require.NoError(t, yaml.Unmarshal(tr.entries[k3s.ConfigFile].Data, &m))
	change(m)
	data, err := yaml.Marshal(m)
	require.NoError(t, err)
	tr.file(k3s.ConfigFile, 0o600, string(data))
}

// args changes the arguments of a component in K3s's configuration file.
func (tr *tree) args(t testing.TB, component k3s.Component, change func([]string) []string) {
	t.Helper()
	key := string(component) + "-arg"
	tr.config(t, func(m map[string]any) {
		var list []string
		items, _ := m[key].([]any)
		for _, i := range items {
			s, isText := i.(string)
			require.True(t, isText, "%v", i)
			list = append(list, s)
		}
		if list = change(list); len(list) == 0 {
			delete(m, key)
		} else {
			m[key] = list
		}
	})
}

// without takes the arguments of a name out of a list.
func without(list []string, name string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return strings.HasPrefix(s, name+"=") })
}

// arg gives a component an argument, in the place of one of the same name.
func (tr *tree) arg(t testing.TB, component k3s.Component, argument string) {
	t.Helper()
	name, _, _ := strings.Cut(argument, "=")
	tr.args(t, component, func(list []string) []string { return append(without(list, name), argument) })
}

// plugins changes the API server's list of admission plugins.
func (tr *tree) plugins(t testing.TB, change func([]string) []string) {
	t.Helper()
	const name = "enable-admission-plugins"
	tr.args(t, k3s.APIServer, func(list []string) []string {
		plugins := []string{"NodeRestriction"}
		for _, s := range list {
			if v, ok := strings.CutPrefix(s, name+"="); ok {
				plugins = strings.Split(v, ",")
			}
		}
		return append(without(list, name), name+"="+strings.Join(change(plugins), ","))
	})
}

// clone returns a tree of its own with the same content.
func (tr *tree) clone() *tree {
	c := *tr
	c.entries, c.kernel = maps.Clone(tr.entries), maps.Clone(tr.kernel)
	return &c
}
