package kube_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube/apiservertest"
)

// noRuntime is how a kubelet ends that took its arguments and finds no container
// runtime. It has done nothing to the host by then.
const noRuntime = "validate service connection"

// startKubelet runs a kubelet that cannot get further than that, and returns what
// it says.
func startKubelet(t *testing.T, binary string, args ...string) string {
	t.Helper()
	root, err := os.MkdirTemp("", "kubelet") //nolint:usetesting // whose name may have a %, which is decoded in a socket's path
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(root)) })
	lay(t, root, "kubeconfig", "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], "+
		"clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}], users: [{name: a, user: {token: a}}]}")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, append([]string{
		"--root-dir=" + filepath.Join(root, "root"), "--cert-dir=" + filepath.Join(root, "pki"),
		"--container-runtime-endpoint=unix://" + filepath.Join(root, "none.sock"),
		"--address=127.0.0.1", "--healthz-port=0", "--read-only-port=0",
		"--fail-swap-on=false", "--fail-cgroupv1=false", "--enforce-node-allocatable=",
		"--kubeconfig=" + filepath.Join(root, "kubeconfig"),
	}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", out)
	require.NoError(t, ctx.Err())
	return string(out)
}

// TestAccKubelet says that the kubelet exits at, and takes, exactly what
// ValueRules says.
func TestAccKubelet(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("runs the kubelet; set PACKER_ACC=1")
	}
	r, err := k3s.ParseRelease("v1.36.3+k3s1")
	require.NoError(t, err)
	binary := apiservertest.Kubelet(t, "1.36")
	require.Contains(t, startKubelet(t, binary), noRuntime)
	known := map[string]bool{}
	for _, name := range kube.FlagNames(r, k3s.Kubelet) {
		known[name] = true
	}
	for _, rule := range kube.ValueRules {
		args := rule.Arguments()
		if rule.Component != k3s.Kubelet || rule.Late || !known[args[0].Name] {
			continue
		}
		t.Run(rule.Args, func(t *testing.T) {
			var words []string
			for _, a := range args {
				words = append(words, "--"+a.Name+"="+a.Value)
			}
			out := startKubelet(t, binary, words...)
			if rule.Says == "" {
				assert.Contains(t, out, noRuntime)
			} else {
				assert.NotContains(t, out, noRuntime)
			}
		})
	}
}

// TestAccKubeletFlags compares the table of flags with what the kubelet says of
// itself.
func TestAccKubeletFlags(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("runs the kubelet; set PACKER_ACC=1")
	}
	r, err := k3s.ParseRelease("v1.36.3+k3s1")
	require.NoError(t, err)
	binary := apiservertest.Kubelet(t, "1.36")
	known := kube.FlagNames(r, k3s.Kubelet)
	help, err := exec.CommandContext(t.Context(), binary, "--help").Output()
	require.NoError(t, err)
	shown := helpFlag.FindAllStringSubmatch(string(help), -1)
	require.Greater(t, len(shown), 80)
	for _, m := range shown {
		assert.Contains(t, known, m[1])
	}
	for _, name := range known {
		out, _ := exec.CommandContext(t.Context(), binary, "--"+name+"=x", "--version").CombinedOutput() // it may take that value
		assert.NotContains(t, string(out), "unknown flag", name)
	}
}
