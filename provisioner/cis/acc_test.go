package cis_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// template builds an image from a tree in two lines of options.
const template = `
source "k3s-image" "node" {
  rootfs_directory = %q
  output_directory = "image"
  vm_name          = "node"
  format           = "raw"
  disk_size        = "128M"
}
build {
  sources = ["source.k3s-image.node"]
  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    role        = "server"
    report_dir  = "report"
    %s
  }
}
`

// build runs packer build on a tree and returns the directory it ran in.
func build(t *testing.T, p *packertest.Packer, tree, options string) (packertest.Result, string) {
	t.Helper()
	dir := packertest.Write(t, fmt.Sprintf(template, tree, options))
	return p.Run(t, dir, "build", "."), dir
}

// bare makes a tree as a base image has it before K3s is configured.
func bare(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	for dir, mode := range map[string]fs.FileMode{"etc/sysctl.d": 0o755, "usr/bin": 0o755, "usr/local/bin": 0o755, "var/lib": 0o755, "tmp": 0o777} {
		require.NoError(t, os.MkdirAll(filepath.Join(tree, dir), mode))
	}
	require.NoError(t, os.Chmod(tree, 0o755))
	return tree
}

// hardened is a tree after a build, copied for each test that breaks it.
func hardened(t *testing.T, p *packertest.Packer) string {
	t.Helper()
	tree := bare(t)
	r, _ := build(t, p, tree, "")
	require.Zero(t, r.ExitCode, r.Output)
	return tree
}

func copyTree(t *testing.T, tree string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "tree")
	out, err := exec.Command("cp", "-a", tree, to).CombinedOutput()
	require.NoError(t, err, string(out))
	return to
}

func put(t *testing.T, tree, name, content string, mode fs.FileMode) {
	t.Helper()
	file := filepath.Join(tree, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(content), mode))
	require.NoError(t, os.Chmod(file, mode))
}

func edit(t *testing.T, tree, name, old, replacement string) {
	t.Helper()
	file := filepath.Join(tree, name)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(data), old, "the break would break nothing")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(data), old, replacement)), 0o600))
}

// hash is a digest of every path, mode, owner and byte below a tree.
func hash(t *testing.T, tree string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$1" && find . -printf '%p %m %U %G %y %l %T@\n' | sort && find . -type f -print0 | sort -z | xargs -0 -r sha256sum`, "sh", tree).Output()
	require.NoError(t, err)
	sum := sha256.Sum256(out)
	return hex.EncodeToString(sum[:])
}

// breaks are what must never get into an image: each names the control that
// speaks of it.
var breaks = []struct {
	name    string
	control string
	apply   func(t *testing.T, tree string)
}{
	{"config.yaml without protect-kernel-defaults", "kubelet.protect-kernel-defaults", func(t *testing.T, tree string) {
		edit(t, tree, "etc/rancher/k3s/config.yaml", "protect-kernel-defaults: true\n", "")
	}},
	{"a later sysctl file", "node.kernel-parameters", func(t *testing.T, tree string) {
		put(t, tree, "etc/sysctl.d/99-tuning.conf", "vm.overcommit_memory=0\n", 0o644)
	}},
	{"a drop-in that replaces kube-apiserver-arg", "1.2.16", func(t *testing.T, tree string) {
		put(t, tree, "etc/rancher/k3s/config.yaml.d/99.yaml", "kube-apiserver-arg:\n- v=2\n", 0o600)
	}},
	{"psa.yaml with an unknown field", "5.2.1", func(t *testing.T, tree string) {
		edit(t, tree, "etc/rancher/k3s/psa.yaml", "defaults:", "default: {}\n    defaults:")
	}},
	{"audit.yaml missing", "3.2.1", func(t *testing.T, tree string) {
		require.NoError(t, os.Remove(filepath.Join(tree, "etc/rancher/k3s/audit.yaml")))
	}},
	{"logs 0755", "node.audit-log-dir.mode", func(t *testing.T, tree string) {
		require.NoError(t, os.Chmod(filepath.Join(tree, "var/lib/rancher/k3s/server/logs"), 0o755))
	}},
	{"an argument in the unit that turns something off", "1.2.15", func(t *testing.T, tree string) {
		put(t, tree, "etc/systemd/system/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s server '--kube-apiserver-arg=profiling=true'\n", 0o600)
	}},
}

func TestAccBrokenTreeMakesNoImage(t *testing.T) {
	p := packertest.New(t, nil)
	good := hardened(t, p)
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			tree := copyTree(t, good)
			b.apply(t, tree)
			before := hash(t, tree)
			r, dir := build(t, p, tree, `mode = "check"`)
			assert.NotZero(t, r.ExitCode, r.Output)
			assert.Contains(t, r.Output, b.control)
			assert.NoDirExists(t, filepath.Join(dir, "image"))
			assert.Equal(t, before, hash(t, tree), "check must change nothing")
			assert.Contains(t, failed(t, dir), b.control)
		})
	}
}

