package benchmark_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Hardening and evaluation answer alike what both have to know. Where each knew
// it by itself they did not: a password in an endpoint's query was a secret to
// one of them, and so on for each case here.
func TestHardeningAndEvaluationAgree(t *testing.T) {
	const manifest = "/var/lib/rancher/k3s/server/manifests/own.policy.yaml"
	const namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: own}\n"
	for name, tt := range map[string]struct {
		// config is what the node's config.yaml has, files what it has besides.
		config string
		files  map[string]string
		// refused is what hardening says, empty where it goes on.
		refused string
		// control is judged on a node that is hardened and has config in a drop-in.
		control string
		verdict benchmark.Status
	}{
		"a password in the query of an endpoint": {
			config:  "datastore-endpoint: \"postgres://db.example.org/k3s?user=k3s&password=hunter2\"\n",
			control: "node.hygiene.config-secrets", verdict: benchmark.Fail,
		},
		"disable with an item that has no name": {
			config: "disable: \"traefik,\"\n", refused: "disable",
			control: "netpol.all-namespaces", verdict: benchmark.Fail,
		},
		"a strong cipher suite that is none of the guide's": {
			config:  "kubelet-arg: [tls-cipher-suites=TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]\n",
			control: "kubelet.tls-ciphers", verdict: benchmark.Pass,
		},
		"disable with a manifest that has two dots": {
			config: "disable: [own.policy]\n", files: map[string]string{manifest: namespace}, refused: "own.policy",
			control: "netpol.all-namespaces", verdict: benchmark.Pass, // it is no policy
		},
		"disable with half the name of that manifest": {
			config: "disable: [own]\n", files: map[string]string{manifest: namespace},
			control: "netpol.all-namespaces", verdict: benchmark.Pass,
		},
	} {
		t.Run(name, func(t *testing.T) {
			release, err := k3s.ParseRelease("v1.36.3+k3s1")
			require.NoError(t, err)
			o := harden.Options{Release: release, Role: k3s.Server, Benchmark: "cis-2.1"}
			own := &tree{release: release, role: k3s.Server, entries: map[string]node.Entry{}}
			own.file(k3s.ConfigFile, 0o600, tt.config)
			both := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
			both.file(k3s.DropInDir(k3s.ConfigFile)+"/own.yaml", 0o600, tt.config)
			for p, text := range tt.files {
				own.file(p, 0o600, text)
				both.file(p, 0o600, text)
			}

			_, err = harden.Make(o, own.node(harden.Query(o)))
			if tt.refused == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tt.refused)
			}
			assert.Equal(t, tt.verdict, statuses(t, both, base{benchmark: "cis-2.1"})[tt.control], tt.control)
		})
	}
}
