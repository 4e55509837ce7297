package cis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

// TestEveryMistakeInOneRound: whatever is wrong is said at once, the waivers'
// mistakes too.
func TestEveryMistakeInOneRound(t *testing.T) {
	var p Provisioner
	err := p.Prepare(map[string]any{
		"k3s_version": "1.36",
		"benchmark":   "1.8",
		"k3s_verson":  "v1.36.3+k3s1",
		"role":        "servr",
		"audit":       map[string]any{"max_age": -1},
		"config":      map[string]string{"secret-encryption": "true"},
		"waiver": []map[string]any{
			{"control": "1.2.99", "reason": "r", "owner": "o", "expires": "soon"},
			{"control": "1.2.15", "reason": "", "owner": "o", "expires": "2999-01-01"},
		},
	})
	for _, want := range []string{
		`k3s_version: "1.36" is not`, `benchmark: "1.8" is not one of`, `k3s_verson`, `role: "servr"`, `audit.max_age: -1`, `config["secret-encryption"]`,
		`waiver[0].expires: "soon"`, `waiver "1.2.99": no benchmark has a control of that id or key`, `waiver "1.2.15": reason is missing`,
	} {
		assert.ErrorContains(t, err, want)
	}
	assert.NotContains(t, err.Error(), "waiver: waiver")
}

func TestBenchmarksThatFitAreNamed(t *testing.T) {
	var p Provisioner
	err := p.Prepare(map[string]any{"k3s_version": "v1.26.15+k3s1", "benchmark": "1.8"})
	require.ErrorContains(t, err, `benchmark: "1.8" is not one of "auto", "cis-1.8"`)
	assert.NotContains(t, err.Error(), "cis-2.1")
}

// TestOneCauseOnce: a tree without K3s is one thing to put right, not as many as
// there are controls.
func TestOneCauseOnce(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "etc/hostname", "")
	x := try(t, tree, map[string]any{"k3s_version": "v1.36.3+k3s1", "mode": "check"}, nil)
	require.Error(t, x.err)
	assert.Regexp(t, `of \d+ controls .*could not be judged \(no K3s found on the node: no configuration file, no service, no binary\): `, x.err.Error())
	assert.Equal(t, 1, strings.Count(x.log, "no K3s found on the node"), x.log)
	assert.Contains(t, x.log, "controls could not be judged for one cause")
	assert.Less(t, strings.Count(x.log, "\n"), 60)
	assert.Equal(t, benchmark.Error, status(t, x.report, "1.2.15").Status, "the reports have each control")
}

func TestWaiversOfOtherBuilds(t *testing.T) {
	tree := newTree(t)
	x := try(t, tree, map[string]any{"k3s_version": "v1.36.3+k3s1", "waiver": []map[string]any{
		{"control": "1.2.15", "reason": "r", "owner": "o", "expires": "2999-01-01", "build": "qemu.nod"},
		{"control": "1.2.16", "reason": "r", "owner": "o", "expires": "2999-01-01", "build": "node"},
		{"control": "1.2.17", "reason": "r", "owner": "o", "expires": "2999-01-01", "role": "agent"},
		{"control": "1.2.18", "reason": "r", "owner": "o", "expires": "2999-01-01", "build": "k3s-image.nodes"},
	}}, nil)
	require.NoError(t, x.err)
	assert.Contains(t, x.log, "Note: the waiver for 1.2.15 (o) is for another build (qemu.nod) and not used in k3s-image.node.")
	assert.Contains(t, x.log, `Note: the waiver for 1.2.18 (o) is for another build (k3s-image.nodes) and not used in k3s-image.node (did you mean "k3s-image.node"?).`)
	assert.Contains(t, x.log, "Note: the waiver for 1.2.17 (o) is for another role (agent) and not used in k3s-image.node.")
	assert.Contains(t, x.log, "Warning: the waiver for 1.2.16 (o) is not needed: remove it.")
}

