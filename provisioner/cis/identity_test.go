package cis

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

func TestReportSaysWhichImage(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "usr/lib/os-release", "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "usr/lib/modules/6.1.0-31-amd64"), 0o755))
	require.NoError(t, os.Symlink("usr/lib", filepath.Join(tree, "lib")))
	write(t, tree, "usr/lib/ld-linux-aarch64.so.1", "")
	dir := t.TempDir()
	t.Chdir(dir)
	x := try(t, tree, map[string]any{"k3s_version": release, "mode": "check"}, nil)
	require.NotNil(t, x.report, x.log)
	assert.Empty(t, x.report.Node.Commit)
	for _, args := range [][]string{{"init", "-q"}, {"-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "x"}} {
		out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	x = try(t, tree, map[string]any{
		"k3s_version": release, "mode": "check", "execute_command": "echo hunter2 | sudo -S {{ .Path }}",
		"config": map[string]string{"node-label": "a=b", "kubelet-arg": `["max-pods=50"]`}, "sysctl": map[string]string{"vm.swappiness": "1"},
		"kube_apiserver_args": []string{"request-timeout=30s", "profiling=false"},
		"audit":               map[string]any{"max_age": 40}, "event_rate_limit": map[string]any{},
		"waiver": []map[string]any{{"control": "1.2.9", "reason": "r", "owner": "o@p.q", "expires": "2999-01-01"}},
	}, map[string]any{
		"PackerRunUUID": "9e107d9d", "RootImage": "node.raw", "RootBase": "https://example.com/base.tar", "RootBaseDigest": "sha256:00",
		"SourceAMI": "Build_SourceAMI. placeholder",
	})
	n := x.report.Node
	assert.Regexp(t, "^[0-9a-f]{40}$", n.Commit)
	n.Commit = ""
	assert.JSONEq(t, `{"build":"k3s-image.node","datastore":"sqlite","access":"root directory","image":"node.raw","os":"Debian GNU/Linux 12 (bookworm)",`+
		`"kernels":["6.1.0-31-amd64"],"architecture":"arm64","base":"https://example.com/base.tar","base_digest":"sha256:00","run":"9e107d9d"}`, encoded(t, n))
	assert.Equal(t, benchmark.FullName(x.report.Benchmark), x.report.BenchmarkName)
	j := x.report.Judge
	assert.Equal(t, benchmark.Digest(), j.CatalogueDigest)
	assert.Regexp(t, "^[0-9a-f]{64}$", j.PluginDigest)
	delete(j.Options, "report_dir")
	assert.Equal(t, map[string]string{
		"k3s_version": release, "mode": "check", "execute_command": "(hidden)", "config.node-label": "a=b", "config.kubelet-arg": "max-pods=50",
		"sysctl.vm.swappiness": "1", "audit.max_age": "40", "event_rate_limit": "{}", "kube_apiserver_args": `["request-timeout=30s","profiling=false"]`,
		"waiver[0].control": "1.2.9", "waiver[0].reason": "r", "waiver[0].owner": "o@p.q", "waiver[0].expires": "2999-01-01",
	}, j.Options)
}

// TestShownOptions: options may hold secrets in every place that takes a value of
// the user's own.
func TestShownOptions(t *testing.T) {
	got := givenOptions(Config{
		K3sConfig:         map[string]string{"token": "hunter2", "tokn": "hunter2", "hunter2!": "x", "kube-apiserver-arg": `["profiling=hunter2", "a=hunter2"]`, "kubelet-arg": "hunter2: ["},
		KubeAPIServerArgs: []string{"oidc-issuer-url=https://joe:hunter2@idp", "profiling=hunter2", "hunter2"},
		KubeletArgs:       []string{"tokn=hunter2"},
		Sysctl:            map[string]string{"kernel.x": "https://joe:hunter2@x"},
		ExecuteCommand:    "echo hunter2 | sudo -S {{ .Path }}",
		Install:           &InstallConfig{Binary: "https://joe:hunter2@example.com/k3s?X-Signature=hunter2", AirgapImages: []string{"s3::https://a/b?sig=hunter2"}},
	})
	assert.NotContains(t, fmt.Sprint(got), "hunter2")
	assert.Contains(t, got["install.binary"], "example.com/k3s")
}

// TestArchitectureOfSeveral: a tree with loaders of several architectures does not
// tell its own.
func TestArchitectureOfSeveral(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "lib/ld-linux-aarch64.so.1", "")
	write(t, tree, "lib64/ld-linux-x86-64.so.2", "")
	x := try(t, tree, map[string]any{"k3s_version": release, "mode": "check"}, nil)
	assert.Empty(t, x.report.Node.Architecture)
}

func TestDriftInReports(t *testing.T) {
	tree := newTree(t)
	x := try(t, tree, map[string]any{"k3s_version": release}, nil)
	require.NoError(t, x.err, x.log)
	baseline := filepath.Join(x.dir, "report.json")
	require.NoError(t, os.Remove(filepath.Join(tree, "etc/rancher/k3s/config.yaml")))
	y := try(t, tree, map[string]any{"k3s_version": release, "mode": "check", "baseline": baseline}, nil)
	require.NotNil(t, y.report.Drift)
	assert.Equal(t, x.report.Created, y.report.Drift.Since)
	assert.NotEmpty(t, y.report.Drift.Changes)
	assert.Equal(t, "worse", y.report.Drift.Changes[0].Kind)
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}
