package k3s_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestDeclaredCommand: what a wrapper runs is as the user declares, and not
// known without.
func TestDeclaredCommand(t *testing.T) {
	const wrapper = "[Service]\nExecStart=/usr/local/bin/start-cluster.sh\n"
	for name, c := range map[string]struct {
		unit, command, want, problem string
	}{
		"undeclared":             {wrapper, "", "", "unreadable k3s.service:2: the command is not k3s itself"},
		"declared":               {wrapper, "server --token-file /b", "/b@k3s_command, as declared", "noted k3s.service:2: the command is not k3s itself; what it runs is as k3s_command declares"},
		"another role":           {wrapper, "agent --token-file /b", "/b@k3s_command, as declared", "unreadable k3s.service:2: k3s_command declares k3s agent"},
		"an option that is none": {wrapper, "server --nope", "", "has no option --nope and exits"},
		"k3s itself counts":      {unit("--token-file /a"), "server --token-file /b", "/a@k3s.service:5", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := k3s.ResolveDeclared(tree(k3s.Server, map[string]string{unitFile: c.unit}), release(t, "v1.36"), k3s.Server, c.command)
			require.NoError(t, err)
			assert.Equal(t, c.want, short(e, "token-file"))
			assert.Equal(t, name == "undeclared", e.Wrapper != k3s.Origin{})
			if c.problem == "" {
				assert.Empty(t, problems(e))
			} else {
				assert.Contains(t, problems(e), c.problem)
			}
		})
	}
	for command, ok := range map[string]bool{
		"server": true, "agent --server https://a:6443": true, "server --config /etc/k3s.yaml": true,
		"k3s server": false, "--debug server": false, " ": false, "server --x 'a b'": false, "server; reboot": false, "server --x $Y": false,
	} {
		assert.Equal(t, ok, k3s.CheckCommand(command) == nil, command)
	}
}