// TestReportDirectory: one that cannot be made is said at validate, and of two
// builds neither takes the other's report away.
func TestReportDirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, bad := range []string{file, filepath.Join(file, "below", "it")} {
		var p Provisioner
		require.ErrorContains(t, p.Prepare(map[string]any{"k3s_version": "v1.36.3+k3s1", "report_dir": bad}), "is not a directory", bad)
	}
	var p Provisioner
	require.NoError(t, p.Prepare(map[string]any{"k3s_version": "v1.36.3+k3s1", "report_dir": filepath.Join(dir, "a", "b")}))
	assert.NoDirExists(t, filepath.Join(dir, "a"), "validate makes nothing")

	if os.Getuid() != 0 {
		t.Skip("needs root: the files of a node belong to root")
	}
	shared := filepath.Join(dir, "shared")
	var builds [2]Provisioner // Packer prepares all before it runs any
	for i, name := range []string{"node", "other"} {
		require.NoError(t, builds[i].Prepare(map[string]any{
			"k3s_version": "v1.36.3+k3s1", "report_dir": shared, "packer_build_name": name, "packer_builder_type": "k3s-image",
		}))
	}
	for _, i := range []int{0, 1, 0} { // an own report is replaced
		require.NoError(t, builds[i].Provision(t.Context(), new(packersdk.MockUi), nil, map[string]any{rootDirectoryKey: newTree(t)}))
	}
	for at, build := range map[string]string{shared: "k3s-image.node", filepath.Join(shared, "k3s-image.other"): "k3s-image.other"} {
		of, _ := report.Of(at)
		assert.Equal(t, build, of, at)
	}
	assert.NoDirExists(t, filepath.Join(shared, "k3s-image.node"))
}

// TestReportDirectoryComesFirst: nothing is done on a node whose report could
// not be written.
func TestReportDirectoryComesFirst(t *testing.T) {
	tree, dir := newTree(t), filepath.Join(t.TempDir(), "report")
	var p Provisioner
	require.NoError(t, p.Prepare(map[string]any{"k3s_version": "v1.36.3+k3s1", "report_dir": dir}))
	require.NoError(t, os.WriteFile(dir, nil, 0o600)) // in the meantime
	err := p.Provision(t.Context(), new(packersdk.MockUi), nil, map[string]any{rootDirectoryKey: tree})
	require.ErrorContains(t, err, "report_dir")
	entries, err := os.ReadDir(tree)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

// TestControlsAtStake: a conflict names the controls that really would not hold,
// and what failed by an option of the user's names that option.
func TestControlsAtStake(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "etc/rancher/k3s/config.yaml.d/50-x.yaml", "kube-apiserver-arg: [audit-log-maxage=90, \"admission-control-config-file=/etc/rancher/k3s/psa.yaml\"]\nprotect-kernel-defaults: false\n")
	options := map[string]any{"k3s_version": release}
	x := try(t, tree, options, nil)
	require.ErrorContains(t, x.err, "nothing was changed on the node")
	assert.ErrorContains(t, x.err, "(controls that would not hold: 1.2.16, 1.2.18, 1.2.19, 1.2.30, 3.2.1, 3.2.2)")
	assert.ErrorContains(t, x.err, "(controls that would not hold: kubelet.protect-kernel-defaults)")

	x = try(t, newTree(t), map[string]any{
		"k3s_version": release, "config": map[string]string{"protect-kernel-defaults": "false"}, "kube_apiserver_args": []string{"anonymous-auth=true"},
	}, nil)
	require.ErrorContains(t, x.err, "of 170 controls 2 failed: ")
	assert.Contains(t, status(t, x.report, "kubelet.protect-kernel-defaults").Remediation, "In the template, config.protect-kernel-defaults sets protect-kernel-defaults.")
	assert.Contains(t, status(t, x.report, "1.2.1").Remediation, "In the template, kube_apiserver_args sets anonymous-auth.")
}
