package cis_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/packertest"
)

// vmTemplate boots a disk image in QEMU by software emulation, so that it runs
// wherever the tests do, and provisions it over SSH as a user with sudo.
const vmTemplate = `
source "qemu" "node" {
  iso_url              = %q
  iso_checksum         = "none"
  disk_image           = true
  use_backing_file     = true
  disk_interface       = "virtio"
  format               = "qcow2"
  accelerator          = "tcg"
  cpus                 = 2
  memory               = 1024
  headless             = true
  disable_vnc          = true
  output_directory     = "image"
  vm_name              = "node.qcow2"
  ssh_username         = "packer"
  ssh_private_key_file = %q
  ssh_timeout          = "5m"
  shutdown_command     = "sudo -n systemctl poweroff"
  shutdown_timeout     = "3m"
  qemuargs = [
    ["-cpu", "max"],
    ["-kernel", %q],
    ["-initrd", %q],
    ["-append", "root=/dev/vda rw console=ttyS0"],
  ]
}
build {
  sources = ["source.qemu.node"]
  %s
}
`

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

// machine is a disk image that boots, and what is needed to boot it and log in.
type machine struct{ disk, key, kernel, initrd string }

// newMachine makes the disk with the builder of this plugin, so that what it
// writes is booted too.
func newMachine(t *testing.T, p *packertest.Packer) machine {
	t.Helper()
	base := packertest.Base(t)
	dir := t.TempDir()
	m := machine{
		disk:   filepath.Join(dir, "disk", "base.qcow2"),
		key:    filepath.Join(dir, "key"),
		kernel: filepath.Join(base, "vmlinuz"),
		initrd: filepath.Join(base, "initrd.img"),
	}
	sh(t, dir, `
		ssh-keygen -q -t ed25519 -N "" -f key
		mkdir tree
		tar --zstd -xpf "$1/rootfs.tar.zst" -C tree --numeric-owner
		chroot tree useradd -m -s /bin/sh packer
		echo 'packer ALL=(ALL) NOPASSWD:ALL' > tree/etc/sudoers.d/packer
		install -d -m 0700 -o 1000 -g 1000 tree/home/packer/.ssh
		install -m 0600 -o 1000 -g 1000 key.pub tree/home/packer/.ssh/authorized_keys
		echo '/dev/vda / ext4 defaults 0 1' > tree/etc/fstab
	`, base)
	made := packertest.Write(t, fmt.Sprintf(`
source "k3s-image" "base" {
  rootfs_directory = %q
  output_directory = %q
  vm_name          = "base"
  format           = "qcow2"
  disk_size        = "3G"
}
build {
  sources = ["source.k3s-image.base"]
}
`, filepath.Join(dir, "tree"), filepath.Dir(m.disk)))
	r := p.Run(t, made, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	sh(t, dir, "rm -rf tree")
	return m
}

// run builds on the machine with provisioners and returns where.
func (m machine) run(t *testing.T, p *packertest.Packer, provisioners string) (packertest.Result, string) {
	t.Helper()
	dir := packertest.Write(t, fmt.Sprintf(vmTemplate, m.disk, m.key, m.kernel, m.initrd, provisioners))
	return p.Run(t, dir, "build", "."), dir
}

func sh(t *testing.T, dir, script string, args ...string) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-ec", script, "sh"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// A real machine is hardened over SSH, judged, shut down; its disk gives the
// same verdicts when it is read without booting, and boots as it was hardened.
func TestAccRealMachine(t *testing.T) {
	qemu := map[string]string{}
	if os.Getenv("PACKER_ACC") != "" {
		qemu["github.com/hashicorp/qemu"] = packertest.Tool(t, "packer-plugin-qemu")
	}
	p := packertest.New(t, qemu)
	m := newMachine(t, p)

	r, dir := m.run(t, p, vmHarden)
	require.Zero(t, r.ExitCode, r.Output)
	t.Logf("hardened, judged and shut down in %s", r.Took)
	assert.Contains(t, r.Output, "Set in the running kernel: ")
	assert.Contains(t, r.Output, "one command")
	live := statuses(t, dir)

	// The build wrote what differs from its base; an image to ship is whole.
	image := filepath.Join(dir, "image", "whole.qcow2")
	sh(t, dir, "qemu-img convert -O qcow2 image/node.qcow2 image/whole.qcow2")
	offline := packertest.Write(t, fmt.Sprintf(`
source "k3s-image" "node" {
  iso_url      = %q
  iso_checksum = "none"
  read_only    = true
}
build {
  sources = ["source.k3s-image.node"]
  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    mode        = "check"
    report_dir  = "report"
  }
}
`, image))
	r = p.Run(t, offline, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	for id, status := range statuses(t, offline) {
		if live[id] == "deferred" && strings.HasPrefix(id, "node.hygiene.") {
			// Traces of a running machine can be judged only once it is off.
			assert.Equal(t, "pass", status, id)
			continue
		}
		assert.Equal(t, live[id], status, id)
	}

	m.disk = image
	r, _ = m.run(t, p, vmAsBooted)
	require.Zero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "as booted: all as hardened")
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
