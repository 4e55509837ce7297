package cis_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
)

const vmHardened = `
  provisioner "k3s-cis" {
    k3s_version  = "v1.36.3+k3s1"
    role         = "server"
    kubelet_args = ["fail-cgroupv1=false"]
    report_dir   = "report"
    %s
  }
`

const vmRehearses = `
    mode = "check"
    rehearsal {
      timeout = "120s"
    }
`

// vmNote notes what a rehearsal may not change of the machine, and vmCompare compares.
const (
	vmNote = `
  provisioner "shell" {
    inline = ["sudo -n sh -c '` + vmState + `' >before"]
  }
`
	vmCompare = `
  provisioner "shell" {
    inline = ["sudo -n sh -c '` + vmState + `' >after", "diff before after && echo the machine is as it was"]
  }
`
	vmState = `cat /proc/mounts; find /sys/fs/cgroup -name \"*rehears*\"; cat /sys/fs/cgroup/cgroup.subtree_control; ip address | grep -v valid_lft; ip route; cat /proc/sys/kernel/hostname /proc/sys/kernel/panic /proc/sys/vm/overcommit_memory; ps -e -o comm | grep -e unshare -e k3s; find /etc/rancher /var/lib/rancher /var/lib/kubelet /var/lib/cni /run/k3s -exec stat -c \"%f %u %s %Y %n\" {} + 2>/dev/null | sort`
)

// vmSharesOut has the root of the machine's cgroups share out what the agent needs.
const vmSharesOut = `
  provisioner "shell" {
    inline = ["echo +cpu +cpuset | sudo -n tee /sys/fs/cgroup/cgroup.subtree_control"]
  }
`

// A real machine, with cgroups of the second version, rehearses its first start: with the
// agent where the root of its cgroups shares out what that needs, and else, as it boots,
// without. It is as it was.
func TestAccRehearsalOnRealMachine(t *testing.T) {
	p := packerAndQEMU(t)
	m := newMachine(t, p, made{prepare: func(tree string) {
		launchertest.OnSQLite.Lay(t, tree)
		launchertest.Install(t, tree)
	}})
	hardened, rehearsed := fmt.Sprintf(vmHardened, ""), fmt.Sprintf(vmHardened, vmRehearses)
	r, _ := m.run(t, p, hardened+vmNote+rehearsed+vmCompare+vmSharesOut+vmNote+rehearsed+vmCompare)
	require.Zero(t, r.ExitCode, r.Output)
	without, with, shared := strings.Cut(r.Output, "+cpu +cpuset")
	require.True(t, shared, r.Output)
	const warning = "the first start is rehearsed without the agent, for want of the cgroup controller"
	assert.Contains(t, without, warning)
	assert.NotContains(t, with, warning)
	for _, output := range []string{without, with} {
		assert.Contains(t, output, "Rehearsed the first start: K3s was up after")
		assert.Contains(t, output, "the machine is as it was")
	}
	assert.Contains(t, without, "10 of them by a rehearsed first start")
	assert.Contains(t, with, "19 of them by a rehearsed first start", "what the agent makes is seen too")
}
