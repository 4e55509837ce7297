package benchmark_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

func empty(t *testing.T, role k3s.Role) *tree {
	r, err := k3s.ParseRelease("v1.36.3+k3s1")
	require.NoError(t, err)
	return &tree{release: r, role: role, entries: map[string]node.Entry{}}
}

func count(results []benchmark.Result) map[benchmark.Status][]string {
	out := map[benchmark.Status][]string{}
	for _, r := range results {
		out[r.Status] = append(out[r.Status], r.Key)
	}
	return out
}

// TestNothingProvesNothing: where nothing was collected, or a tree is no node's,
// no control passes and every control that needs evidence is an error.
func TestNothingProvesNothing(t *testing.T) {
	for _, role := range []k3s.Role{k3s.Server, k3s.Agent} {
		tr := empty(t, role)
		blind := node.New(nil, nil)
		effective, err := k3s.Resolve(blind, tr.release, role)
		require.NoError(t, err)
		for name, in := range map[string]benchmark.Input{
			"zero input":   {},
			"no node":      {Effective: effective},
			"zero node":    {Node: &node.Node{}, Effective: effective},
			"nothing read": {Node: blind, Effective: effective},
			"empty tree":   tr.input(t, "cis-2.1"),
		} {
			in.Benchmark, in.Role, in.Now = "cis-2.1", role, now
			results := benchmark.Evaluate(in)
			assert.NotEmpty(t, results, name)
			for _, r := range results {
				b := base{"cis-2.1", "v1.36.3+k3s1", role}
				if _, judged := controlOf(b, r.Key); judged {
					assert.Equal(t, benchmark.Error, r.Status, "%s, %s: %s: %s", name, role, r.Key, r.Found)
					assert.NotEmpty(t, r.Reason, r.Key)
				} else {
					assert.Contains(t, []benchmark.Status{benchmark.Manual, benchmark.NotApplicable}, r.Status, "%s: %s", name, r.Key)
				}
			}
		}
	}
}

// TestWithoutK3s: in an operating system without K3s, K3s's defaults prove
// nothing. What is judged by looking at files alone still is.
func TestWithoutK3s(t *testing.T) {
	tr := empty(t, k3s.Server)
	tr.dir("/etc", 0o755)
	tr.dir("/usr/bin", 0o755)
	got := count(benchmark.Evaluate(tr.input(t, "cis-2.1")))
	for _, key := range got[benchmark.Pass] {
		assert.True(t, strings.HasPrefix(key, "node.hygiene."), "%s passes without K3s", key)
	}
	assert.Equal(t, []string{"node.kernel-parameters"}, got[benchmark.Fail])
	assert.Empty(t, got[benchmark.Deferred], "K3s will do nothing on a node without it")
	assert.Contains(t, got[benchmark.Error], "apiserver.anonymous-auth")
	for _, r := range benchmark.Evaluate(tr.input(t, "cis-2.1")) {
		if r.Key == "apiserver.anonymous-auth" {
			assert.Equal(t, "no K3s found on the node: no configuration file, no service, no binary", r.Found)
		}
	}
}

// TestSignsOfK3s: each of them makes K3s's defaults evidence.
func TestSignsOfK3s(t *testing.T) {
	for _, sign := range []string{k3s.ConfigFile, k3s.ConfigFile + ".d/10-a.yaml", "/usr/local/bin/k3s", "/etc/systemd/system/k3s.service"} {
		tr := empty(t, k3s.Server)
		tr.dir("/etc", 0o755)
		text := ""
		if strings.HasSuffix(sign, ".service") {
			text = unitText + "server\n"
		}
		tr.file(sign, 0o600, text)
		assert.Contains(t, count(benchmark.Evaluate(tr.input(t, "cis-2.1")))[benchmark.Pass], "apiserver.anonymous-auth", sign)
	}
}

// TestUnread: evidence that is there and could not be read is an error for what
// rests on it, and for nothing else.
func TestUnread(t *testing.T) {
	whole := count(benchmark.Evaluate(hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1").input(t, "cis-2.1")))
	for _, c := range []struct {
		path   string
		errors []string
	}{
		{k3s.ConfigFile, []string{"apiserver.anonymous-auth", "kubelet.anonymous-auth", "podsec.privileged", "netpol.all-namespaces", "etcd.server-cert", "node.k3s-starts", "node.hygiene.config-secrets"}},
		{psaFile, []string{"podsec.privileged", "podsec.procmount", "node.k3s-starts"}},
		{auditFile, []string{"controlplane.audit-policy", "controlplane.audit-policy-coverage", "node.k3s-starts"}},
		{netpolFile, []string{"netpol.all-namespaces", "rbac.default-sa", "node.manifest-names"}},
		{"/etc/sysctl.d/90-kubelet.conf", []string{"node.kernel-parameters"}},
	} {
		tr := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
		e := tr.entries[c.path]
		e.Data, e.Unread = nil, "permission denied"
		tr.entries[c.path] = e
		got := count(benchmark.Evaluate(tr.input(t, "cis-2.1")))
		assert.Subset(t, got[benchmark.Error], c.errors, c.path)
		assert.Subset(t, whole[benchmark.Pass], got[benchmark.Pass], c.path)
		for _, key := range c.errors {
			assert.NotContains(t, got[benchmark.Pass], key, c.path)
		}
	}
}

// TestTruncatedEvidence: every single path that evaluation looks at, left out
// of what was collected, must never turn a verdict into a pass.
func TestTruncatedEvidence(t *testing.T) {
	tr := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
	whole := map[string]benchmark.Status{}
	for _, r := range benchmark.Evaluate(tr.input(t, "cis-2.1")) {
		whole[r.Key] = r.Status
	}
	query := benchmark.Query(k3s.Server, "")
	for i, pick := range query {
		var rest node.Query
		rest = append(append(rest, query[:i]...), query[i+1:]...)
		var entries []node.Entry
		for p, e := range tr.entries {
			if p != pick.Path && !strings.HasPrefix(p, pick.Path+"/") {
				entries = append(entries, e)
			}
		}
		n := node.New(rest, entries)
		effective, err := k3s.Resolve(n, tr.release, tr.role)
		require.NoError(t, err)
		for _, r := range benchmark.Evaluate(benchmark.Input{Node: n, Effective: effective, Benchmark: "cis-2.1", Role: k3s.Server, Now: now}) {
			if r.Status == benchmark.Pass {
				assert.Equal(t, benchmark.Pass, whole[r.Key], "without %s: %s: %s", pick.Path, r.Key, r.Found)
			}
		}
	}
}
