package cis_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// sealBase leaves in a tree what a build and K3s leave, and has the machine tell of
// itself on its second serial port when it is booted for that.
const sealBase = `
	cd "$1"
	data=var/lib/rancher/k3s
	mkdir -p $data/server/db/etcd/member $data/server/tls $data/agent/images $data/data/0abc/bin var/lib/dhcp etc/rancher/node root/.kube home/packer/.aws var/lib/cloud/instances/i-1 etc/udev/rules.d
	chmod 700 $data/server $data/agent
	for file in $data/server/db/etcd/member/snap $data/server/tls/server-ca.key $data/server/token $data/agent/serving-kubelet.key etc/rancher/node/password \
		root/.kube/config root/.netrc home/packer/.aws/credentials home/packer/.bash_history root/.bash_history var/lib/dhcp/dhclient.eth0.leases \
		var/lib/cloud/instances/i-1/user-data etc/udev/rules.d/70-persistent-net.rules var/log/build.log var/log/build.log.1; do
		echo left >"$file"
	done
	echo images >$data/agent/images/airgap.tar
	cp bin/sleep $data/data/0abc/bin/containerd-shim
	rm -f etc/ssh/ssh_host_*
	ssh-keygen -A -f "$PWD" >/dev/null
	echo 0123456789abcdef0123456789abcdef >etc/machine-id
	cat >etc/systemd/system/tell.service <<-'EOF'
		[Unit]
		ConditionKernelCommandLine=tell
		After=multi-user.target ssh.service
		[Service]
		Type=oneshot
		ExecStart=/bin/sh /etc/tell
		[Install]
		WantedBy=multi-user.target
	EOF
	cat >etc/tell <<-'EOF'
		exec >/dev/ttyS1 # where no getty comes
		printf '\ntell id %s\n' "$(cat /etc/machine-id)"
		printf 'tell key %s\n' "$(cut -d ' ' -f 2 /etc/ssh/ssh_host_ed25519_key.pub)"
		printf 'tell ssh %s\n' "$(systemctl is-active ssh)"
		printf 'tell failed %s\n' "$(systemctl --failed --no-legend --plain | tr '\n' ' ')"
		printf 'tell left %s\n' "$(find / -xdev \( -name '*k3s-cis-seal*' -o -name authorized_keys -o -path '/etc/sudoers.d/packer' -o -name '.*_history' -o -path '/var/log/build.log' -size +0 \) | tr '\n' ' ')"
		printf 'tell labels %s\n' "$([ ! -e /sys/fs/selinux/enforce ] || restorecon -n -v -R /etc /root /home /var/lib /var/log 2>&1 | grep -v tell | tr '\n' ' ')"
		printf 'tell end\n'
		systemctl poweroff
	EOF
	systemctl --root . enable tell.service >/dev/null 2>&1
`

const sealRunning = `
  # What K3s would leave when it is stopped without its killall script.
  provisioner "shell" {
    inline = [
      "set -e",
      "sudo -n mkdir -p /run/k3s/containerd/sandbox /var/lib/kubelet/pods/1/volumes/token",
      "sudo -n mount -t tmpfs tmpfs /run/k3s/containerd/sandbox",
      "sudo -n mount -t tmpfs tmpfs /var/lib/kubelet/pods/1/volumes/token",
      "sudo -n sh -c 'setsid /var/lib/rancher/k3s/data/0abc/bin/containerd-shim 100000 </dev/null >/dev/null 2>&1 & setsid sleep 100001 </dev/null >/dev/null 2>&1 &'",
    ]
  }
  provisioner "k3s-cis" {
    k3s_version       = "v1.36.3+k3s1"
    report_dir        = "refused"
    continue_on_error = true
    seal {}
  }
  provisioner "shell" {
    inline = ["sudo -n test -e /var/lib/rancher/k3s/server/token && echo refused: all is as it was"]
  }
`

const sealIt = `
  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    report_dir  = "report"
    seal {
      reset = true
    }
  }
`

const sealReset = `
  provisioner "shell" {
    inline = [
      "set -e",
      "! pgrep -x containerd-shim",
      "pgrep -f 'sleep 100001' >/dev/null",
      "! grep -e /run/k3s -e /var/lib/kubelet /proc/self/mountinfo",
      "test ! -e /run/k3s",
      "systemctl is-active k3s-cis-seal",
      "test -s ~/.ssh/authorized_keys",
      "echo reset: at rest",
    ]
  }
`

