package cis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

const ownDropIn = "etc/rancher/k3s/config.yaml.d/99-k3s-cis.yaml"

// TestConfigOfTheFirstBoot: an image is hardened in a drop-in, its first boot
// writes config.yaml, and both are judged: with that file and without it.
func TestConfigOfTheFirstBoot(t *testing.T) {
	options := func(more map[string]any) map[string]any {
		all := map[string]any{"k3s_version": release, "config_layout": "drop-in"}
		for k, v := range more {
			all[k] = v
		}
		return all
	}
	tree := newTree(t)
	x := try(t, tree, options(nil), nil)
	require.NoError(t, x.err, x.log)
	assert.Contains(t, x.log, "controls it could take back, since they hold by K3s's defaults")
	assert.NoFileExists(t, filepath.Join(tree, "etc/rancher/k3s/config.yaml"))
	assert.Equal(t, "holds whatever config.yaml is written at first boot: K3s reads /"+ownDropIn+" behind it", status(t, x.report, "1.2.16").Reason)
	assert.Equal(t, "a config.yaml written at first boot could take it back, with anonymous-auth in kube-apiserver-arg", status(t, x.report, "1.2.1").Reason)
	assert.Equal(t, "a config.yaml written at first boot could take it back, with terminated-pod-gc-threshold in kube-controller-arg, another name of kube-controller-manager-arg, behind that key", status(t, x.report, "1.3.1").Reason)

	for later, fails := range map[string]map[string]string{ // what is found, by control
		"token-file: /run/token\ntls-san: [k3s.example.org]\n":                                                       {},
		"kube-apiserver-arg: [audit-log-maxage=1, v=2]\nsecrets-encryption: false\nprotect-kernel-defaults: false\n": {},
		"kube-apiserver-arg:\n- anonymous-auth=true\n":                                                               {"1.2.1": "--anonymous-auth=true"},
		"kube-controller-manager-arg: [v=2]\nkube-controller-arg: [terminated-pod-gc-threshold=0]\n":                 {"1.3.1": "--terminated-pod-gc-threshold=0"},
		"write-kubeconfig-mode: '0644'\n":                                                                            {"1.1.13": "write-kubeconfig-mode: 0644"},
		"kube-apiserver-arg: [\n":                                                                                    {"node.k3s-starts": "K3s cannot parse it and exits: did not find expected node content"},
	} {
		write(t, tree, "etc/rancher/k3s/config.yaml", later)
		x := try(t, tree, options(map[string]any{"mode": modeCheck}), nil)
		found := map[string]string{}
		for _, r := range x.report.Failed() {
			found[r.ID] = r.Found
		}
		assert.Equal(t, fails, found, "with %s", later)
		assert.Equal(t, len(fails) > 0, x.err != nil)
	}
	require.NoError(t, os.Remove(filepath.Join(tree, "etc/rancher/k3s/config.yaml")))
	require.NoError(t, try(t, tree, options(map[string]any{"mode": modeCheck}), nil).err)
}

// TestConfigThatCloudInitWrites: what the image itself tells cloud-init to write
// is a configuration file to come, and nothing that keeps the rest from proof.
func TestConfigThatCloudInitWrites(t *testing.T) {
	for layout, fails := range map[string]bool{"file": true, "drop-in": false} {
		tree := newTree(t)
		write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s server\n")
		write(t, tree, "etc/cloud/cloud.cfg.d/90-k3s.cfg", "#cloud-config\nwrite_files:\n- path: /etc/rancher/k3s/config.yaml\n  permissions: '0600'\n  content: |\n    token-file: /run/token\n")
		x := try(t, tree, map[string]any{"k3s_version": release, "config_layout": layout}, nil)
		assert.Equal(t, fails, x.err != nil, layout+x.log)
	}
}

// TestHardenedInTheFileAlone: what stands in config.yaml is no proof for an image
// whose config.yaml is written anew, and the verdict says so.
func TestHardenedInTheFileAlone(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s server\n")
	options := map[string]any{"k3s_version": release}
	require.NoError(t, try(t, tree, options, nil).err)
	options["mode"], options["config_layout"] = modeCheck, "drop-in"
	x := try(t, tree, options, nil)
	require.Error(t, x.err)
	r := status(t, x.report, "1.2.16")
	assert.Equal(t, benchmark.Fail, r.Status)
	assert.Equal(t, "without what /etc/rancher/k3s/config.yaml says: --audit-log-path is not set", r.Found)
}

// TestBothRoles: one image for both, each service judged in its role, each
// control once.
func TestBothRoles(t *testing.T) {
	const agentUnit = "etc/systemd/system/k3s-agent.service"
	for name, layout := range map[string]string{"file": "file", "drop-in": "drop-in"} {
		t.Run(name, func(t *testing.T) {
			options := map[string]any{"k3s_version": release, "role": "both", "config_layout": layout}
			tree := newTree(t)
			x := try(t, tree, options, nil)
			require.ErrorContains(t, x.err, `role: "both" wants a service that runs k3s`)
			write(t, tree, "etc/systemd/system/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s server\n")
			write(t, tree, agentUnit, "[Service]\nExecStart=/usr/local/bin/k3s agent\n")
			require.NoError(t, os.Chmod(filepath.Join(tree, agentUnit), 0o644))
			x = try(t, tree, options, nil)
			require.NoError(t, x.err, x.log)
			assert.Equal(t, "both", x.report.Role)
			assert.Contains(t, x.log, "server and agent")
			server := try(t, tree, map[string]any{"k3s_version": release, "config_layout": layout, "mode": modeCheck}, nil)
			require.NoError(t, server.err, server.log)
			assert.Len(t, x.report.Results, len(server.report.Results), "each control once")

			check := map[string]any{"k3s_version": release, "role": "both", "config_layout": layout, "mode": modeCheck}
			agentFile := map[string]string{"file": "etc/rancher/k3s/agent.yaml", "drop-in": "etc/rancher/k3s/agent.yaml.d/99-k3s-cis.yaml"}[layout]
			good, err := os.ReadFile(filepath.Join(tree, agentFile))
			require.NoError(t, err)
			for broken, found := range map[string]string{
				"cluster-init: true\n" + string(good): "node.k3s-starts",
				"":                                    "kubelet.protect-kernel-defaults",
			} {
				write(t, tree, agentFile, broken)
				x := try(t, tree, check, nil)
				require.Error(t, x.err)
				r := status(t, x.report, found)
				assert.Equal(t, benchmark.Fail, r.Status)
				assert.True(t, strings.HasPrefix(r.Found, "agent: "), r.Found)
			}
			write(t, tree, agentFile, string(good))
			require.NoError(t, try(t, tree, check, nil).err)
			require.NoError(t, os.RemoveAll(filepath.Join(tree, agentUnit+".d")))
			x = try(t, tree, check, nil)
			require.Error(t, x.err)
			assert.Contains(t, status(t, x.report, "node.k3s-starts").Found, "is for servers only, and an agent that finds it exits")
		})
	}
}
