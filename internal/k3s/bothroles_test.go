package k3s_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

type files = map[string]string

const agentUnit = "/etc/systemd/system/k3s-agent.service"

// TestBothServices: an agent exits on what is for servers only, and reads the
// same configuration unless its service says otherwise.
func TestBothServices(t *testing.T) {
	const agent = "[Service]\nExecStart=/usr/local/bin/k3s agent\n"
	const stops = "k3s-agent.service, which the node has too: secrets-encryption is for servers only"
	for name, c := range map[string]struct {
		files   map[string]string
		problem string
	}{
		"server's keys in config.yaml": {files{mainFile: "secrets-encryption: true\n", agentUnit: agent}, stops},
		"in a drop-in":                 {files{dropIns + "a.yaml": "secrets-encryption: true\n", agentUnit: agent}, stops},
		"in a unit of a package":       {files{mainFile: "secrets-encryption: true\n", "/usr/lib/systemd/system/k3s-agent.service": agent}, stops},
		"both name one file": {files{
			"/opt/k3s.yaml": "secrets-encryption: true\n", unitFile: "[Service]\nExecStart=/usr/local/bin/k3s server -c /opt/k3s.yaml\n",
			agentUnit: "[Service]\nExecStart=/usr/local/bin/k3s agent -c /opt/k3s.yaml\n",
		}, "was not looked at"},
		"an option of the agent's that is none": {files{agentUnit: "[Service]\nExecStart=/usr/local/bin/k3s agent --cluster-init\n"}, "k3s-agent.service, which the node has too: K3s v1.36.1+k3s1 agent has no option"},
		"keys of both":                          {files{mainFile: "protect-kernel-defaults: true\n", agentUnit: agent}, ""},
		"masked":                                {files{mainFile: "secrets-encryption: true\n", agentUnit: ""}, ""},
		"a file of the agent's own": {files{
			mainFile: "secrets-encryption: true\n", "/etc/rancher/k3s/config.yaml.d/x.txt": "",
			agentUnit: "[Service]\nEnvironment=K3S_CONFIG_FILE=/etc/rancher/k3s/config.yaml.d/none\nExecStart=/usr/local/bin/k3s agent\n",
		}, ""},
		"a helper of that name": {files{mainFile: "secrets-encryption: true\n", agentUnit: "[Service]\nExecStart=/usr/local/bin/k3s certificate rotate\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.files[unitFile] == "" {
				c.files[unitFile] = unit("")
			}
			e := resolve(t, "v1.36", k3s.Server, c.files)
			if c.problem == "" {
				assert.NotContains(t, problems(e), "which the node has too")
				return
			}
			assert.Contains(t, problems(e), c.problem)
		})
	}
	t.Run("not asked for", func(t *testing.T) {
		whole := tree(k3s.Server, files{mainFile: "secrets-encryption: true\n", unitFile: unit(""), agentUnit: agent, agentUnit + ".d/": ""})
		e, err := k3s.Resolve(node.New(k3s.Query(k3s.Server, ""), whole.Entries()), release(t, "v1.36"), k3s.Server)
		require.NoError(t, err)
		assert.NotEmpty(t, e.Missing)
		assert.Contains(t, problems(e), "unreadable")
	})
}

// TestDropInsOfAnotherName: the drop-ins of a service that is found by what it
// says are asked for once they are known to be there.
func TestDropInsOfAnotherName(t *testing.T) {
	const eu = "/etc/systemd/system/k3s-eu.service"
	n := node.New(k3s.Query(k3s.Server, ""), tree(k3s.Server, files{eu: "[Service]\nExecStart=/usr/local/bin/k3s server\n", eu + ".d/": ""}).Entries())
	e, err := k3s.Resolve(n, release(t, "v1.36"), k3s.Server)
	require.NoError(t, err)
	assert.Contains(t, e.Missing, node.Pick{Path: eu + ".d", Depth: 1, Content: true})
	assert.Contains(t, problems(e), "was not looked at")
}
