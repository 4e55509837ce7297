package cis

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// residue is what a build leaves, by the hygiene control that is red for it. K3s ran
// where it usually does, and then where this image's configuration has it.
var residue = map[string][]string{
	"node.hygiene.server-credentials": {"/data/k3s/server/cred/passwd", "/data/k3s/server/etc/egress-selector-config.yaml"},
	"node.hygiene.server-tls":         {"/data/k3s/server/tls/server-ca.key"},
	"node.hygiene.tokens":             {"/data/k3s/server/token", "/data/k3s/server/node-token", "/var/lib/rancher/k3s/server/agent-token"},
	"node.hygiene.datastore":          {"/data/k3s/server/db/etcd/member/wal/0.wal", "/var/lib/rancher/k3s/server/kine.sock"},
	"node.hygiene.node-identity":      {"/etc/rancher/node/password", "/etc/rancher/node/id", "/data/k3s/agent/node-password.txt"},
	"node.hygiene.kubeconfig":         {"/etc/rancher/k3s/k3s.yaml", "/root/.kube/config", "/home/admin/.kube/config"},
	"node.hygiene.agent-credentials":  {"/data/k3s/agent/serving-kubelet.crt", "/data/k3s/agent/serving-kubelet.key", "/data/k3s/agent/kubelet.kubeconfig"},
	"node.hygiene.agent-state": {
		"/data/k3s/agent/etc/k3s-agent-load-balancer.json", "/data/k3s/agent/etc/resolv.conf", "/data/k3s/agent/etc/flannel/net-conf.json",
		"/data/k3s/agent/etc/cni/net.d/10-flannel.conflist", "/data/k3s/agent/pod-manifests/pod.yaml", "/data/k3s/storage/pvc-1/data",
		"/data/k3s/agent/containerd/io.containerd.grpc.v1.cri/containers/1/x", "/data/k3s/agent/containerd/io.containerd.grpc.v1.cri/sandboxes/1/x",
		"/var/lib/kubelet/pods/1/x", "/var/lib/cni/networks/cbr0/10.42.0.2",
	},
	"node.hygiene.logs":          {"/data/k3s/server/logs/audit.log", "/var/log/pods/x/0.log", "/var/log/containers/x.log", "/var/log/journal/0123/system.journal"},
	"node.hygiene.machine-id":    {"/etc/machine-id", "/var/lib/dbus/machine-id"},
	"node.hygiene.ssh-host-keys": {"/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_ed25519_key.pub"},
	"node.hygiene.access": {
		"/root/.ssh/authorized_keys", "/home/admin/.ssh/authorized_keys", "/home/admin/.ssh/id_ed25519", "/root/.ssh/id_rsa", "/root/.ssh/id_ecdsa",
		"/root/.aws/credentials", "/home/admin/.docker/config.json", "/root/.netrc", "/home/admin/.git-credentials",
		"/root/.ssh/authorized_keys2", "/home/admin/.azure/accessTokens.json", "/root/.config/gcloud/credentials.db", "/root/.config/gh/hosts.yml",
		"/root/.vault-token", "/home/admin/.terraform.d/credentials.tfrc.json",
	},
	// Of these the content counts.
	"node.hygiene.access ": {
		"/etc/shadow", "/etc/sudoers.d/packer", "/home/admin/.ssh/deploy", "/root/.docker/config.json", "/root/.config/containers/auth.json",
		"/root/.npmrc", "/root/.pypirc", "/root/.config/pip/pip.conf", "/root/.pip/pip.conf",
	},
	"node.hygiene.access  ": {
		"/etc/ssh/authorized_keys/packer", "/etc/ssh/authorized_keys.d/packer", "/root/.ssh/authorized_keys.d/packer", "/root/sa.json", "/home/admin/deploy.pem", "/root/.my.cnf", "/root/.gnupg/private-keys-v1.d/A.key",
	},
	"node.hygiene.logs ":          {"/var/log/cloud-init-output.log", "/var/cache/debconf/passwords.dat", "/var/log/installer/cdebconf/questions.dat"},
	"node.hygiene.system-secrets": {"/var/lib/ubuntu-advantage/private/machine-token.json", "/etc/pki/entitlement/1-key.pem", "/etc/salt/pki/minion/minion.pem"},
	"node.hygiene.cloud-init":     {"/var/lib/cloud/instance/x", "/var/lib/cloud/instances/i-1/x", "/var/lib/cloud/data/result.json"},
	"node.hygiene.random-seed":    {"/var/lib/systemd/random-seed"},
	"node.hygiene.leases":         {"/var/lib/dhcp/dhclient.eth0.leases", "/var/lib/NetworkManager/internal.lease", "/var/lib/dhclient/dhclient.leases"},
	"node.hygiene.shell-history":  {"/root/.bash_history", "/home/admin/.ash_history"},
}

