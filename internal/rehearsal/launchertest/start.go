package launchertest

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// configuration is what config.yaml of the node of LayNode holds.
const configuration = "secrets-encryption: true\n"

// LayNode makes the files of a small node below root, whose service starts
// /usr/local/bin/k3s.
func LayNode(t testing.TB, root string) {
	t.Helper()
	for name, text := range map[string]string{
		"/etc/systemd/system/k3s.service":                         "[Service]\nExecStart=/usr/local/bin/k3s server\nEnvironment=FROM_UNIT=yes\n",
		k3s.ConfigFile:                                            configuration,
		"/var/lib/rancher/k3s/server/manifests/mine.yaml":         "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: mine, namespace: kube-system}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n",
		"/var/lib/rancher/k3s/server/manifests/mine-account.yaml": "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\nautomountServiceAccountToken: false\n",
	} {
		at := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(text), 0o600))
	}
}

// subject is what is asked of the node of LayNode.
var subject = rehearsal.Subject{
	AddOns: []string{"mine", "mine-account"}, Policies: []string{"kube-system/mine"}, Accounts: []string{"default"}, Namespaces: []string{"default", "kube-public"},
	Files: node.Query{{Path: "/var/lib/rancher/k3s/server/tls", Depth: node.Deep}, {Path: "/var/lib/rancher/k3s/server/logs/audit.log"}, {Path: "/var/lib/cni/networks", Depth: node.Deep}, {Path: k3s.ConfigFile, Content: true}},
}

// Request is the request for the node of LayNode at root.
func Request(t testing.TB, root string, timeout time.Duration, agent bool) *rehearsal.Request {
	t.Helper()
	release, err := k3s.ParseRelease("v1.36.3+k3s1")
	require.NoError(t, err)
	n, err := rootfs.At(root).Read(t.Context(), k3s.Query(k3s.Server, ""))
	require.NoError(t, err)
	e, err := k3s.Resolve(n, release, k3s.Server)
	require.NoError(t, err)
	r, err := rehearsal.New(e, e.Program, subject, timeout, agent)
	require.NoError(t, err)
	r.Settle = 2 * time.Second
	return r
}

// RequireFirstStart fails unless seen is a first start of the node of LayNode that
// went as K3s's do.
func RequireFirstStart(t testing.TB, seen *rehearsal.Observation, agent bool) {
	t.Helper()
	require.True(t, seen.Up, "%v", seen.Log)
	assert.Less(t, seen.UpAfter, 10*time.Second)
	assert.Empty(t, seen.Exited)
	assert.False(t, seen.Full)
	assert.Empty(t, seen.Traces)
	components := 3
	if agent {
		components = 5
		assert.True(t, seen.Answers[rehearsal.AskKubelet].Found)
	}
	assert.Len(t, seen.Started, components)
	for _, name := range []string{rehearsal.AskReady, rehearsal.AskAddOns, rehearsal.AskEvents, rehearsal.AskPolicies, rehearsal.AskAccounts, rehearsal.AskSecret} {
		assert.True(t, seen.Answers[name].Found, "%s: %+v", name, seen.Answers[name])
	}
	for _, ns := range subject.Namespaces {
		assert.True(t, seen.Answers[rehearsal.AskPrivileged+ns].Refused(), "%+v", seen.Answers)
		assert.True(t, seen.Answers[rehearsal.AskRestricted+ns].Admitted(), "%+v", seen.Answers)
	}
	assert.Equal(t, rehearsal.Stored{Looked: true, Key: true, Providers: []string{"aescbc"}}, seen.Stored)
	key, presence := seen.Node.Lookup("/var/lib/rancher/k3s/server/tls/etcd/client.key")
	assert.Equal(t, node.Present, presence)
	assert.Equal(t, fs.FileMode(0o600), key.Mode)
	_, presence = seen.Node.Lookup("/var/lib/cni/networks")
	assert.Equal(t, node.Absent, presence)
	config, _ := seen.Node.Lookup(k3s.ConfigFile)
	assert.Equal(t, configuration, string(config.Data))
}

// Misbehaviours are the ways in which the launcher does otherwise than K3s, each with
// what is seen of it at a first start.
func Misbehaviours() map[string]func(*testing.T, *rehearsal.Observation) {
	return map[string]func(*testing.T, *rehearsal.Observation){
		"exit": func(t *testing.T, o *rehearsal.Observation) {
			assert.Equal(t, "status 1", o.Exited)
			assert.False(t, o.Up)
			assert.Empty(t, o.Answers)
		},
		"hang": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Late)
			assert.False(t, o.Up)
			assert.GreaterOrEqual(t, o.LateAfter, 3*time.Second)
		},
		"dies": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Up)
			assert.Equal(t, "status 3", o.Exited)
		},
		"argument": func(t *testing.T, o *rehearsal.Observation) {
			assert.Contains(t, o.Started[k3s.APIServer], k3s.Argument{Name: "audit-log-maxage", Value: "3", Origin: k3s.Origin{Source: "log of K3s"}})
		},
		"certificate": func(t *testing.T, o *rehearsal.Observation) {
			e, _ := o.Node.Lookup("/var/lib/rancher/k3s/server/tls/serving-kube-apiserver.key")
			assert.Equal(t, fs.FileMode(0o666), e.Mode)
		},
		"admit": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Answers["privileged-default"].Admitted())
		},
		"refuse": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Answers["restricted-default"].Refused())
		},
		"no-account": func(t *testing.T, o *rehearsal.Observation) {
			a := o.Answers["privileged-default"]
			assert.False(t, a.Refused() || a.Admitted() || a.Found, "refused for another reason: %+v", a)
		},
		"clear": func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Stored.Clear && o.Stored.Key) },
		"fill":  func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Full) },
		"silent": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Up)
			assert.False(t, o.Answers[rehearsal.AskReady].Found)
			assert.Equal(t, 1, o.Answers[rehearsal.AskReady].Status)
		},
		"stuck": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Up)
			assert.Empty(t, o.Answers)
		},
		"forks": func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Up) },
		"host": func(t *testing.T, o *rehearsal.Observation) {
			for _, line := range o.Log {
				assert.NotContains(t, line, "wrote ")
				assert.NotContains(t, line, "mounted")
				assert.NotContains(t, line, "could not write")
			}
		},
	}
}