// sealedImage judges an image at rest, with nothing waived, and makes a tar of it.
const sealedImage = `
source "k3s-image" "node" {
  iso_url          = %q
  iso_checksum     = "none"
  output_directory = "tar"
  vm_name          = "node"
  format           = "tar"
}
build {
  sources = ["source.k3s-image.node"]
  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    mode        = "check"
    report_dir  = "report"
    seal {}
  }
}
`

// A machine is sealed over SSH and shut down: nothing of the build is in its image,
// and what is booted from two copies of it are two machines.
func TestAccSealedMachine(t *testing.T) {
	p := packerAndQEMU(t)
	var base []string
	m := newMachine(t, p, made{prepare: func(tree string) {
		base = listed(t, tree)
		sh(t, tree, sealBase, tree)
	}})
	r, dir := m.run(t, p, sealRunning+sealIt+sealReset)
	require.Zero(t, r.ExitCode, r.Output)
	t.Logf("sealed and shut down in %s", r.Took)
	assert.Contains(t, r.Output, "/var/lib/rancher/k3s/data/0abc/bin/containerd-shim is running: K3s's state can be removed only while it is at rest")
	assert.Contains(t, r.Output, "refused: all is as it was")
	assert.Contains(t, r.Output, "reset: at rest")
	assert.Contains(t, r.Output, "authorized-keys: deferred to the shutdown, or the first boot")
	live := statuses(t, dir)
	report, err := os.ReadFile(filepath.Join(dir, "report", "report.json"))
	require.NoError(t, err)
	assert.Contains(t, string(report), "the service k3s-cis-seal removes it when the machine is shut down, or at the first boot of a node")

	image := filepath.Join(dir, "image", "whole.qcow2")
	sh(t, dir, "qemu-img convert -O qcow2 image/node.qcow2 image/whole.qcow2")
	offline := packertest.Write(t, fmt.Sprintf(sealedImage, image))
	r = p.Run(t, offline, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	deferred := 0
	for id, status := range statuses(t, offline) {
		if live[id] == "deferred" && strings.HasPrefix(id, "node.hygiene.") {
			deferred++
			assert.Equal(t, "pass", status, id)
		}
	}
	t.Logf("%d hygiene controls deferred while it ran, all of them passed at rest", deferred)
	assert.Positive(t, deferred)
	sh(t, offline, "mkdir list && tar -xf tar/node.tar -C list")
	noResidue(t, base, listed(t, filepath.Join(offline, "list")))
	m.tellApart(t, image)
}

// The same where the machine is switched off as soon as the last provisioner is done.
func TestAccSealedPowerCut(t *testing.T) {
	p := packerAndQEMU(t)
	m := newMachine(t, p, made{prepare: func(tree string) { sh(t, tree, sealBase, tree) }})
	m.cut = true
	r, dir := m.run(t, p, sealIt)
	require.Zero(t, r.ExitCode, r.Output)
	image := filepath.Join(dir, "image", "whole.qcow2")
	sh(t, dir, "qemu-img convert -O qcow2 image/node.qcow2 image/whole.qcow2")
	m.tellApart(t, image)
}

// The same where the policy of SELinux is enforced, for the service too.
func TestAccSealedSELinux(t *testing.T) {
	p := packerAndQEMU(t)
	m := newMachine(t, p, made{product: "selinux", prepare: func(tree string) {
		sh(t, tree, sealBase, tree)
		packertest.Label(t, tree)
	}})
	m.parameters = "security=selinux enforcing=1"
	r, dir := m.run(t, p, selinuxEnforcing+sealIt)
	require.Zero(t, r.ExitCode, r.Output)
	image := filepath.Join(dir, "image", "whole.qcow2")
	sh(t, dir, "qemu-img convert -O qcow2 image/node.qcow2 image/whole.qcow2")
	m.tellApart(t, image)
}

// A tree is sealed by the image builder, without a network or anything that runs.
func TestAccSealedTree(t *testing.T) {
	p := packerAndQEMU(t)
	var base []string
	m := newMachine(t, p, made{prepare: func(tree string) {
		base = listed(t, tree)
		sh(t, tree, sealBase, tree)
	}, provisioners: sealIt})
	offline := packertest.Write(t, fmt.Sprintf(sealedImage, m.disk))
	r := p.Run(t, offline, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	sh(t, offline, "mkdir list && tar -xf tar/node.tar -C list")
	noResidue(t, base, listed(t, filepath.Join(offline, "list")))
	m.tellApart(t, m.disk)
}

// listed are the files of a tree, but for empty ones such as logs and for links that
// D-Bus has for the machine ID.
func listed(t *testing.T, tree string) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(tree, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 && (info.Mode().IsRegular() || info.Name() != "machine-id") {
			out = append(out, strings.TrimPrefix(p, tree))
		}
		return err
	}))
	return out
}