// contents are what files hold of which that counts.
var contents = map[string]string{
	"/etc/shadow":                               "admin:$y$j9T$x$y:1:0:99999:7:::\n",
	"/etc/sudoers.d/packer":                     "packer ALL=(ALL) NOPASSWD:ALL\n",
	"/home/admin/.ssh/deploy":                   "-----BEGIN OPENSSH PRIVATE KEY-----\nS3CR3T\n-----END OPENSSH PRIVATE KEY-----\n",
	"/root/.docker/config.json":                 `{"auths": {"r": {"auth": "S3CR3T"}}}`,
	"/root/.config/containers/auth.json":        `{"auths": {"r": {"auth": "S3CR3T"}}}`,
	"/root/.npmrc":                              "//r/:_authToken=S3CR3T\n",
	"/root/.pypirc":                             "[r]\npassword = S3CR3T\n",
	"/root/.config/pip/pip.conf":                "index-url = https://u:S3CR3T@r/\n",
	"/root/sa.json":                             `{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nS3CR3T"}`,
	"/home/admin/deploy.pem":                    "-----BEGIN RSA PRIVATE KEY-----\nS3CR3T\n",
	"/root/.my.cnf":                             "[client]\npassword = S3CR3T\n",
	"/var/log/cloud-init-output.log":            "Set the following 'random' passwords\nroot:S3CR3T\n",
	"/var/cache/debconf/passwords.dat":          "Name: passwd/root-password\nValue: S3CR3T\n",
	"/var/log/installer/cdebconf/questions.dat": "Name: passwd/root-password\nValue: S3CR3T\n",
	"/etc/pki/entitlement/1-key.pem":            "-----BEGIN PRIVATE KEY-----\nS3CR3T\n",
	"/etc/salt/pki/minion/minion.pem":           "-----BEGIN RSA PRIVATE KEY-----\nS3CR3T\n",
	"/root/.pip/pip.conf":                       "index-url = https://u:S3CR3T@r/\n",
}

// notOfTheBuild are the hygiene controls that sealing is no answer to: what they find
// was put into the configuration, and without it K3s would be another.
var notOfTheBuild = []string{
	"node.hygiene.config-secrets", "node.hygiene.environment-secrets", "node.hygiene.service-secrets", "node.hygiene.registry-secrets", "node.hygiene.hostname",
}

// built is a tree with K3s's data somewhere else and a part of the residue.
func built(t *testing.T, of ...string) string {
	t.Helper()
	tree := newTree(t)
	write(t, tree, "etc/rancher/k3s/config.yaml", "data-dir: /data/k3s\n")
	write(t, tree, "etc/passwd", "root:x:0:0::/root:/bin/sh\npacker:x:1000:1000::/home/packer:/bin/sh\n")
	write(t, tree, "data/k3s/agent/images/airgap.tar.zst", "images")
	require.NoError(t, os.Chmod(filepath.Join(tree, "data/k3s/agent"), 0o700))
	for _, key := range of {
		for _, p := range residue[key] {
			write(t, tree, p, cmp.Or(contents[p], "0123456789abcdef0123456789abcdef\n"))
		}
	}
	return tree
}

// Each hygiene control that is red for what a build leaves is green once the image is
// sealed.
func TestSealed(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(residue)) {
		t.Run(name, func(t *testing.T) {
			tree, key := built(t, name), strings.TrimSpace(name)
			options := map[string]any{"k3s_version": release}
			x := try(t, tree, options, nil)
			require.Error(t, x.err)
			assert.Equal(t, benchmark.Fail, status(t, x.report, key).Status, "red before")
			before := files(t, tree)

			options["seal"] = map[string]any{}
			options["mode"] = "check"
			x = try(t, tree, options, nil)
			require.ErrorContains(t, x.err, "the image is not sealed")
			for _, p := range residue[name] {
				assert.ErrorContains(t, x.err, topmost(p), "check notices what is left")
			}
			options["mode"] = "plan"
			x = try(t, tree, options, nil)
			require.NoError(t, x.err, x.log)
			assert.Contains(t, x.log, "Sealing would remove:")
			assert.Equal(t, before, files(t, tree), "neither check nor plan removes anything")

			options["mode"] = "apply"
			x = try(t, tree, options, nil)
			require.NoError(t, x.err, x.log)
			assert.Contains(t, x.log, "Sealed:")
			assert.Equal(t, benchmark.Pass, status(t, x.report, key).Status, "green after")
			for _, r := range x.report.Results {
				if strings.HasPrefix(r.Key, "node.hygiene.") {
					assert.NotContains(t, []benchmark.Status{benchmark.Fail, benchmark.Error}, r.Status, r.Key)
				}
			}
			assert.FileExists(t, filepath.Join(tree, "data/k3s/agent/images/airgap.tar.zst"), "what is baked stays")
		})
	}
}

