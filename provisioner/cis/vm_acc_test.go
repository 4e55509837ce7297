package cis_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

const vmHarden = `
  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    role        = "server"
    report_dir  = "report"
  }

  # What every image build removes last: the traces of the machine it ran on.
  provisioner "shell" {
    inline = [
      "sudo -n systemctl stop systemd-random-seed",
      "sudo -n rm -f /etc/ssh/ssh_host_* /var/lib/systemd/random-seed",
      "sudo -n truncate -s 0 /etc/machine-id",
    ]
  }
`

// vmAsBooted fails unless the kernel of the booted image runs with the values
// that the kubelet compares, and the files have the modes they were given.
const vmAsBooted = `
  provisioner "shell" {
    inline = [
      "set -e",
      "test \"$(sudo -n sysctl -n vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes | tr '\\n' ' ')\" = '1 0 10 1 1000000 25000000 '",
      "test \"$(sudo -n stat -c '%a %u %g' /var/lib/rancher/k3s/server /var/lib/rancher/k3s/server/logs /etc/rancher/k3s/config.yaml | tr '\\n' ' ')\" = '700 0 0 700 0 0 600 0 0 '",
      "echo as booted: all as hardened",
    ]
  }
`

// A real machine is hardened over SSH, judged, shut down; its disk gives the
// same verdicts when it is read without booting, and boots as it was hardened.
func TestAccRealMachine(t *testing.T) {
	p := packerAndQEMU(t)
	m := newMachine(t, p, made{})

	r, dir := m.run(t, p, vmHarden)
	require.Zero(t, r.ExitCode, r.Output)
	t.Logf("hardened, judged and shut down in %s", r.Took)
	assert.Contains(t, r.Output, "Set in the running kernel: ")
	assert.Contains(t, r.Output, "one command")
	live := statuses(t, dir)

	// The build wrote what differs from its base; an image to ship is whole.
	image := filepath.Join(dir, "image", "whole.qcow2")
	sh(t, dir, "qemu-img convert -O qcow2 image/node.qcow2 image/whole.qcow2")
	offline := packertest.Write(t, fmt.Sprintf(checkImage, image))
	r = p.Run(t, offline, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	for id, status := range statuses(t, offline) {
		if live[id] == "deferred" && strings.HasPrefix(id, "node.hygiene.") {
			// Traces of a running machine can be judged only once it is off.
			want := "pass"
			if id == "node.hygiene.access" || id == "node.hygiene.logs" {
				want = "waived"
			}
			assert.Equal(t, want, status, id)
			continue
		}
		assert.Equal(t, live[id], status, id)
	}

	m.disk = image
	r, _ = m.run(t, p, vmAsBooted)
	require.Zero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "as booted: all as hardened")
}

const vmHardenOnly = `
  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    role        = "server"
    report_dir  = "report"
  }
`

// A machine without shutdown_command is switched off as soon as the last
// provisioner is done. Its disk gives the verdicts that the build gave.
func TestAccPowerCut(t *testing.T) {
	p := packerAndQEMU(t)
	m := newMachine(t, p, made{})
	m.cut = true
	r, dir := m.run(t, p, vmHardenOnly)
	require.Zero(t, r.ExitCode, r.Output)
	require.NotContains(t, r.Output, "Gracefully halting")
	live := statuses(t, dir)

	sh(t, dir, "qemu-img convert -O qcow2 image/node.qcow2 image/whole.qcow2")
	offline := packertest.Write(t, fmt.Sprintf(checkImage, filepath.Join(dir, "image", "whole.qcow2")))
	// The traces of the running machine fail the build, and are compared no less.
	r = p.Run(t, offline, "build", ".")
	found, counts := statuses(t, offline), map[string]int{}
	for id, status := range live {
		counts[status]++
		if status == "deferred" && strings.HasPrefix(id, "node.hygiene.") {
			continue // can be judged only once it is off
		}
		assert.Equal(t, status, found[id], "%s\n%s", id, r.Output)
	}
	t.Logf("switched off: %v", counts)
	assert.Greater(t, counts["pass"], 50)
}

// statuses are the verdicts of report.json by control id.
func statuses(t *testing.T, dir string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "report", "report.json"))
	require.NoError(t, err)
	var r struct {
		Results []struct{ ID, Status string }
	}
	require.NoError(t, json.Unmarshal(data, &r))
	require.NotEmpty(t, r.Results)
	out := map[string]string{}
	for _, result := range r.Results {
		out[result.ID] = result.Status
	}
	return out
}
