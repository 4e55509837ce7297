package harden

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSysctls(t *testing.T) {
	o := newest(t)
	o.Sysctl = map[string]string{"net.ipv4.conf.all.log_martians": " 1 ", "net/ipv4/conf/eth0.7/rp_filter": "1", "kernel.panic": "10"}
	plan, err := Make(o, nil)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{
		"vm.panic_on_oom": "0", "vm.overcommit_memory": "1", "kernel.panic": "10", "kernel.panic_on_oops": "1",
		"kernel.keys.root_maxkeys": "1000000", "kernel.keys.root_maxbytes": "25000000",
		"net.ipv4.conf.all.log_martians": "1", "net.ipv4.conf.eth0/7.rp_filter": "1",
	}, plan.Change.Kernel)
	assert.Contains(t, planned(t, plan, moreSysctlFile), "\nnet.ipv4.conf.all.log_martians=1\nnet/ipv4/conf/eth0.7/rp_filter=1\n")
	assert.NotContains(t, planned(t, plan, moreSysctlFile), "kernel.panic")
	mode, _ := modeOf(plan, sysctlFile)
	assert.Equal(t, "0644", octal(mode))
}

// TestSysctlsOfTheNode: what else the guide's file has stays in it.
func TestSysctlsOfTheNode(t *testing.T) {
	o := newest(t)
	have := having(t, o, map[string]string{sysctlFile: "# mine\nvm.panic_on_oom = 1\n-kernel/panic=0\nnet.ipv4.ip_forward = 1\n;x\n\n-vm.swappiness=10"})
	plan, err := Make(o, have)
	require.NoError(t, err)
	data := planned(t, plan, sysctlFile)
	assert.Contains(t, data, "\nvm.panic_on_oom=0\n")
	assert.Contains(t, data, "already.\nnet.ipv4.ip_forward = 1\n-vm.swappiness=10\n")
	assert.NotContains(t, data, "panic=0")
	assert.Equal(t, sysctlFile+".before-k3s-cis", plan.Change.Keep[sysctlFile])

	after := applied(t, o, plan, have)
	again, err := Make(o, after)
	require.NoError(t, err)
	assert.Empty(t, Diff(again, after))
}
