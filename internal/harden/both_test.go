package harden

import (
	"errors"
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

const (
	agentUnit  = "/etc/systemd/system/k3s-agent.service"
	agentUnitD = agentUnit + ".d/99-k3s-cis.conf"
)

// services are the installer's units of both roles.
func services() map[string]string {
	return map[string]string{
		"/etc/systemd/system/k3s.service": installed(k3s.Server, "notify", false),
		agentUnit:                         installed(k3s.Agent, "exec", false),
	}
}

// forBoth makes a plan for both roles, as the session does.
func forBoth(t testing.TB, o Options, files map[string]string) (*Plan, *node.Node, error) {
	t.Helper()
	o.Role = k3s.Both
	have := having(t, o, files)
	for {
		plan, err := Make(o, have)
		incomplete := (*Incomplete)(nil)
		if !errors.As(err, &incomplete) {
			return plan, have, err
		}
		more := have.Query().Lacks(incomplete.Query)
		require.NotEmpty(t, more)
		have = node.New(append(have.Query(), more...), have.Entries())
	}
}

// TestBothRoles: each service gets what its role has, and the agent reads nothing
// that is for servers only.
func TestBothRoles(t *testing.T) {
	for name, c := range map[string]struct {
		files       map[string]string // on top of the services
		layout      Layout
		agentFile   string // which the agent reads
		agentHas    []string
		environment string // what makes it read that
	}{
		"file":    {nil, "", agentConfig, nil, agentUnitD},
		"drop-in": {nil, LayoutDropIn, agentConfig, nil, agentUnitD},
		"what both read so far": {
			map[string]string{k3s.ConfigFile: "server: https://k3s.example.org:6443\ntoken-file: /run/t\nnode-label: [a=b, c=d]\nkubelet-arg: [max-pods=50]\n"},
			"", agentConfig,
			[]string{"server: https://k3s.example.org:6443", "token-file: /run/t", "- a=b", "- c=d", "- max-pods=50"},
			agentUnitD,
		},
		"an agent with a file of its own": {
			map[string]string{agentUnit: "[Service]\nEnvironment=K3S_CONFIG_FILE=/etc/rancher/k3s/a.yaml\nExecStart=/usr/local/bin/k3s agent\n", "/etc/rancher/k3s/a.yaml": "node-label: [x=y]\n"},
			"", "/etc/rancher/k3s/a.yaml",
			[]string{"node-label: [x=y]"},
			"",
		},
		"a server with a file of its own": {
			map[string]string{"/etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s server --config /etc/rancher/k3s/server.yaml\n"},
			LayoutDropIn, k3s.ConfigFile, nil, "",
		},
		"OpenRC": {map[string]string{
			"/etc/systemd/system/k3s.service": "-", agentUnit: "-",
			"/etc/init.d/k3s": script("k3s", "server"), "/etc/init.d/k3s-agent": script("k3s-agent", "agent"),
			"/etc/rancher/k3s/k3s-agent.env": "K3S_URL=https://k3s.example.org:6443",
		}, LayoutDropIn, agentConfig, nil, "/etc/rancher/k3s/k3s-agent.env"},
	} {
		t.Run(name, func(t *testing.T) {
			files := services()
			maps.Copy(files, c.files)
			maps.DeleteFunc(files, func(_, text string) bool { return text == "-" })
			o := newest(t)
			o.Layout = c.layout
			o.Config = map[string]any{"tls-san": []any{"k3s.example.org"}}
			plan, have, err := forBoth(t, o, files)
			require.NoError(t, err)
			o.Role = k3s.Both
			after := applied(t, o, plan, have)
			for _, role := range o.Role.Roles() {
				eff, err := k3s.Resolve(after, o.Release, role)
				require.NoError(t, err)
				for _, p := range eff.Problems {
					if p.Stops != "" {
						continue // the other role's, as which the node is judged too
					}
					assert.Contains(t, []k3s.Consequence{k3s.Noted}, p.Consequence, p.Text)
				}
				assert.True(t, eff.Bool("protect-kernel-defaults"))
				timeout, _, _ := eff.Flag(k3s.Kubelet, "streaming-connection-idle-timeout")
				assert.Equal(t, "5m", timeout)
				assert.Equal(t, role == k3s.Server, eff.Bool("secrets-encryption"))
				assert.Equal(t, role == k3s.Server, eff.Text("tls-san") != "")
				if role == k3s.Agent {
					assert.Equal(t, c.agentFile, eff.ConfigFile)
				}
			}
			for _, line := range c.agentHas {
				assert.Contains(t, contentAt(after, c.agentFile), line)
			}
			if c.environment != "" {
				assert.Contains(t, contentAt(after, c.environment), "K3S_CONFIG_FILE="+agentConfig)
				assert.Contains(t, contentAt(after, c.environment), c.files[c.environment], "what was there stays")
			}
			again, err := Make(o, after)
			require.NoError(t, err)
			assert.Empty(t, Diff(again, after), "a second run changes nothing")
		})
	}
}

// TestBothRolesRefused: what cannot be had is said before anything is changed.
func TestBothRolesRefused(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		change func(*Options)
		want   string
	}{
		"no agent":                      {map[string]string{agentUnit: "-"}, nil, `wants a service that runs k3s agent, and the image has none`},
		"no service":                    {map[string]string{agentUnit: "-", "/etc/systemd/system/k3s.service": "-"}, nil, `wants a service that runs k3s`},
		"an agent told the server's":    {map[string]string{agentUnit: "[Service]\nEnvironmentFile=/etc/default/k3s-agent\nExecStart=/usr/local/bin/k3s agent\n", "/etc/default/k3s-agent": "K3S_CONFIG_FILE=/etc/rancher/k3s/config.yaml\n"}, nil, "both read /etc/rancher/k3s/config.yaml"},
		"a conflict that both have":     {map[string]string{k3s.ConfigFile: "protect-kernel-defaults: false\n"}, nil, "/config.yaml:1: protect-kernel-defaults: false"},
		"a conflict of the agent's":     {map[string]string{agentConfig: "protect-kernel-defaults: false\n"}, nil, "/agent.yaml:1: protect-kernel-defaults: false"},
		"a server's key for the agent":  {map[string]string{agentConfig: "cluster-init: true\n"}, nil, "agent.yaml:1: cluster-init is for servers only"},
		"a command":                     {nil, func(o *Options) { o.K3sCommand = "server" }, "k3s_command: tells what one service runs"},
		"an option that is wrong twice": {nil, func(o *Options) { o.PodMaxPids = -1 }, "pod_max_pids: -1 is not a limit"},
	} {
		t.Run(name, func(t *testing.T) {
			files := services()
			maps.Copy(files, c.files)
			maps.DeleteFunc(files, func(_, text string) bool { return text == "-" })
			o := newest(t)
			if c.change != nil {
				c.change(&o)
			}
			_, _, err := forBoth(t, o, files)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// script is an OpenRC script of the installer's form.
func script(name, role string) string {
	return "#!/sbin/openrc-run\nset -o allexport\nif [ -f /etc/environment ]; then . /etc/environment; fi\n" +
		"if [ -f /etc/rancher/k3s/" + name + ".env ]; then . /etc/rancher/k3s/" + name + ".env; fi\nset +o allexport\n" +
		"command=\"/usr/local/bin/k3s\"\ncommand_args=\"" + role + "\"\n"
}
