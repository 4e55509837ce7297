package service

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// TestManagers: a node has the manager of which any program is there, in whatever
// place its distribution puts it.
func TestManagers(t *testing.T) {
	for program, want := range map[string][]Manager{
		"/usr/lib/systemd/systemd": {SystemdManager},
		"/lib/systemd/systemd":     {SystemdManager},
		"/sbin/openrc-run":         {OpenRCManager},
		"/usr/sbin/openrc-run":     {OpenRCManager},
		"/usr/bin/openrc-run":      {OpenRCManager},
		"/sbin/init":               nil,
	} {
		n := node.New(ManagersQuery(), []node.Entry{{Path: program, Kind: node.KindFile, Mode: 0o755}})
		var found []Manager
		for _, m := range Managers() {
			if m.On(n) {
				found = append(found, m)
			}
		}
		assert.Equal(t, want, found, program)
	}
}
