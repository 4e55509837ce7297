package image

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// harmless is tried before anything else: what would do harm is only run where
// this holds, since without it the commands would reach this host.
const harmless = `
set -e
grep -q '^CapEff:.*%[1]s$' /proc/self/status
grep -q '^CapBnd:.*%[1]s$' /proc/self/status
test ! -e /proc/%[2]d
kill -0 %[2]d 2>/dev/null && exit 1
{ echo 1 > /proc/sys/vm/swappiness; } 2>/dev/null && exit 1
{ echo h > /proc/sysrq-trigger; } 2>/dev/null && exit 1
echo inside > /etc/inside
`

// harmful are the commands by which a build would change its host. Packer runs
// them by a shell that ends at the first that fails; one that is not there would
// prove nothing.
const harmful = `
test -e /etc/inside
for command in sysctl pkill killall mount swapoff umount hostname date reboot poweroff; do
	command -v $command || exit 9
done
set +e
tried() { "$@"; echo "tried $*: $?"; }
tried sysctl -w vm.swappiness=7
tried sysctl -w kernel.panic=77
tried pkill packer-k3s-vict
tried pkill -9 -f packer-k3s-victim
tried killall -9 packer-k3s-victim
tried mount -t tmpfs none /mnt
tried mount -t proc none /proc
tried swapoff -a
tried umount -a
tried hostname changed
tried date -s 2001-01-01
tried reboot -f
tried poweroff -f
echo all were tried
tried kill -9 -1
`

// someSwap gives this host some swap to lose, where its kernel can.
func someSwap(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "swap")
	require.NoError(t, os.WriteFile(file, make([]byte, 1<<20), 0o600))
	require.NoError(t, exec.Command("sync", file).Run())
	out, err := exec.Command("mkswap", file).CombinedOutput()
	require.NoError(t, err, string(out))
	if out, err = exec.Command("swapon", file).CombinedOutput(); err != nil {
		t.Logf("no swap here: %s", out)
		return
	}
	t.Cleanup(func() {
		out, err := exec.Command("swapoff", file).CombinedOutput()
		assert.NoError(t, err, string(out))
	})
}

// A shell provisioner of a real Packer in a real system does its worst, and the
// host is as before.
func TestAccCommandsStayInside(t *testing.T) {
	packer := packertest.New(t, nil)
	if !mayConfine() {
		t.Skip("no namespaces here")
	}
	newBench(t)
	root := debian(t)
	program, err := exec.LookPath("busybox")
	require.NoError(t, err)
	require.NoError(t, exec.Command("cp", program, filepath.Join(root, "usr/bin/killall")).Run())
	someSwap(t)
	victim := sacrifice(t)
	build := func(script string) packertest.Result {
		dir := packertest.Write(t, acc(fmt.Sprintf("rootfs_directory = %q\n", root), fmt.Sprintf(`
  provisioner "shell" {
    skip_clean = true
    inline = [%s]
    valid_exit_codes = [0, 137]
  }
`, strconv.Quote(script))))
		return packer.Run(t, dir, "build", ".")
	}
	before := hostNow(t)
	unharmed := func() {
		t.Helper()
		require.Equal(t, before, hostNow(t))
		require.NoError(t, victim.Process.Signal(syscall.Signal(0)))
	}
	r := build(fmt.Sprintf(harmless, capabilityMask(kept), victim.Process.Pid))
	require.Zero(t, r.ExitCode, r.Output)
	require.FileExists(t, filepath.Join(root, "etc/inside"), "nothing else is tried")
	unharmed()
	r = build(harmful)
	assert.Zero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "all were tried")
	assert.NotContains(t, r.Output, ": 127\n", "not found")
	t.Log(r.Output)
	unharmed()
}
