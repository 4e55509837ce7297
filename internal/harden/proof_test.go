package harden_test

import (
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// parents are the directories above entries that are not among them.
func parents(entries []node.Entry) []node.Entry {
	known := map[string]bool{"/": true}
	for _, e := range entries {
		known[e.Path] = true
	}
	var out []node.Entry
	for _, e := range entries {
		for dir := path.Dir(e.Path); !known[dir]; dir = path.Dir(dir) {
			known[dir] = true
			out = append(out, node.Entry{Path: dir, Kind: node.KindDirectory, Mode: 0o755})
		}
	}
	return out
}

// TestProven judges what the plan makes of a bare node by every benchmark that
// fits the release: nothing fails, nothing is missing.
func TestProven(t *testing.T) {
	for _, tag := range []string{
		"v1.19.16+k3s1", "v1.20.15+k3s1", "v1.21.14+k3s1", "v1.22.17+k3s1", "v1.23.17+k3s1", "v1.24.17+k3s1",
		"v1.25.16+k3s1", "v1.26.15+k3s1", "v1.27.16+k3s1", "v1.28.15+k3s1", "v1.29.15+k3s1", "v1.30.14+k3s1", "v1.31.14+k3s1",
		"v1.32.10+k3s1", "v1.33.6+k3s1", "v1.34.2+k3s1", "v1.35.1+k3s1", "v1.36.3+k3s1", "v1.37.0+k3s1",
	} {
		release, err := k3s.ParseRelease(tag)
		require.NoError(t, err)
		for _, name := range benchmark.Benchmarks() {
			if _, err := benchmark.Select(release, name); err != nil {
				continue
			}
			for _, role := range []k3s.Role{k3s.Server, k3s.Agent} {
				t.Run(tag+"/"+name+"/"+string(role), func(t *testing.T) {
					o := harden.Options{Release: release, Role: role, Benchmark: name}
					plan, err := harden.Make(o, nil)
					require.NoError(t, err)
					entries := append(plan.Change.Write, node.Entry{Path: "/etc/machine-id", Kind: node.KindFile, Mode: 0o444, Data: []byte{}},
						node.Entry{Path: "/usr/local/bin/k3s", Kind: node.KindFile, Mode: 0o755})
					entries = append(entries, parents(entries)...)
					n := node.New(append(harden.Query(o), benchmark.Query(role, "")...), entries)
					effective, err := k3s.Resolve(n, release, role)
					require.NoError(t, err)
					proven := 0
					for _, r := range benchmark.Evaluate(benchmark.Input{Node: n, Effective: effective, Benchmark: name, Role: role, Now: time.Unix(0, 0)}) {
						assert.NotContains(t, []benchmark.Status{benchmark.Fail, benchmark.Error}, r.Status, "%s %s: found %s, expected %s: %s", r.ID, r.Key, r.Found, r.Expected, r.Reason)
						if r.Status == benchmark.Pass {
							proven++
						}
					}
					assert.Greater(t, proven, 30)
				})
			}
		}
	}
}