// Configuration that the image brings along is found at apply as well, before
// or after the files are laid down.
func TestAccApplyDoesNotHideTheImagesOwnConfiguration(t *testing.T) {
	p := packertest.New(t, nil)
	for _, b := range breaks {
		if !strings.Contains(b.name, "drop-in") && !strings.Contains(b.name, "unit") && !strings.Contains(b.name, "sysctl") {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			tree := bare(t)
			b.apply(t, tree)
			r, dir := build(t, p, tree, "")
			assert.NotZero(t, r.ExitCode, r.Output)
			assert.Contains(t, r.Output, b.control)
			assert.NoDirExists(t, filepath.Join(dir, "image"))
		})
	}
}

func TestAccSecondBuildChangesNothing(t *testing.T) {
	p := packertest.New(t, nil)
	tree := hardened(t, p)
	before := hash(t, tree)
	r, dir := build(t, p, tree, "")
	require.Zero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "Nothing changed")
	assert.Equal(t, before, hash(t, tree))
	assert.FileExists(t, filepath.Join(dir, "image", "node.raw"))
	assert.Empty(t, failed(t, dir))
}

func TestAccPlanTouchesNothing(t *testing.T) {
	p := packertest.New(t, nil)
	tree := bare(t)
	put(t, tree, "etc/rancher/k3s/config.yaml", "# ours\ntoken-file: /etc/token\n", 0o644)
	before := hash(t, tree)
	r, _ := build(t, p, tree, `mode = "plan"`)
	require.Zero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "+protect-kernel-defaults: true")
	assert.Equal(t, before, hash(t, tree))
}

func TestAccMergesTheImagesConfig(t *testing.T) {
	p := packertest.New(t, nil)
	const own = "# ours\ntoken-file: /etc/token\ntls-san:\n- node.example.org\nnode-label:\n- a=b\n"
	tree := bare(t)
	put(t, tree, "etc/rancher/k3s/config.yaml", own, 0o644)
	r, _ := build(t, p, tree, "")
	require.Zero(t, r.ExitCode, r.Output)
	merged, err := os.ReadFile(filepath.Join(tree, "etc/rancher/k3s/config.yaml"))
	require.NoError(t, err)
	for _, want := range []string{"token-file: /etc/token", "node.example.org", "a=b", "protect-kernel-defaults: true"} {
		assert.Contains(t, string(merged), want)
	}
	var kept bool
	entries, err := os.ReadDir(filepath.Join(tree, "etc/rancher/k3s"))
	require.NoError(t, err)
	for _, e := range entries {
		data, _ := os.ReadFile(filepath.Join(tree, "etc/rancher/k3s", e.Name()))
		kept = kept || string(data) == own
	}
	assert.True(t, kept, "the original must be kept beside")
}

func TestAccConflictNamesBothValuesAndTouchesNothing(t *testing.T) {
	p := packertest.New(t, nil)
	tree := bare(t)
	put(t, tree, "etc/rancher/k3s/config.yaml", "secrets-encryption: false\nkube-apiserver-arg:\n- audit-log-maxage=7\n", 0o600)
	before := hash(t, tree)
	r, dir := build(t, p, tree, "")
	assert.NotZero(t, r.ExitCode, r.Output)
	for _, want := range []string{"secrets-encryption", "false", "true", "audit-log-maxage", "7", "30", "/etc/rancher/k3s/config.yaml:1", "/etc/rancher/k3s/config.yaml:3", "overwrite"} {
		assert.Contains(t, r.Output, want)
	}
	assert.Equal(t, before, hash(t, tree))
	assert.NoDirExists(t, filepath.Join(dir, "image"))

	r, _ = build(t, p, tree, "overwrite = true")
	require.Zero(t, r.ExitCode, r.Output)
}

func TestAccValidateNamesEveryBadOption(t *testing.T) {
	p := packertest.New(t, nil)
	dir := packertest.Write(t, `
source "k3s-image" "node" {
  rootfs_directory = "."
  output_directory = "image"
}
build {
  sources = ["source.k3s-image.node"]
  provisioner "k3s-cis" {
    k3s_version = "1.36"
    role        = "boss"
    pod_security { policy_file = "missing.yaml" }
  }
}
`)
	r := p.Run(t, dir, "validate", ".")
	assert.NotZero(t, r.ExitCode)
	for _, want := range []string{"k3s_version", "v1.36.3+k3s1", "role", "boss", "server", "agent", "pod_security.policy_file", "missing.yaml"} {
		assert.Contains(t, r.Output, want)
	}
}

// failed lists the ids and keys of the controls that the report says do not hold.
func failed(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "report", "report.json"))
	require.NoError(t, err)
	var r struct {
		Results []struct{ ID, Key, Status string }
	}
	require.NoError(t, json.Unmarshal(data, &r))
	require.NotEmpty(t, r.Results)
	var out []string
	for _, result := range r.Results {
		if result.Status == "fail" || result.Status == "error" {
			out = append(out, result.ID, result.Key)
		}
	}
	return out
}
