package k3s_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// tree makes a node that was asked everything Resolve needs and has these
// files; a path ending in "/" is a directory.
func tree(role k3s.Role, files map[string]string) *node.Node {
	var entries []node.Entry
	for p, text := range files {
		if dir, ok := strings.CutSuffix(p, "/"); ok {
			entries = append(entries, node.Entry{Path: dir, Kind: node.KindDirectory, Mode: 0o755})
			continue
		}
		entries = append(entries, node.Entry{Path: p, Kind: node.KindFile, Mode: 0o600, Size: int64(len(text)), Data: []byte(text)})
	}
	other := k3s.Agent
	if role == k3s.Agent {
		other = k3s.Server
	}
	return node.New(append(k3s.Query(role, ""), k3s.Query(other, "")...), entries)
}

func release(t testing.TB, s string) k3s.Release {
	t.Helper()
	if !strings.Contains(s, "+") {
		s += ".1+k3s1"
	}
	r, err := k3s.ParseRelease(s)
	require.NoError(t, err)
	return r
}

func resolve(t testing.TB, version string, role k3s.Role, files map[string]string) *k3s.Effective {
	t.Helper()
	e, err := k3s.Resolve(tree(role, files), release(t, version), role)
	require.NoError(t, err)
	return e
}

const guideConfig = `protect-kernel-defaults: true
secrets-encryption: true
kube-apiserver-arg:
  - "audit-log-path=/var/lib/rancher/k3s/server/logs/audit.log"
  - "audit-policy-file=/var/lib/rancher/k3s/server/audit.yaml"
  - "admission-control-config-file=/var/lib/rancher/k3s/server/psa.yaml"
kubelet-arg:
  - "streaming-connection-idle-timeout=5m"
`

func TestProvedOnARunningK3s(t *testing.T) {
	t.Run("the guide's config", func(t *testing.T) {
		e := resolve(t, "v1.36", k3s.Server, map[string]string{k3s.ConfigFile: guideConfig})
		assert.Empty(t, e.Problems)
		value, from, set := e.Flag(k3s.APIServer, "audit-policy-file")
		assert.True(t, set)
		assert.Equal(t, "/var/lib/rancher/k3s/server/audit.yaml", value)
		assert.Equal(t, "/etc/rancher/k3s/config.yaml:5", from[0].Origin.String())
		assert.True(t, e.Bool("protect-kernel-defaults"))
		assert.Equal(t, k3s.SQLite, e.Datastore)
	})
	t.Run("enable-admission-plugins replaces the default", func(t *testing.T) {
		e := resolve(t, "v1.36", k3s.Server, map[string]string{k3s.ConfigFile: "kube-apiserver-arg: enable-admission-plugins=DenyServiceExternalIPs\n"})
		value, from, _ := e.Flag(k3s.APIServer, "enable-admission-plugins")
		assert.Equal(t, "DenyServiceExternalIPs", value)
		assert.Len(t, from, 1)
	})
	t.Run("+= keeps the default", func(t *testing.T) {
		e := resolve(t, "v1.36", k3s.Server, map[string]string{k3s.ConfigFile: "kube-apiserver-arg: [enable-admission-plugins+=DenyServiceExternalIPs]\n"})
		value, from, _ := e.Flag(k3s.APIServer, "enable-admission-plugins")
		assert.Equal(t, "NodeRestriction,DenyServiceExternalIPs", value)
		require.Len(t, from, 2)
		assert.Equal(t, "K3s v1.36 default", from[0].Origin.String())
	})
	t.Run("a misspelt key is dropped", func(t *testing.T) {
		e := resolve(t, "v1.36", k3s.Server, map[string]string{k3s.ConfigFile: "protect-kernel-default: true\n"})
		assert.False(t, e.Bool("protect-kernel-defaults"))
		require.Len(t, e.Problems, 1)
		assert.Equal(t, k3s.Ignored, e.Problems[0].Consequence)
		assert.Contains(t, e.Problems[0].Text, "did you mean protect-kernel-defaults?")
		assert.Equal(t, 1, e.Problems[0].Origin.Line)
	})
	dropIn := k3s.DropInDir(k3s.ConfigFile) + "/99-user.yaml"
	t.Run("a drop-in with the plain key drops all hardening", func(t *testing.T) {
		e := resolve(t, "v1.36", k3s.Server, map[string]string{k3s.ConfigFile: guideConfig, dropIn: "kube-apiserver-arg: [v=2]\n"})
		_, _, set := e.Flag(k3s.APIServer, "audit-policy-file")
		assert.False(t, set)
		require.Len(t, e.Problems, 1)
		assert.Contains(t, e.Problems[0].Text, "replaced whole by /etc/rancher/k3s/config.yaml.d/99-user.yaml:1")
	})
	t.Run("a drop-in with key+ keeps it", func(t *testing.T) {
		e := resolve(t, "v1.36", k3s.Server, map[string]string{k3s.ConfigFile: guideConfig, dropIn: "kube-apiserver-arg+: [v=2]\n"})
		_, _, set := e.Flag(k3s.APIServer, "audit-policy-file")
		assert.True(t, set)
		v, _, _ := e.Flag(k3s.APIServer, "v")
		assert.Equal(t, "2", v)
		assert.Empty(t, e.Problems)
	})
}
