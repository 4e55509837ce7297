package harden

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// installed is a unit as the installer writes it for a role without arguments.
func installed(role k3s.Role, kind string, user bool) string {
	service := []string{
		"Type=" + kind, "EnvironmentFile=-/etc/default/%N", "EnvironmentFile=-/etc/sysconfig/%N",
		"EnvironmentFile=-/etc/systemd/system/" + role.ServiceName() + ".service.env", "KillMode=process", "Delegate=yes",
	}
	if user {
		service = append(service, "User=root")
	}
	service = append(service, "# Having non-zero Limit*s causes performance problems due to accounting overhead",
		"# in the kernel. We recommend using cgroups to do container-local accounting.",
		"LimitNOFILE=1048576", "LimitNPROC=infinity", "LimitCORE=infinity", "TasksMax=infinity", "TimeoutStartSec=0",
		"Restart=always", "RestartSec=5s", "ExecStartPre=-/sbin/modprobe br_netfilter", "ExecStartPre=-/sbin/modprobe overlay",
		`ExecStart=/usr/local/bin/k3s \`, "    "+string(role)+` \`, "")
	return "[Unit]\nDescription=Lightweight Kubernetes\nDocumentation=https://k3s.io\nWants=network-online.target\nAfter=network-online.target\n\n" +
		"[Install]\nWantedBy=multi-user.target\n\n[Service]\n" + strings.Join(service, "\n") + "\n"
}

// TestInstallerUnits: an image that K3s's installer made, without arguments, is
// one that a plan without a node takes for granted, and means the same.
func TestInstallerUnits(t *testing.T) {
	for _, role := range []k3s.Role{k3s.Server, k3s.Agent} {
		for _, kind := range []string{"notify", "exec"} {
			for _, user := range []bool{true, false} {
				o := newest(t)
				o.Role = role
				text := installed(role, kind, user)
				name := "/etc/systemd/system/" + role.ServiceName() + ".service"
				blind, err := Make(o, nil)
				require.NoError(t, err)
				var either []string
				for _, a := range blind.Change.Preconditions {
					if a.Path == name {
						either = a.Either
					}
				}
				assert.Contains(t, either, hash([]byte(text)))
				seen, err := Make(o, having(t, o, map[string]string{name: text}))
				require.NoError(t, err)
				written := slices.Clone(blind.Change.Write)
				if role == k3s.Server && kind == "exec" {
					// Where it does nothing: K3s has made nothing when the service counts as started.
					written = slices.DeleteFunc(written, func(e node.Entry) bool { return e.Path == k3s.TightenDropIn("k3s") })
					assert.NotEqual(t, written, blind.Change.Write)
				}
				assert.Equal(t, written, seen.Change.Write)
			}
		}
	}
}

// TestNothingAssumedOfEveryMachine: what every machine has says nothing of K3s,
// and a plan that took it for absent would cost a second command everywhere.
func TestNothingAssumedOfEveryMachine(t *testing.T) {
	plan, err := Make(newest(t), nil)
	require.NoError(t, err)
	for _, a := range plan.Change.Preconditions {
		assert.NotContains(t, []string{
			"/etc/hostname", "/etc/machine-id", "/etc/os-release", "/usr/lib/os-release", "/etc/environment",
			"/etc/systemd/system.conf", "/usr/lib/systemd/system.conf",
		}, a.Path)
	}
}

// TestTightenedWithoutANode: a plan without a node has the service tighten what K3s
// makes, and is stale on a node where that is not the way or comes too late.
func TestTightenedWithoutANode(t *testing.T) {
	o := newest(t)
	plan, err := Make(o, nil)
	require.NoError(t, err)
	var text string
	for _, e := range plan.Change.Write {
		if e.Path == "/etc/systemd/system/k3s.service.d/60-k3s-cis.conf" {
			text = string(e.Data)
		}
	}
	assert.Contains(t, text, k3s.TightenUnit(k3s.LayoutOf("")))
	for _, name := range []string{"/sbin/openrc-run", "/usr/sbin/openrc-run", "/var/lib/rancher/k3s/server/tls/server-ca.crt"} {
		assert.Contains(t, plan.Change.Preconditions, node.Precondition{Path: name, Either: []string{""}}, "such a node is looked at first")
	}
	o.Role = k3s.Agent
	plan, err = Make(o, nil)
	require.NoError(t, err)
	for _, e := range plan.Change.Write {
		assert.NotContains(t, e.Path, "60-k3s-cis", "an agent has no cluster's certificates")
	}
	o.Role, o.Config = k3s.Server, map[string]any{"data-dir": "/srv/k3s data"}
	plan, err = Make(o, nil)
	require.NoError(t, err)
	assert.Contains(t, strings.Join(plan.Notes, "\n"), "needs quotes")
}

// TestTightenedBeforeTheService: on a node that has no service of K3s's yet, a plan
// writes what one without a node does, unless its service will be OpenRC's.
func TestTightenedBeforeTheService(t *testing.T) {
	o := newest(t)
	blind, err := Make(o, nil)
	require.NoError(t, err)
	dropIn := k3s.TightenDropIn("k3s")
	for program, same := range map[string]bool{"/usr/lib/systemd/systemd": true, "/etc/hostname": true, "/usr/sbin/openrc-run": false} {
		seen, err := Make(o, having(t, o, map[string]string{program: "x"}))
		require.NoError(t, err)
		if same {
			assert.Equal(t, blind.Change.Write, seen.Change.Write, program)
			continue
		}
		for _, e := range seen.Change.Write {
			assert.NotEqual(t, dropIn, e.Path, program)
		}
	}
}
