package cis_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/k3stest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// What follows is asked of a machine whose policy is enforced and has a rule
// for K3s's data directory, so that what is staged above it comes with another
// label.
const (
	selinuxHarden = `
  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    role        = "server"
` + keepAccess + `
  }
`
	selinuxOverwrite = `
  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    role        = "server"
    overwrite   = true
  }
`
	selinuxEnforcing = `
  provisioner "shell" {
    inline = [
      "set -e",
      "test \"$(cat /sys/fs/selinux/enforce)\" = 1",
      "test \"$(id -Z)\" = unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023",
    ]
  }
`
	// selinuxLabelled fails unless everything that was laid has the label that
	// the policy has for it.
	selinuxLabelled = `
  provisioner "shell" {
    inline = [
      "set -e",
      "laid=$(sudo -n find /etc/rancher /etc/sysctl.d/90-kubelet.conf /var/lib/rancher)",
      "test $(echo \"$laid\" | wc -l) -ge 13",
      "echo \"$laid\" | xargs sudo -n matchpathcon -V",
      "wrong=$(sudo -n restorecon -n -v -R /etc /var/lib)",
      "test -z \"$wrong\" || { echo \"$wrong\"; exit 1; }",
      "sudo -n ls -Zd /var/lib/rancher/k3s/server/manifests/k3s-cis-network-policies.yaml | grep :container_var_lib_t:",
      "test -z \"$(sudo -n find / -xdev -name '.k3s-cis*')\"",
      "echo labels: all as the policy has them",
    ]
  }
`
	// selinuxWithout removes what was laid, and has a restorecon that does
	// nothing; selinuxAgain shows that what is laid then has wrong labels, and
	// puts restorecon back.
	selinuxWithout = `
  provisioner "shell" {
    inline = [
      "set -e",
      "sudo -n mv /usr/sbin/restorecon /root/",
      "sudo -n ln -s /bin/true /usr/sbin/restorecon",
      "sudo -n rm -r /etc/rancher /etc/sysctl.d/90-kubelet.conf /var/lib/rancher",
    ]
  }
`
	selinuxAgain = `
  provisioner "shell" {
    inline = [
      "set -e",
      "sudo -n mv /root/restorecon /usr/sbin/",
      "sudo -n restorecon -n -v -R /etc /var/lib | grep 'Would relabel /var/lib/rancher/k3s/server/manifests '",
      "sudo -n rm -r /etc/rancher /etc/sysctl.d/90-kubelet.conf /var/lib/rancher",
    ]
  }
`
	// selinuxLinks has the data directory on another disk, as it were, and a file
	// that is a link to one with a rule of its own.
	selinuxLinks = `
  provisioner "shell" {
    inline = [
      "set -e",
      "sudo -n rm -r /etc/rancher /var/lib/rancher",
      "sudo -n mkdir -p /data/rancher /etc/rancher/k3s /etc/k3s",
      "sudo -n ln -s /data/rancher /var/lib/rancher",
      "sudo -n ln -s ../../k3s/psa.yaml /etc/rancher/k3s/psa.yaml",
      "sudo -n touch /etc/k3s/psa.yaml",
      "rules=/etc/selinux/default/contexts/files/file_contexts.local",
      "echo '/data/rancher/k3s(/.*)? system_u:object_r:container_var_lib_t:s0' | sudo -n tee $rules",
      "echo '/etc/k3s/psa\\.yaml -- system_u:object_r:container_var_lib_t:s0' | sudo -n tee -a $rules",
      "sudo -n restorecon -R /data /etc/k3s",
    ]
  }
`
	selinuxLinked = `
  provisioner "shell" {
    inline = [
      "set -e",
      "sudo -n test -f /data/rancher/k3s/server/manifests/k3s-cis-network-policies.yaml -a -s /etc/k3s/psa.yaml",
      "wrong=$(sudo -n restorecon -n -v -R /etc /var/lib /data)",
      "test -z \"$wrong\" || { echo \"$wrong\"; exit 1; }",
      "echo links: labelled where they lead",
    ]
  }
`
	// selinuxBooted fails unless systemd, confined, could read what was laid.
	selinuxBooted = `
  provisioner "shell" {
    inline = [
      "set -e",
      "systemctl is-active systemd-sysctl",
      "test \"$(sudo -n sysctl -n vm.overcommit_memory kernel.panic kernel.panic_on_oops | tr '\\n' ' ')\" = '1 10 1 '",
      "echo as booted: all as hardened",
    ]
  }
`
)

