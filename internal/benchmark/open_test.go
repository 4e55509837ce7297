package benchmark_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestOpenSpecifiers: what only the running machine knows is no matter where K3s
// starts with any value and nothing that is judged rests on it, and else no pass.
func TestOpenSpecifiers(t *testing.T) {
	starts := func(words, settings string) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			tr.file(k3sUnit, 0o644, "[Service]\n"+settings+"ExecStart=/usr/local/bin/k3s server "+words+"\n")
		}
	}
	judge(t, []neighbour{
		{"node name", false, starts("--node-name=%H", "")},
		{"node name as a word of its own", false, starts("--node-name %l", "")},
		{"node name of parts", false, starts("--node-name=edge-%m", "")},
		{"node name by a variable", false, starts("", "Environment=K3S_NODE_NAME=%H\n")},
		{"node name by a variable in the command", false, starts("--node-name=${N}", "Environment=N=%H\n")},
		{"a variable of another program", false, starts("", "Environment=OTHER=%b\n")},
		{"label", false, starts("--node-label=host=%H", "")},
		{"label that the kubelet refuses", true, starts("--node-label=node-role.kubernetes.io/x=%H", "")},
		{"label with any text", true, starts("--node-label=kernel=%v", "")},
		{"kubelet's name", false, starts("--kubelet-arg=hostname-override=%H --kube-proxy-arg=hostname-override=%H", "")},
		{"kubelet's provider", false, starts("--kubelet-arg=provider-id=x://%m", "")},
		{"name for the certificate", false, starts("--tls-san=%H.example.org --tls-san=%H", "")},
		{"kubelet's other flags", true, starts("--kubelet-arg=streaming-connection-idle-timeout=%H", "")},
		{"name of a flag", true, starts("--kubelet-arg=%H=true", "")},
		{"name of an option", true, starts("--%l-name=x", "")},
		{"a word of its own", true, starts("%H", "")},
		{"configuration file", true, starts("--config=/etc/%H.yaml", "")},
		{"configuration file by a variable", true, starts("", "Environment=K3S_CONFIG_FILE=/etc/%H.yaml\n")},
		{"home directory", true, starts("", "Environment=HOME=/%H\n")},
		{"data directory", true, starts("--data-dir=/data/%m", "")},
		{"a switch", true, starts("--protect-kernel-defaults=%H", "")},
		{"address", true, starts("--node-ip=%H", "")},
		{"token's file", true, starts("--token-file=/run/%H", "")},
		{"token's file at the service's credentials", false, starts("--token-file=%d/token", "")},
		{"program", true, func(_ *testing.T, tr *tree) { tr.file(k3sUnit, 0o644, "[Service]\nExecStart=/opt/%H/k3s server\n") }},
		{"command", true, func(_ *testing.T, tr *tree) { tr.file(k3sUnit, 0o644, "[Service]\nExecStart=/usr/local/bin/k3s %H\n") }},
		{"behind a wrapper", true, func(_ *testing.T, tr *tree) {
			tr.file(k3sUnit, 0o644, "[Service]\nExecStart=/usr/bin/env A=%H /usr/local/bin/k3s server\n")
		}},
	})
}

// TestOpenValueIsNoPass: a control of the user's own on such a value says that it is
// not known.
func TestOpenValueIsNoPass(t *testing.T) {
	for _, expect := range []string{"setting: {key: node-name, differs: x}", "argument: {component: kubelet, flag: hostname-override, differs: x}"} {
		controls, err := benchmark.LoadControls("own.yaml", []byte("- key: acme.one\n  title: t\n  roles: [server]\n  expect:\n    - "+expect+"\n"))
		require.NoError(t, err)
		tr := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
		tr.file(k3sUnit, 0o644, "[Service]\nExecStart=/usr/local/bin/k3s server --node-name=%H\n")
		in := tr.input(t, "cis-2.1")
		in.Own = controls
		seen := false
		for _, r := range benchmark.Evaluate(in) {
			if r.Key == "acme.one" {
				seen = true
				assert.Equal(t, benchmark.Error, r.Status, expect)
				assert.Equal(t, "not known until boot: %H", r.Found, expect)
			}
		}
		assert.True(t, seen)
	}
}
