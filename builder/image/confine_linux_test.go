package image

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// host is what a command could change on this host.
type host struct {
	Mounts            []string
	Swaps, Name, Boot string
	Settings          map[string]string
	Devices           map[string]fs.FileMode
	// Clock is when the machine was started, by its own clock.
	Clock time.Time
}

// settings are kernel parameters that nothing else changes while tests run.
var settings = []string{
	"kernel/panic", "kernel/sysrq", "kernel/core_pattern", "kernel/printk", "vm/overcommit_memory", "vm/swappiness",
	"net/ipv4/ip_forward", "net/ipv4/ip_local_port_range", "fs/suid_dumpable",
}

func hostNow(t *testing.T) host {
	t.Helper()
	text := func(path string) string {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(b)
	}
	h := host{
		Mounts: mountsOf(text("/proc/self/mountinfo")), Swaps: text("/proc/swaps"), Boot: text("/proc/sys/kernel/random/boot_id"),
		Settings: map[string]string{}, Devices: map[string]fs.FileMode{},
	}
	for _, name := range settings {
		if b, err := os.ReadFile("/proc/sys/" + name); err == nil { // not every kernel has them all
			h.Settings[name] = string(b)
		}
	}
	for _, name := range devices {
		info, err := os.Stat("/dev/" + name)
		require.NoError(t, err)
		h.Devices[name] = info.Mode()
	}
	var up unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &up))
	h.Clock = time.Now().Add(-time.Duration(up.Nano())).Round(10 * time.Second)
	var err error
	h.Name, err = os.Hostname()
	require.NoError(t, err)
	return h
}

// mountsOf lists mounts without those of other tests, which run meanwhile.
func mountsOf(info string) []string {
	return slices.DeleteFunc(strings.Split(info, "\n"), func(line string) bool {
		fields := strings.Fields(line)
		return len(fields) > 4 && strings.HasPrefix(fields[4], os.TempDir()+"/") && !strings.Contains(fields[4], "TestCommandsStayInside")
	})
}

// sacrifice starts a process of this host's that every command is welcome to
// end, if it can.
func sacrifice(t *testing.T) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "packer-k3s-victim")
	path, err := exec.LookPath("sleep")
	require.NoError(t, err)
	require.NoError(t, exec.Command("cp", path, program).Run())
	cmd := exec.Command(program, "600")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestCommandsStayInside(t *testing.T) {
	if !mayConfine() {
		t.Skip("no namespaces here")
	}
	c := open(t, busybox(t))
	victim := sacrifice(t)
	pid := strconv.Itoa(victim.Process.Pid)
	before := hostNow(t)
	unharmed := func(t *testing.T) {
		t.Helper()
		require.Equal(t, before, hostNow(t))
		require.NoError(t, victim.Process.Signal(syscall.Signal(0)))
		state, err := os.ReadFile("/proc/" + pid + "/stat")
		require.NoError(t, err)
		require.Contains(t, string(state), ") S ")
	}

	// What would do no harm comes first: the rest is tried only when this holds.
	for _, probe := range []struct{ name, command string }{
		{"own processes", "test $$ -lt 100 && ! test -e /proc/" + pid},
		{"signals", "! kill -0 " + pid + " 2>/dev/null"},
		{"first process", "kill -TERM 1; kill -KILL 1; sleep 1; test -e /proc/1"},
		{"kernel parameters", "! { echo 1 > /proc/sys/vm/swappiness; } 2>/dev/null"},
		{"sysrq help", "! { echo h > /proc/sysrq-trigger; } 2>/dev/null"},
		{"sys", "! { echo 1 > /sys/kernel/uevent_seqnum || touch /sys/x; } 2>/dev/null"},
		{"modes of devices", "! { chmod 0666 /dev/zero || chown 0:0 /dev/zero || touch /dev/zero; } 2>/dev/null; echo x > /dev/zero"},
		{"disks", "! ls /dev | grep -E '^(vd|sd|nvme|loop|xvd|dm|mem|kmsg)'"},
		{"made disks", `for d in / /dev /run /tmp /dev/shm; do
			mknod $d/d b 7 0 || exit 1; ! head -c 1 $d/d 2>/dev/null || exit 2; rm $d/d; done`},
		{"capabilities", "grep -q '^CapBnd:.*" + capabilityMask(kept) + "$' /proc/self/status"},
		{"no remount", "! mount -o remount,rw /proc/sys 2>/dev/null"},
		{"root", `mkdir -p /tmp/in && for i in 1 2; do chroot /tmp/in /x 2>/dev/null; done
			test "$(ls /proc/1/root/ | head -n 5)" != "$(ls /)"; ! ls /proc/1/root/ | grep -q usr`},
		{"chroot is known", `test "$(stat -Lc %d:%i /proc/1/root)" != "$(stat -Lc %d:%i /)"`},
	} {
		got := runIn(t, c, probe.command, nil)
		require.Zero(t, got.status, "%s: %s%s", probe.name, got.out, got.errOut)
		unharmed(t)
	}

	for _, command := range []string{
		"sysctl -w vm.swappiness=7", "sysctl -w kernel.panic=77 net.ipv4.ip_forward=1",
		"pkill victim", "pkill -9 -f packer", "killall packer-k3s-victim", "killall -9 sleep", "kill -9 -1",
		"mount -t tmpfs none /tmp", "mount -t proc none /proc && echo 7 > /proc/sys/vm/swappiness",
		"mount -t devtmpfs none /dev", "umount -a", "umount -l /", "swapoff -a",
		"hostname changed", "date -s 2001-01-01", "echo changed > /proc/sys/kernel/hostname",
		"rm -rf /dev/* /run/* /sys/* /proc/*", "dd if=/dev/zero of=/dev/vda count=1", "chmod 0 /dev/z* /dev/stdin /proc/sys /run", "chmod 0 /dev/*",
		"echo b > /proc/sysrq-trigger", "reboot -f", "reboot",
	} {
		t.Run(command, func(t *testing.T) {
			runIn(t, c, command, nil)
			unharmed(t)
			assert.Equal(t, "there\n", runIn(t, c, "test -c /dev/null && test -e /proc/sys && echo there", nil).out)
		})
	}
}

