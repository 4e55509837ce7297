package cis_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// checkImage judges an image without booting it.
const checkImage = `
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
` + keepAccess + keepJournal + `
  }
}
`

// keepAccess lets an image keep the key by which a test reaches the machine that
// is booted from it.
const keepAccess = `
    waiver {
      control = "node.hygiene.access"
      reason  = "the machine is reached by this key"
      owner   = "tests"
      expires = "2099-12-31"
    }
`

// keepJournal lets an image keep what the machine that it was has logged.
const keepJournal = `
    waiver {
      control = "node.hygiene.logs"
      reason  = "the machine was shut down without being sealed"
      owner   = "tests"
      expires = "2099-12-31"
    }
`

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
  %s
  qemuargs = [
    ["-cpu", "max"],
    ["-kernel", %q],
    ["-initrd", %q],
    ["-append", "root=/dev/vda rw console=ttyS0 %s"],
  ]
}
build {
  sources = ["source.qemu.node"]
  %s
}
`

// shutDown is what users are told to write. Without it the QEMU builder switches
// the machine off when the last provisioner is done.
const shutDown = `
  shutdown_command = "sudo -n systemctl poweroff"
  shutdown_timeout = "3m"
`

// machine is a disk image that boots, and what is needed to boot it and log in.
type machine struct {
	disk, key, kernel, initrd string
	// parameters are more parameters of its kernel.
	parameters string
	// cut has it switched off at the end of a build, not shut down.
	cut bool
}

// made says what a machine is made from.
type made struct {
	// product is that of tools/base.
	product string
	// prepare, if set, does more to the tree before the disk is made of it.
	prepare func(tree string)
	// provisioners see the tree before the disk is made of it.
	provisioners string
}

// newMachine makes the disk with the builder of this plugin, so that what it
// writes is booted too.
func newMachine(t *testing.T, p *packertest.Packer, from made) machine {
	t.Helper()
	base := packertest.Base(t, from.product)
	dir := t.TempDir()
	m := machine{
		disk:   filepath.Join(dir, "disk", "base.qcow2"),
		key:    filepath.Join(dir, "key"),
		kernel: filepath.Join(base, "vmlinuz"),
		initrd: filepath.Join(base, "initrd.img"),
	}
	tree := filepath.Join(dir, "tree")
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
	if from.prepare != nil {
		from.prepare(tree)
	}
	r := p.Run(t, packertest.Write(t, fmt.Sprintf(`
source "k3s-image" "base" {
  rootfs_directory = %q
  output_directory = %q
  vm_name          = "base"
  format           = "qcow2"
  disk_size        = "3G"
}
build {
  sources = ["source.k3s-image.base"]
  %s
}
`, tree, filepath.Dir(m.disk), from.provisioners)), "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	sh(t, dir, "rm -rf tree")
	return m
}

// run builds on the machine with provisioners and returns where.
func (m machine) run(t *testing.T, p *packertest.Packer, provisioners string) (packertest.Result, string) {
	t.Helper()
	end := shutDown
	if m.cut {
		end = ""
	}
	dir := packertest.Write(t, fmt.Sprintf(vmTemplate, m.disk, m.key, end, m.kernel, m.initrd, m.parameters, provisioners))
	return p.Run(t, dir, "build", "."), dir
}

func sh(t *testing.T, dir, script string, args ...string) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-ec", script, "sh"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// packerAndQEMU is a Packer with this plugin and the QEMU builder.
func packerAndQEMU(t *testing.T) *packertest.Packer {
	t.Helper()
	qemu := map[string]string{}
	if os.Getenv("PACKER_ACC") != "" {
		qemu["github.com/hashicorp/qemu"] = packertest.Tool(t, "packer-plugin-qemu")
	}
	return packertest.New(t, qemu)
}
