package cis

import (
	"bytes"
	"log"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDecisionsAreLogged: with PACKER_LOG=1 the log tells of a typical run what was
// decided, why, and how long each step took.
func TestDecisionsAreLogged(t *testing.T) {
	tree := newTree(t)
	for path, text := range map[string]string{
		"etc/rancher/k3s/config.yaml":    "write-kubeconfig-mode: \"0600\"\n",
		"etc/sysctl.d/90-kubelet.conf":   "vm.panic_on_oom=1\n",
		"etc/systemd/system/k3s.service": "[Service]\nType=notify\nExecStart=/usr/local/bin/k3s server\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(tree, filepath.Dir(path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(tree, path), []byte(text), 0o644))
	}
	t.Setenv("PACKER_LOG", "1")
	var logged bytes.Buffer
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	x := try(t, tree, map[string]any{"k3s_version": "v1.36.3+k3s1"}, nil)
	require.NoError(t, x.err, x.log)
	for _, line := range []string{
		`step looking at the node: \d`,
		`mode apply, role server, reached by root directory`,
		`K3s release v1\.36\.3\+k3s1: k3s_version`,
		`benchmark cis-2\.1: the newest of those that fit the release \(cis-1\.12, cis-2\.0, cis-2\.1\)`,
		`config_layout file: the guide's keys go there`,
		`options given: .*k3s_version`,
		`server: service: /etc/systemd/system/k3s\.service, which starts /usr/local/bin/k3s`,
		`server: configuration file /etc/rancher/k3s/config\.yaml, data directory /var/lib/rancher/k3s, datastore sqlite`,
		`server: key write-kubeconfig-mode from /etc/rancher/k3s/config\.yaml:\d`,
		`file /etc/rancher/k3s/config\.yaml: changed`,
		`file /etc/rancher/k3s/config\.yaml: the original is kept as /`,
		`applied by root directory in \d`,
		`control 1\.2\.15 \(apiserver\.profiling\): pass, by K3s v1\.36 default`,
		`control node\.kernel-parameters: was fail before this build`,
		`\d+ of \d+ controls have another verdict than before this build`,
		`step hardening: \d`,
		`step judging: \d`,
		`step writing reports to `,
	} {
		assert.Regexp(t, `(?m)\[INFO\] k3s-cis: `+line, logged.String())
	}
	logged.Reset()
	x = try(t, tree, map[string]any{"benchmark": "cis-2.0", "k3s_version": "v1.36.3+k3s1"}, nil)
	require.NoError(t, x.err, x.log)
	for _, line := range []string{
		`benchmark cis-2\.0: the option benchmark, one of those that fit`,
		`file /etc/rancher/k3s/config\.yaml: left, since it is as planned already`,
		`0 of \d+ controls have another verdict`,
	} {
		assert.Regexp(t, `(?m)\[INFO\] k3s-cis: `+line, logged.String())
	}
}