// capabilityMask is a set of capabilities as /proc shows it.
func capabilityMask(set []cap.Value) string {
	var mask uint64
	for _, c := range set {
		mask |= 1 << c
	}
	return strconv.FormatUint(mask, 16)
}

// /run is in memory, one for all commands and uploads, and never in the tree.
func TestVolatileDirectory(t *testing.T) {
	if !mayConfine() {
		t.Skip("no mounts here")
	}
	root := busybox(t)
	c := newCommunicator(t.Context(), root, false)
	require.NoError(t, c.open())
	require.NoError(t, c.Upload("/run/uploaded", strings.NewReader("x"), nil))
	require.Zero(t, runIn(t, c, "mkdir /run/sshd", nil).status)
	assert.Equal(t, "sshd\nuploaded\n", runIn(t, c, "ls /run", nil).out)
	require.NoError(t, c.close())
	left, err := os.ReadDir(filepath.Join(root, "run"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// A command finds this host's name servers, whatever the tree has in their
// place, and the tree is as before.
func TestResolver(t *testing.T) {
	if !mayConfine() {
		t.Skip("no mounts here")
	}
	servers, err := os.ReadFile(resolverPath)
	if err != nil {
		t.Skipf("this host has no name servers: %s", err)
	}
	const own = "nameserver 192.0.2.1\n"
	link := func(target string) func(string) error {
		return func(path string) error { return os.Symlink(target, path) }
	}
	write := func(content string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(content), 0o640) }
	}
	for name, tt := range map[string]struct {
		make func(path string) error
		want string
	}{
		"none":                      {make: func(string) error { return nil }, want: string(servers)},
		"empty":                     {make: write(""), want: string(servers)},
		"its own":                   {make: write(own), want: own},
		"systemd-resolved":          {make: link("../run/systemd/resolve/stub-resolv.conf"), want: string(servers)},
		"absolute":                  {make: link("/run/systemd/resolve/resolv.conf"), want: string(servers)},
		"resolvconf through a link": {make: link("/var/run/resolvconf/resolv.conf"), want: string(servers)},
		"a link to nowhere":         {make: link("/etc/none"), want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := busybox(t)
			require.NoError(t, os.MkdirAll(filepath.Join(root, "var"), 0o755))
			require.NoError(t, os.Symlink("/run", filepath.Join(root, "var/run")))
			require.NoError(t, tt.make(filepath.Join(root, resolverPath)))
			list := func() string {
				out, err := exec.Command("ls", "-lARn", "--time-style=+", filepath.Join(root, "etc"), filepath.Join(root, "run")).CombinedOutput()
				require.NoError(t, err, string(out))
				return string(out)
			}
			before := list()
			c := newCommunicator(t.Context(), root, false)
			require.NoError(t, c.open())
			assert.Equal(t, tt.want, runIn(t, c, "cat "+resolverPath, nil).out)
			assert.Equal(t, tt.want, runIn(t, c, "cat "+resolverPath, nil).out, "a second time")
			require.NoError(t, c.close())
			assert.Equal(t, before, list())
		})
	}
}
