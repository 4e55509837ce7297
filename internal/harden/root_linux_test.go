package harden

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// put writes a file below a root directory.
func put(t *testing.T, root, name, data string) {
	t.Helper()
	p := filepath.Join(root, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
	require.NoError(t, os.WriteFile(p, []byte(data), 0o644))
}

// TestOnARealTree puts plans in place with the real target: a plan without a
// node holds on a bare tree and on one that it hardened, and on no other.
func TestOnARealTree(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("files become root's, which only root can do")
	}
	ctx := context.Background()
	for _, role := range []k3s.Role{k3s.Server, k3s.Agent} {
		t.Run(string(role), func(t *testing.T) {
			o := newest(t)
			o.Role = role
			root := t.TempDir()
			target := rootfs.At(root)
			plan, err := Make(o, nil)
			require.NoError(t, err)
			out, err := target.Apply(ctx, plan.Change, Query(o))
			require.NoError(t, err)
			assert.False(t, out.Stale)
			assert.NotEmpty(t, out.Changed)

			out, err = target.Apply(ctx, plan.Change, Query(o))
			require.NoError(t, err)
			assert.False(t, out.Stale, "a hardened tree is what the plan makes")
			assert.Empty(t, out.Changed)

			again, err := Make(o, out.Node)
			require.NoError(t, err)
			assert.Empty(t, Diff(again, out.Node))
			out, err = target.Apply(ctx, again.Change, Query(o))
			require.NoError(t, err)
			assert.False(t, out.Stale)
			assert.Empty(t, out.Changed)
			if role == k3s.Agent {
				assert.NoDirExists(t, filepath.Join(root, "/var/lib/rancher/k3s/server"))
			}
		})
	}
}

// TestStale has what a plan without a node must not overlook, and what does it
// no harm.
func TestStale(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("files become root's, which only root can do")
	}
	ctx := context.Background()
	for _, tt := range []struct {
		name, data string
		stale      bool
	}{
		{"/etc/rancher/k3s/config.yaml", "node-name: a\n", true},
		{"/etc/rancher/k3s/config.yaml.d/a.yaml", "node-name: a\n", true},
		{"/etc/rancher/k3s/config.yaml.d/a.YML", "node-name: a\n", true},
		{"/etc/rancher/k3s/config.yaml.d/README", "x", false},
		{"/etc/rancher/k3s/psa.yaml", "x", true},
		{"/etc/sysctl.d/90-kubelet.conf", "vm.panic_on_oom=0\n", true},
		{"/etc/sysctl.d/91-k3s-cis.conf", "vm.swappiness=0\n", true},
		{"/etc/sysctl.d/99-other.conf", "vm.swappiness=0\n", false},
		{unit, "[Service]\nExecStart=/usr/local/bin/k3s server --disable=traefik\n", true},
		{unit, "", true},
		{"/etc/systemd/system/k3s.service.d/10-a.conf", "[Service]\nEnvironment=K3S_DATA_DIR=/data\n", true},
		{"/usr/lib/systemd/system/k3s.service", "[Service]\nExecStart=/usr/bin/k3s server\n", true},
		{"/etc/systemd/system/k3s.service.env", "K3S_DATA_DIR=/data\n", true},
		{"/etc/systemd/system/k3s.service.env", "", false},
		{"/etc/default/k3s", "K3S_CONFIG_FILE=/a\n", true},
		{"/etc/init.d/k3s", "#!/sbin/openrc-run\n", true},
		{"/etc/environment", "PATH=/bin\n", false},
		{"/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-a.conf", "kind: KubeletConfiguration\n", true},
		{"/var/lib/rancher/k3s/server/manifests/a.yaml", "x", true},
		{"/var/lib/rancher/k3s/server/manifests/k3s-cis-network-policies.yaml.skip", "", true},
		{"/var/lib/rancher/k3s/agent/images/k3s.tar.zst", "x", false},
		{"/etc/hosts", "x", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			put(t, root, tt.name, tt.data)
			o := newest(t)
			plan, err := Make(o, nil)
			require.NoError(t, err)
			out, err := rootfs.At(root).Apply(ctx, plan.Change, Query(o))
			require.NoError(t, err)
			assert.Equal(t, tt.stale, out.Stale)
			if tt.stale {
				assert.NoFileExists(t, filepath.Join(root, "/etc/rancher/k3s/audit.yaml"), "nothing was touched")
			}
		})
	}
}

// TestKept wants the user's files beside what became of them.
func TestKept(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("files become root's, which only root can do")
	}
	ctx := context.Background()
	root := t.TempDir()
	target := rootfs.At(root)
	originals := map[string]string{
		"/etc/rancher/k3s/config.yaml":                  "node-name: a # mine\n",
		"/etc/rancher/k3s/config.yaml.d/99-user.yaml":   "kubelet-arg: [max-pods=200]\n",
		"/etc/sysctl.d/90-kubelet.conf":                 "vm.panic_on_oom=1\nnet.ipv4.ip_forward=1\n",
		manifests + "/k3s-cis-service-accounts.yaml":    "apiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n",
		"/etc/rancher/k3s/audit.yaml":                   "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Request}]\n",
		"/var/lib/rancher/k3s/server/db/etcd/name":      "x",
		"/var/lib/rancher/k3s/server/manifests/my.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n",
	}
	for name, data := range originals {
		put(t, root, name, data)
	}
	o := newest(t)
	o.Overwrite = Overwrite{true, true, true}
	have, err := target.Read(ctx, Query(o))
	require.NoError(t, err)
	plan, err := Make(o, have)
	require.NoError(t, err)
	out, err := target.Apply(ctx, plan.Change, Query(o))
	require.NoError(t, err)
	require.False(t, out.Stale)

	for name, data := range originals {
		now, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		if string(now) == data {
			continue
		}
		keep, ok := plan.Change.Keep[name]
		require.True(t, ok, name)
		kept, err := os.ReadFile(filepath.Join(root, keep))
		require.NoError(t, err)
		assert.Equal(t, data, string(kept), name)
	}
	assert.Len(t, plan.Change.Keep, 5)

	again, err := Make(o, out.Node)
	require.NoError(t, err)
	assert.Empty(t, Diff(again, out.Node), "the copies are nobody's configuration")
	assert.Empty(t, again.Change.Keep)
}
