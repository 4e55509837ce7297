package harden

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

func TestDiffOfAnEmptyNode(t *testing.T) {
	o := newest(t)
	plan, err := Make(o, nil)
	require.NoError(t, err)
	d := Diff(plan, nil)
	assert.Contains(t, d, "/etc/rancher/k3s/psa.yaml: new file, mode 0600, owner 0:0\n--- /dev/null\n+++ /etc/rancher/k3s/psa.yaml\n@@ ")
	assert.Contains(t, d, "+protect-kernel-defaults: true\n")
	assert.Contains(t, d, "/var/lib/rancher/k3s/server: new directory, mode 0700, owner 0:0\n")
	assert.NotContains(t, d, "running kernel")
	assert.Equal(t, d, Diff(plan, having(t, o, nil)), "no node is an empty node")
}

func TestDiffOfModesAndOwners(t *testing.T) {
	o := newest(t)
	plan, err := Make(o, nil)
	require.NoError(t, err)
	entries := applied(t, o, plan, nil).Entries()
	for i := range entries {
		switch entries[i].Path {
		case "/var/lib/rancher/k3s/server/logs":
			entries[i].Mode = 0o755
		case "/etc/rancher/k3s/config.yaml":
			entries[i].UID, entries[i].GID = 1000, 1000
		}
	}
	have := node.New(Query(o), entries)
	have.Kernel = map[string]string{"vm.overcommit_memory": "0", "kernel.panic": "10"}
	again, err := Make(o, have)
	require.NoError(t, err)
	assert.Equal(t, `/etc/rancher/k3s/config.yaml: owner 1000:1000 -> 0:0
/var/lib/rancher/k3s/server/logs: mode 0755 -> 0700
running kernel: vm.overcommit_memory 0 -> 1
`, Diff(again, have))
}

func TestDiffOfAnEarlierPlan(t *testing.T) {
	o := newest(t)
	o.NetworkPolicies.Namespaces = []string{"team-a"}
	o.Sysctl = map[string]string{"vm.swappiness": "1"}
	plan, err := Make(o, nil)
	require.NoError(t, err)
	have := applied(t, o, plan, nil)

	plain := newest(t)
	again, err := Make(plain, have)
	require.NoError(t, err)
	d := Diff(again, have)
	assert.Contains(t, d, "/etc/sysctl.d/91-k3s-cis.conf: removed\n")
	assert.Contains(t, d, "/var/lib/rancher/k3s/server/manifests/k3s-cis-network-policies-more.yaml: removed\n")
	assert.Empty(t, again.Change.Keep, "what a plan wrote needs no copy")
}

// TestDiffHidesSecrets puts secrets wherever K3s's configuration takes them,
// in the forms YAML has, and wants none of them in any output.
func TestDiffHidesSecrets(t *testing.T) {
	configs := []string{
		"token: hunter2\nnode-name: a\n",
		"node-name: a\ntoken: 'hunter2'\n",
		"\"token\" : \"hunter2\"\n",
		"t: hunter2\n",
		"token: |\n  hunter2\n  hunter2\nnode-name: a\n",
		"token: >-\n  a\n\n  hunter2\n",
		"token: \"a\n  hunter2\"\nnode-name: a\n",
		"{token: hunter2, node-name: a}\n",
		"{node-name: a,\n token: hunter2}\n",
		"agent-token: &x hunter2\nnode-name: a\n",
		"# token: hunter2\nnode-name: a\n",
		"#token: hunter2\nnode-name: a\n",
		"datastore-endpoint: postgres://k3s:hunter2@db.example.org/k3s\n",
		"datastore-endpoint: \"mysql://k3s:hunter2@tcp(db:3306)/k3s\"\n",
		"etcd-s3: true\netcd-s3-secret-key: hunter2\n",
		"vpn-auth: name=tailscale,joinKey=hunter2\n",
		"token+: hunter2\n",
		"node-label: [a=b]\ntoken: hunter2\n\n# end\n",
		"resolv-conf: https://me:hunter2@example.org/\n",
	}
	for i, config := range configs {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			o := newest(t)
			have := having(t, o, map[string]string{k3s.ConfigFile: config})
			plan, err := Make(o, have)
			if err != nil {
				assert.NotContains(t, err.Error(), "hunter2")
				plan = &Plan{Change: node.Change{Write: []node.Entry{file(k3s.ConfigFile, 0o600, []byte(config+"x: y\n"))}}}
			}
			assert.NotContains(t, Diff(plan, have), "hunter2")
			assert.NotContains(t, Diff(plan, nil), "hunter2")
			assert.NotContains(t, strings.Join(append(plan.Notes, plan.Warnings...), "\n"), "hunter2")
		})
	}
}

func TestErrorsHideSecrets(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"not YAML":          {k3s.ConfigFile: "token: hunter2\n\tx: [\n"},
		"a bad value":       {k3s.ConfigFile: "token: \"hunter2\n"},
		"a list":            {k3s.ConfigFile: "token: hunter2\nprotect-kernel-defaults: false\n"},
		"a unit":            {unit: execStart("--token=hunter2", "--protect-kernel-defaults=false")},
		"an alias to none":  {k3s.ConfigFile: "token: *hunter2\n"},
		"a duplicate":       {k3s.ConfigFile: "token: hunter2\ntoken: hunter2\nprotect-kernel-defaults: false\n"},
		"a secret as a map": {k3s.ConfigFile: "token: {hunter2: hunter2}\nprotect-kernel-defaults: false\n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newest(t)
			_, err := Make(o, having(t, o, files))
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestDiffOfASecretManifest(t *testing.T) {
	for _, m := range []string{
		"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {x: hunter2}\n",
		"apiVersion: v1\n\"kind\": 'Secret'\nmetadata: {name: a}\nstringData: {x: hunter2}\n",
		"{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"a\"}, \"stringData\": {\"x\": \"hunter2\"}}\n",
		"apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: a}, stringData: {x: hunter2}}\n",
	} {
		name := manifests + "/app.yaml"
		plan := &Plan{Change: node.Change{Write: []node.Entry{file(name, 0o600, []byte("apiVersion: v1\n"))}}}
		d := Diff(plan, having(t, newest(t), map[string]string{name: m}))
		assert.NotContains(t, d, "hunter2")
		assert.Contains(t, d, "app.yaml: content changes (")

		o := newest(t)
		o.NetworkPolicies.Manifests = []File{{"app.yaml", []byte(m)}}
		errs := o.Validate()
		require.Len(t, errs, 1)
		require.ErrorContains(t, errs[0], "the Secret a in the image")
		assert.NotContains(t, errs[0].Error(), "hunter2")
	}
}
