package benchmark_test

import (
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestNeighboursOfTheKernelsCommandLine: what a boot loader takes back of what the disk
// says, and what keeps the sysctl files from being applied.
func TestNeighboursOfTheKernelsCommandLine(t *testing.T) {
	grub := func(words string) func(*tree) {
		return files("/boot/grub/grub.cfg", "linux /vmlinuz root=/dev/sda1 "+words+"\n", serverUnit, starts)
	}
	un := func(settings string) func(*tree) { return files(serverUnit, starts+settings) }
	tryNeighbours(t, hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1"), []nodeChange{
		{true, "cmdline setenv config", grub("systemd.setenv=K3S_CONFIG_FILE=/opt/o.yaml")},
		{true, "cmdline setenv kubeconfig mode", grub("systemd.setenv=K3S_KUBECONFIG_MODE=644")},
		{true, "cmdline setenv token", grub("systemd.setenv=K3S_TOKEN=abc")},
		{false, "cmdline setenv lang", grub("systemd.setenv=LANG=C quiet splash")},
		{true, "cmdline mask k3s", grub("systemd.mask=k3s.service")},
		{true, "cmdline mask sysctl", grub("systemd.mask=systemd-sysctl.service")},
		{false, "cmdline mask other", grub("systemd.mask=ModemManager.service")},
		{true, "cmdline volatile yes", grub("systemd.volatile=yes")},
		{true, "cmdline volatile state", grub("systemd.volatile=state")},
		{false, "cmdline volatile overlay", grub("systemd.volatile=overlay")},
		{false, "cmdline volatile no", grub("systemd.volatile=no")},
		{true, "cmdline mount-extra", grub("systemd.mount-extra=LABEL=data:/var/lib/rancher:ext4")},
		{false, "cmdline multi-user", grub("systemd.unit=multi-user.target")},
		{false, "cmdline init systemd", grub("init=/lib/systemd/systemd")},
		{true, "cmdline cgroup_disable memory", grub("cgroup_disable=memory")},
		{false, "cmdline cgroup enable", grub("cgroup_memory=1 cgroup_enable=memory swapaccount=1")},
		{false, "cmdline usual", grub("ro console=tty1 console=ttyS0 net.ifnames=0 biosdevname=0 panic=10 oops=panic transparent_hugepage=never")},
		{true, "extlinux", files("/boot/extlinux/extlinux.conf", "LABEL l0\n LINUX /vmlinuz\n APPEND ro sysctl.vm.overcommit_memory=0\n")},
		{true, "dracut cmdline.d", files("/etc/cmdline.d/x.conf", "sysctl.vm.overcommit_memory=0\n")},
		{true, "alpine update-extlinux", files("/etc/update-extlinux.conf", "default_kernel_opts=\"quiet sysctl.vm.overcommit_memory=0\"\n")},
		{true, "Raspberry Pi", files("/boot/firmware/cmdline.txt", "console=tty1 sysctl.vm.overcommit_memory=0 rootwait\n")},
		{true, "sysctl service runs something else", files("/etc/systemd/system/systemd-sysctl.service.d/x.conf", "[Service]\nExecStart=\nExecStart=/bin/true\n", serverUnit, starts)},
		{true, "sysctl service condition", both(un(""), files("/etc/systemd/system/systemd-sysctl.service.d/x.conf", "[Unit]\nConditionPathExists=/nowhere\n"))},
		{false, "sysctl service ordering", both(un(""), files("/etc/systemd/system/systemd-sysctl.service.d/x.conf", "[Unit]\nAfter=systemd-modules-load.service\n"))},
		{true, "cmdline cgroups of the first version", grub("systemd.unified_cgroup_hierarchy=0")},
		{false, "cmdline cgroups of the second version", grub("systemd.unified_cgroup_hierarchy=1")},
		{false, "cmdline cgroups of the first version that the kubelet may have", both(grub("systemd.unified_cgroup_hierarchy=0"), func(tr *tree) { tr.arg(t, k3s.Kubelet, "fail-cgroupv1=false") })},
		{false, "cmdline mounts data alone", grub("systemd.mount-extra=LABEL=data:/var/lib/rancher/k3s/storage:ext4")},
	})
}