// topmost is the directory of a path that an item names, or the path.
func topmost(p string) string {
	for _, dir := range []string{"/server/cred", "/server/etc", "/server/tls", "/server/db", "/agent/etc/flannel", "/agent/etc/cni", "/agent/containerd", "/.kube", "/storage/pvc-1", "/var/lib/kubelet/pods", "/var/lib/cni/networks", "/var/log/pods/x", "/var/log/journal/0123", "/.azure", "/.config/gcloud", "/etc/ssh/authorized_keys", "/.ssh/authorized_keys.d", "/.gnupg/private-keys-v1.d", "/var/lib/cloud/instance", "/var/lib/cloud/instances/i-1"} {
		if before, _, found := strings.Cut(p, dir+"/"); found {
			return before + dir
		}
	}
	return p
}

// Every hygiene control is tried, or said to be none of the build's.
func TestSealKnowsEveryHygieneControl(t *testing.T) {
	x := try(t, built(t), map[string]any{"k3s_version": release}, nil)
	require.NotNil(t, x.report, x.err)
	for _, r := range x.report.Results {
		if strings.HasPrefix(r.Key, "node.hygiene.") {
			_, tried := residue[r.Key]
			assert.NotEqual(t, tried, slices.Contains(notOfTheBuild, r.Key), r.Key)
		}
	}
}

// All of it at once, with etcd on the disk, which goes: what is hardened is what K3s
// starts with then. The second time nothing is different.
func TestSealedAtOnce(t *testing.T) {
	tree := built(t, slices.Sorted(maps.Keys(residue))...)
	options := map[string]any{"k3s_version": release, "seal": map[string]any{}}
	x := try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	assert.Equal(t, "sqlite", x.report.Node.Datastore)
	before := files(t, tree)
	x = try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	assert.Contains(t, x.log, "Nothing changed")
	assert.Contains(t, x.log, "nothing: the node holds nothing of the machine that it was built on")
	assert.Equal(t, before, files(t, tree))
}

func TestSealKeeps(t *testing.T) {
	tree := built(t, slices.Sorted(maps.Keys(residue))...)
	x := try(t, tree, map[string]any{"k3s_version": release, "seal": map[string]any{"keep": []string{"authorized-keys", "containerd"}}}, nil)
	require.Error(t, x.err)
	assert.FileExists(t, filepath.Join(tree, "root/.ssh/authorized_keys"))
	assert.DirExists(t, filepath.Join(tree, "data/k3s/agent/containerd"))
	assert.NoFileExists(t, filepath.Join(tree, "root/.ssh/id_rsa"))
	assert.Contains(t, x.log, "kept: authorized-keys, containerd")
	assert.Equal(t, benchmark.Fail, status(t, x.report, "node.hygiene.access").Status, "what is kept is judged all the same")
}

// Without the block, and with one that is turned off, everything stays.
func TestNotSealed(t *testing.T) {
	for name, raw := range map[string]map[string]any{"no block": {}, "turned off": {"seal": map[string]any{"enabled": false}}} {
		t.Run(name, func(t *testing.T) {
			tree := built(t, "node.hygiene.access", "node.hygiene.datastore")
			raw["k3s_version"] = release
			x := try(t, tree, raw, nil)
			require.Error(t, x.err)
			assert.NotContains(t, x.log, "Seal")
			assert.FileExists(t, filepath.Join(tree, "root/.netrc"))
		})
	}
}

func TestSealOptions(t *testing.T) {
	var p Provisioner
	err := p.Prepare(map[string]any{"k3s_version": release, "seal": map[string]any{"keep": []string{"machineid"}}})
	require.ErrorContains(t, err, `seal.keep[0]: "machineid" is no item that is removed: did you mean "machine-id"?`)
	require.NoError(t, p.Prepare(map[string]any{"k3s_version": release, "seal": map[string]any{"keep": []string{"machine-id"}, "package_caches": true, "reset": true}}))
	require.Error(t, p.Prepare(map[string]any{"seal": map[string]any{"kept": true}}))
}

// A directory of its own that the audit log has is baked and stays, on a second run
// too; what was logged there does not.
func TestSealedAuditDirectory(t *testing.T) {
	const dir = "var/lib/rancher/k3s/server/logs/audit"
	tree := newTree(t)
	options := map[string]any{"k3s_version": release, "audit": map[string]any{"log_path": "/" + dir + "/kube/audit.log"}}
	x := try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	assert.Equal(t, benchmark.Pass, status(t, x.report, "node.hygiene.logs").Status)
	options["seal"] = map[string]any{}
	for range 2 {
		write(t, tree, dir+"/kube/audit.log", "{}\n")
		x = try(t, tree, options, nil)
		require.NoError(t, x.err, x.log)
		assert.Contains(t, x.log, "audit-logs: removed")
		assert.NoFileExists(t, filepath.Join(tree, dir, "kube/audit.log"))
		assert.DirExists(t, filepath.Join(tree, dir, "kube"))
		assert.Equal(t, benchmark.Pass, status(t, x.report, "node.hygiene.logs").Status)
	}
}