// madeByBoot are files that each boot makes, the same on every machine.
var madeByBoot = regexp.MustCompile(`^/var/lib/(systemd/(deb-systemd-helper|timers|timesync|catalog|linger|pstore|coredump)/|private/)|^/etc/(\.pwd\.lock|\.updated|resolv\.conf)$|^/var/(\.updated|cache/apparmor/.*)$|^/etc/systemd/system/[^/]*\.wants/`)

// noResidue compares the files of an image with those of what it was made of.
func noResidue(t *testing.T, base, after []string) {
	t.Helper()
	known := map[string]bool{}
	for _, p := range base {
		known[p] = true
	}
	var residue []string
	for _, p := range after {
		baked := []string{
			"/etc/rancher/k3s/", "/etc/sysctl.d/", k3s.TightenDropIn("k3s"), "/var/lib/rancher/k3s/server/", "/var/lib/rancher/k3s/agent/images/", "/var/lib/rancher/k3s/data/",
			"/etc/tell", "/etc/systemd/system/tell.service", "/etc/k3s-cis-seal/", "/etc/systemd/system/k3s-cis-seal.service", "/etc/systemd/system/sysinit.target.d/k3s-cis-seal.conf",
		}
		if !known[p] && !madeByBoot.MatchString(p) && !slices.ContainsFunc(baked, func(dir string) bool { return strings.HasPrefix(p, dir) }) {
			residue = append(residue, p)
		}
	}
	assert.Empty(t, residue, "what the build left")
	for _, p := range []string{"/var/lib/rancher/k3s/server/token", "/var/lib/rancher/k3s/server/db/etcd/member/snap", "/home/packer/.ssh/authorized_keys", "/etc/k3s-cis-seal/remove"} {
		assert.NotContains(t, after, p)
	}
	assert.Contains(t, after, "/var/lib/rancher/k3s/agent/images/airgap.tar")
}

var told = regexp.MustCompile(`tell (id|key|ssh|failed|left|labels) ([^\r\n]*)`)

// tellApart boots two copies of an image and compares what they tell of themselves.
func (m machine) tellApart(t *testing.T, image string) {
	t.Helper()
	var machines []map[string]string
	for range 2 {
		said := map[string]string{}
		for _, found := range told.FindAllStringSubmatch(m.boot(t, image), -1) {
			said[found[1]] = strings.TrimSpace(found[2])
		}
		assert.Regexp(t, "^[0-9a-f]{32}$", said["id"])
		assert.Greater(t, len(said["key"]), 60, "SSH host keys are made at the first boot")
		assert.Equal(t, "active", said["ssh"])
		assert.Empty(t, said["failed"])
		assert.Empty(t, said["left"], "nothing of the build, nor of the service that removed it")
		assert.Empty(t, said["labels"], "what was made has the labels of the policy")
		machines = append(machines, said)
	}
	assert.NotEqual(t, machines[0]["id"], machines[1]["id"])
	assert.NotEqual(t, machines[0]["key"], machines[1]["key"])
	t.Logf("two boots: machine IDs %s and %s, host keys …%s and …%s", machines[0]["id"], machines[1]["id"],
		machines[0]["key"][max(0, len(machines[0]["key"])-8):], machines[1]["key"][max(0, len(machines[1]["key"])-8):])
}

// boot boots a copy of image, waits until it has told of itself and is off, and
// returns what it told.
func (m machine) boot(t *testing.T, image string) string {
	t.Helper()
	dir := t.TempDir()
	sh(t, dir, `qemu-img create -q -f qcow2 -F qcow2 -b "$1" copy.qcow2`, image)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	console, told := filepath.Join(dir, "console"), filepath.Join(dir, "told")
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-display", "none", "-no-reboot", "-nic", "none",
		"-serial", "file:"+console, "-serial", "file:"+told, "-drive", "if=virtio,file="+filepath.Join(dir, "copy.qcow2"), "-kernel", m.kernel, "-initrd", m.initrd,
		"-append", "root=/dev/vda rw console=ttyS0 tell "+m.parameters)
	out, err := cmd.CombinedOutput()
	text, _ := os.ReadFile(console)
	require.NoError(t, err, "%s\n%s", out, text)
	said, err := os.ReadFile(told)
	require.NoError(t, err)
	require.Contains(t, string(said), "tell end", "the whole console:\n%s", text)
	return string(said)
}
