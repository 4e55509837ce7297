package harden

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden holds each range, role and datastore of the guide to the tree in
// testdata: TREE lists paths with mode and owner, the files lie beside it under
// their paths on the node.
func TestGolden(t *testing.T) {
	ranges := []struct{ name, release, benchmark string }{
		{"v1.20", "v1.20.15+k3s1", "cis-1.6"},
		{"v1.24", "v1.24.17+k3s1", "cis-1.24"},
		{"v1.28", "v1.28.15+k3s1", "cis-1.9"},
		{"v1.36", "v1.36.3+k3s1", "cis-2.1"},
	}
	kinds := []struct {
		name   string
		role   k3s.Role
		config string
	}{
		{"server-sqlite", k3s.Server, ""},
		{"server-etcd", k3s.Server, "# The first server of three.\ncluster-init: true\ntls-san:\n  - k3s.example.org # the load balancer\ntoken-file: /run/k3s/token\n"},
		{"server-external", k3s.Server, "datastore-endpoint: https://etcd.example.org:2379\ndatastore-cafile: /etc/k3s/ca.crt\n"},
		{"agent", k3s.Agent, "server: https://k3s.example.org:6443\ntoken-file: /run/k3s/token\nnode-label: [disk=ssd]\n"},
	}
	for _, g := range ranges {
		for _, kind := range kinds {
			name := g.name + "-" + kind.name
			t.Run(name, func(t *testing.T) {
				o := Options{Release: release(t, g.release), Role: kind.role, Benchmark: g.benchmark}
				files := map[string]string{}
				if kind.config != "" {
					files[k3s.ConfigFile] = kind.config
				}
				golden(t, name, o, having(t, o, files))
			})
		}
	}
}

// TestGoldenOptions shows every option at once.
func TestGoldenOptions(t *testing.T) {
	yes := true
	o := newest(t)
	o.PodSecurity = PodSecurity{
		Enforce: "baseline", Version: "v1.36", Presets: []string{"longhorn", "monitoring"},
		ExemptNamespaces: []string{"gpu-operator"}, ExemptUsernames: []string{"system:serviceaccount:ci:builder"}, ExemptRuntimeClasses: []string{"kata"},
	}
	o.Audit = Audit{Profile: "recommended", LogPath: "/var/log/kubernetes/audit.log", MaxAge: 90, MaxBackup: 20, MaxSize: 200}
	o.EventRateLimit = []RateLimit{{Type: "Server", QPS: 5000, Burst: 20000}, {Type: "Namespace", QPS: 500, Burst: 1000, CacheSize: 2000}}
	o.NetworkPolicies = NetworkPolicies{
		Namespaces: []string{"team-a", "team-b", "default"}, DenyTraefik: true, DenyServiceLB: true,
		Manifests: []File{{Name: "policies/team-a.yaml", Data: []byte("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team-a\n")}},
	}
	o.Sysctl = map[string]string{"net.ipv4.conf.all.log_martians": "1", "kernel/panic": "10"}
	o.Config = map[string]any{
		"write-kubeconfig-mode": "0600", "tls-san": []any{"k3s.example.org", "192.0.2.7"}, "data-dir": "/data/k3s",
		"kubelet-arg": []string{"max-pods=200"},
	}
	o.Args = map[k3s.Component][]string{
		k3s.APIServer: {"enable-admission-plugins=NodeRestriction,AlwaysPullImages", "request-timeout=120s"},
		k3s.Kubelet:   {"event-qps=10", "streaming-connection-idle-timeout=10m"},
	}
	o.SecretsEncryptionProvider = "secretbox"
	o.PodMaxPids = 1024
	o.SeccompDefault = &yes
	o.DenyServiceExternalIPs = &yes
	golden(t, "options", o, having(t, o, nil))
}

// golden compares the plan for o with testdata/name.
func golden(t *testing.T, name string, o Options, have *node.Node) {
	t.Helper()
	plan, err := Make(o, have)
	require.NoError(t, err)
	got := map[string]string{}
	var tree strings.Builder
	for _, e := range plan.Change.Write {
		fmt.Fprintf(&tree, "%s %d:%d %s\n", octal(e.Mode), e.UID, e.GID, e.Path)
		if e.Kind == node.KindFile {
			got[strings.TrimPrefix(e.Path, "/")] = string(e.Data)
		}
	}
	for _, n := range plan.Notes {
		fmt.Fprintf(&tree, "note: %s\n", n)
	}
	for _, w := range plan.Warnings {
		fmt.Fprintf(&tree, "warning: %s\n", w)
	}
	got["TREE"] = tree.String()

	dir := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.RemoveAll(dir))
		for p, data := range got {
			p = filepath.Join(dir, filepath.FromSlash(p))
			require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
			require.NoError(t, os.WriteFile(p, []byte(data), 0o644))
		}
	}
	want := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		want[filepath.ToSlash(rel)] = string(data)
		return err
	}))
	assert.Equal(t, want, got, "run go test -update when the change is meant")

	// The same options on the hardened node change nothing.
	after := applied(t, o, plan, have)
	again, err := Make(o, after)
	require.NoError(t, err)
	assert.Empty(t, Diff(again, after))
	assert.Empty(t, again.Change.Keep)
	assert.Empty(t, again.Change.Remove)
}