// A machine that enforces its policy comes up as it was hardened by a host that
// knows nothing of that policy. Hardened anew over SSH, what is laid has the
// labels of the policy, and would not have them of its own.
func TestAccSELinux(t *testing.T) {
	p := packerAndQEMU(t)
	m := newMachine(t, p, made{
		product:      "selinux",
		prepare:      func(tree string) { packertest.Label(t, tree) },
		provisioners: selinuxHarden,
	})
	m.parameters = "security=selinux enforcing=1"
	r, _ := m.run(t, p, selinuxEnforcing+
		selinuxBooted+selinuxLabelled+selinuxHarden+
		selinuxWithout+selinuxHarden+selinuxAgain+
		selinuxHarden+selinuxLabelled+selinuxHarden+
		selinuxLinks+selinuxOverwrite+selinuxLinked)
	require.Zero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "as booted: all as hardened")
	assert.Equal(t, 2, strings.Count(r.Output, "labels: all as the policy has them"), r.Output)
	assert.Equal(t, 2, strings.Count(r.Output, "Nothing changed"), r.Output)
	assert.Contains(t, r.Output, "links: labelled where they lead")
	t.Logf("booted, hardened three times and shut down in %s", r.Took)
}

// selinuxLoaded fails unless the machine loaded the module when it booted, once, and
// labelled K3s by it before it started.
const selinuxLoaded = `
  provisioner "shell" {
    inline = [
      "set -e",
      "sudo -n systemctl start k3s-cis-selinux || true",
      "systemctl is-active k3s-cis-selinux || { sudo -n journalctl -b -u k3s-cis-selinux; sudo -n dmesg | grep denied; exit 1; }",
      "sudo -n semodule -lfull | grep -E '^400 +k3s +cil'",
      "sudo -n ls -Z /usr/local/bin/k3s | grep :k3s_own_t:",
      "sudo -n systemctl restart k3s-cis-selinux",
      "test \"$(systemctl show -P ConditionResult k3s-cis-selinux)\" = no",
      "echo the module: loaded once",
    ]
  }
`

// A machine that enforces its policy loads the module that its image was given when it
// boots.
func TestAccSELinuxPolicy(t *testing.T) {
	p := packerAndQEMU(t)
	files := t.TempDir()
	binary, module := filepath.Join(files, "k3s"), filepath.Join(files, "k3s.cil")
	require.NoError(t, os.WriteFile(binary, k3stest.Binary(t, "amd64"), 0o600))
	require.NoError(t, os.WriteFile(module, []byte(`
(type k3s_own_t)
(roletype object_r k3s_own_t)
(typeattributeset file_type (k3s_own_t))
(typeattributeset exec_type (k3s_own_t))
(filecon "/usr/local/bin/k3s" file (system_u object_r k3s_own_t ((s0) (s0))))
`), 0o600))
	m := newMachine(t, p, made{
		product: "selinux",
		prepare: func(tree string) { packertest.Label(t, tree) },
		provisioners: fmt.Sprintf(`
  provisioner "k3s-cis" {
    install {
      binary         = %q
      selinux_policy = %q
    }
    seal {
      enabled = false
    }
`+keepAccess+`
  }
`, binary, module),
	})
	m.parameters = "security=selinux enforcing=1"
	r, _ := m.run(t, p, selinuxEnforcing+selinuxLoaded)
	require.Zero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "the module: loaded once")
}
