package machine_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/machine"
	"github.com/k3s-cis/packer-plugin-k3s/internal/remote"
)

// place is a machine without a server: a tree with this host's programs, in mount
// and process namespaces that end with the test. It is its own communicator.
type place struct {
	packersdk.Communicator
	root string
	pid  string
}

const enter = `set -e
cd "$1"
mount --bind . .
cd "$1"
for dir in usr/bin usr/sbin usr/lib usr/lib64; do
	[ -d "/$dir" ] || continue
	mkdir -p "$dir"
	mount --bind "/$dir" "$dir"
	mount -o remount,bind,ro "$dir"
done
mkdir -p proc sys dev run tmp var/lib mnt
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
pivot_root . mnt
umount -l /mnt
eval "$2"
echo here
exec cat
`

// newPlace makes a machine with the launcher as its K3s. The shell commands in
// damage run on it first.
func newPlace(t *testing.T, damage string, misbehave ...string) *place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := t.TempDir()
	launchertest.LayNode(t, root)
	launchertest.Install(t, root, misbehave...)
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		require.NoError(t, os.Symlink("usr/"+dir, filepath.Join(root, dir)))
	}
	// Programs that are links into /etc.
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc/alternatives"), 0o755))
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", "-c", enter, "sh", root, damage)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "here\n", line)
	child, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/task/" + strconv.Itoa(cmd.Process.Pid) + "/children")
	require.NoError(t, err)
	return &place{root: root, pid: strings.TrimSpace(string(child))}
}

func itoa(n int) string { return strconv.Itoa(n) }

// Start runs a command there.
func (p *place) Start(_ context.Context, rc *packersdk.RemoteCmd) error {
	cmd := p.command(rc.Command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = rc.Stdin, rc.Stdout, rc.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait()
		rc.SetExited(cmd.ProcessState.ExitCode())
	}()
	return nil
}

func (p *place) command(words string) *exec.Cmd {
	cmd := exec.Command("nsenter", "-t", p.pid, "-m", "-p", "-r", "-w", "sh", "-c", words)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"}
	return cmd
}

// state is what a rehearsal may not change there.
func (p *place) state(t *testing.T) string {
	t.Helper()
	out, err := p.command(`cd /; ls -A /run /tmp; cat /proc/self/mounts; cat /proc/sys/vm/overcommit_memory /proc/sys/kernel/panic /proc/sys/kernel/hostname /proc/sys/net/ipv4/ip_forward /proc/net/route
		find /sys/fs/cgroup -maxdepth 2 -name '*rehearsal*'
		for p in /proc/[0-9]*; do tr '\000' ' ' <$p/cmdline; echo; done 2>/dev/null | grep -e program.sh -e guard.sh -e worker.sh -e 'k3s server' | grep -v -e 'for p in' -e ^grep
		find /etc /var /root /opt -exec stat -c '%f %u %g %s %Y %Z %n' {} + 2>/dev/null | sort; sha256sum /etc/rancher/k3s/*`).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func (p *place) request(t *testing.T, timeout time.Duration, agent bool) *rehearsal.Request {
	t.Helper()
	return launchertest.Request(t, p.root, timeout, agent)
}

func (p *place) machine() *remote.Machine { return remote.New(p, remote.Options{}) }

func TestRehearsal(t *testing.T) {
	for name, c := range map[string]struct {
		node  launchertest.Node
		agent bool
	}{
		"control plane":         {launchertest.OnSQLite, false},
		"with the agent":        {launchertest.OnSQLite, true},
		"etcd":                  {launchertest.OnEtcd, false},
		"a datastore elsewhere": {launchertest.External, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "")
			c.node.Lay(t, p.root)
			before := p.state(t)
			r := c.node.Request(t, p.root, time.Minute, c.agent)
			seen, err := machine.Run(t.Context(), p.machine(), r)
			require.NoError(t, err)
			launchertest.RequireFirstStart(t, seen, c.agent)
			c.node.RequireArguments(t, p.root, r, seen)
			assert.Eventually(t, func() bool { return p.state(t) == before }, 5*time.Second, 100*time.Millisecond)
			assert.Equal(t, before, p.state(t), "the machine is as it was")
		})
	}
}

// TestAgent rehearses an agent, which joins a server of the rehearsal's own.
func TestAgent(t *testing.T) {
	for name, c := range map[string]struct {
		check   func(*testing.T, *rehearsal.Observation)
		refused string
	}{
		"": {check: func(t *testing.T, o *rehearsal.Observation) { launchertest.RequireJoined(t, o) }},
		"exit": {check: func(t *testing.T, o *rehearsal.Observation) {
			assert.Equal(t, "status 1", o.Exited)
			assert.False(t, o.Up)
		}},
		"hang": {check: func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Late) }},
		"dies": {check: func(t *testing.T, o *rehearsal.Observation) { assert.Equal(t, "status 3", o.Exited) }},
		"no-node": {check: func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Up)
			assert.False(t, o.Answers[rehearsal.AskReady].Found)
		}},
		"forks no-server": {refused: "a server of the rehearsal's own, which the agent would join, did not start: "},
	} {
		t.Run("misbehaves: "+name, func(t *testing.T) {
			p := newPlace(t, "", name)
			launchertest.Agent.Lay(t, p.root)
			before := p.state(t)
			r := launchertest.Agent.Request(t, p.root, 10*time.Second, true)
			if name == "" {
				r.Timeout = time.Minute
			}
			seen, err := machine.Run(t.Context(), p.machine(), r)
			if c.refused != "" {
				var refused *rehearsal.Refused
				require.ErrorAs(t, err, &refused)
				assert.Contains(t, refused.Words, c.refused)
				assert.Contains(t, refused.Words, "address already in use")
			} else {
				require.NoError(t, err)
				c.check(t, seen)
			}
			assert.Eventually(t, func() bool { return p.state(t) == before }, 5*time.Second, 100*time.Millisecond)
			assert.Equal(t, before, p.state(t), "the machine is as it was")
		})
	}
}

// stacked mounts a file system at $1 that no scratch can be laid over: that of two
// overlays is the highest stack there is.
const stacked = `stacked() {
	mkdir -p /tmp/o/low /tmp/o/one "$1"
	mount -t overlay -o lowerdir=/tmp/o/low:/etc overlay /tmp/o/one
	mount -t overlay -o lowerdir=/tmp/o/one:/tmp/o/low overlay "$1"
}
`

// What cannot be laid below a scratch is read-only where K3s writes nothing, and
// refuses the rehearsal where it does.
func TestLayersThatAreRefused(t *testing.T) {
	p := newPlace(t, stacked+"stacked /boot/efi")
	seen, err := machine.Run(t.Context(), p.machine(), p.request(t, time.Minute, false))
	require.NoError(t, err)
	launchertest.RequireFirstStart(t, seen, false)

	for _, at := range []string{"/var/lib/rancher", "/var/lib/rancher/k3s/server/db", "/var/lib/kubelet/pods"} {
		p = newPlace(t, stacked+"stacked "+at)
		_, err = machine.Run(t.Context(), p.machine(), p.request(t, time.Minute, false))
		var refused *rehearsal.Refused
		require.ErrorAs(t, err, &refused, at)
		assert.Contains(t, refused.Words, "laying "+at+" below a scratch: ")
	}
}

func TestMisbehaviour(t *testing.T) {
	for misbehave, check := range launchertest.Misbehaviours() {
		t.Run(misbehave, func(t *testing.T) {
			p := newPlace(t, "", misbehave)
			before := p.state(t)
			r := p.request(t, 3*time.Second, false)
			r.Scratch = 64 << 20
			seen, err := machine.Run(t.Context(), p.machine(), r)
			require.NoError(t, err)
			check(t, seen)
			assert.Eventually(t, func() bool { return p.state(t) == before }, 5*time.Second, 100*time.Millisecond)
			assert.Equal(t, before, p.state(t), "the machine is as it was")
		})
	}
}

func TestCancelled(t *testing.T) {
	p := newPlace(t, "", "hang", "forks")
	before := p.state(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := machine.Run(ctx, p.machine(), p.request(t, time.Minute, false))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Eventually(t, func() bool { return p.state(t) == before }, 5*time.Second, 100*time.Millisecond)
	assert.Equal(t, before, p.state(t))
}

// TestConnectionLost has nobody hear the command any more.
func TestConnectionLost(t *testing.T) {
	p := newPlace(t, "", "hang", "forks")
	before := p.state(t)
	lost := &losing{place: p}
	m := remote.New(lost, remote.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		time.Sleep(2 * time.Second)
		lost.lose()
	}()
	_, err := machine.Run(ctx, m, p.request(t, time.Minute, false))
	require.Error(t, err)
	assert.Eventually(t, func() bool { return p.state(t) == before }, 5*time.Second, 100*time.Millisecond)
	assert.Equal(t, before, p.state(t))
}

// losing is a machine whose connection ends without a word.
type losing struct {
	*place
	out *os.File
}

func (l *losing) lose() { _ = l.out.Close() }

func (l *losing) Start(_ context.Context, rc *packersdk.RemoteCmd) error {
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	l.out = in
	cmd := l.command(rc.Command)
	cmd.Stdin, cmd.Stdout = rc.Stdin, out
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = out.Close()
	go func() {
		_, _ = io.Copy(rc.Stdout, in)
		rc.SetExited(packersdk.CmdDisconnect)
	}()
	return nil
}

// TestKilled kills parts of a rehearsal at several moments: nothing runs on and
// nothing stays mounted, and what is left is removed by the next run.
func TestKilled(t *testing.T) {
	p := newPlace(t, "", "hang", "forks")
	before := p.state(t)
	moments := 2
	if os.Getenv("PACKER_ACC") != "" {
		moments = 20
	}
	for _, what := range []string{"unshare", "program.sh", "worker.sh", "guard.sh", ".sh"} {
		for i := range moments {
			done := make(chan struct{})
			r := p.request(t, 5*time.Second, true)
			go func() {
				defer close(done)
				_, _ = machine.Run(t.Context(), p.machine(), r)
			}()
			time.Sleep(time.Duration(i) * 1200 * time.Millisecond / time.Duration(moments))
			// In the process namespace of that machine alone.
			_ = p.command("pkill -KILL -f -e '[^ ]*" + what + "( |$)'").Run()
			select {
			case <-done:
			case <-time.After(90 * time.Second):
				t.Fatalf("%s killed at moment %d: it goes on", what, i)
			}
			if !assert.Eventually(t, func() bool { return p.runs(t) == "" }, 8*time.Second, 100*time.Millisecond, "%s killed at moment %d", what, i) {
				t.Log(p.runs(t))
			}
		}
	}
	r := p.request(t, 5*time.Second, true)
	r.Timeout = 2 * time.Second
	_, err := machine.Run(t.Context(), p.machine(), r)
	require.NoError(t, err)
	assert.Eventually(t, func() bool { return p.state(t) == before }, 5*time.Second, 100*time.Millisecond)
	assert.Equal(t, before, p.state(t))
}

// runs is what of a rehearsal goes on there, or is mounted.
func (p *place) runs(t *testing.T) string {
	t.Helper()
	out, err := p.command(`grep -e rehears -e k3s /proc/mounts
		for p in /proc/[0-9]*; do tr '\000' ' ' <$p/cmdline; echo; done 2>/dev/null | grep -e program.sh -e guard.sh -e worker.sh -e 'k3s server' | grep -v -e 'for p in' -e ^grep; true`).Output()
	require.NoError(t, err)
	return string(out)
}

func TestUnavailable(t *testing.T) {
	for name, c := range map[string]struct{ damage, says string }{
		"no unshare":           {"mount --bind /dev/null /usr/bin/unshare", "the tools unshare"},
		"no ip":                {"for f in /usr/bin/ip /usr/sbin/ip; do [ ! -e $f ] || mount --bind /dev/null $f; done", "the tools ip"},
		"little memory":        {"echo 'MemAvailable: 307200 kB' >/tmp/meminfo; mount --bind /tmp/meminfo /proc/meminfo", "memory: 300 MiB are available, and K3s takes 700 MiB"},
		"no overlay":           {"echo >/tmp/none; mount --bind /tmp/none /proc/filesystems; [ ! -e /usr/sbin/modprobe ] || mount --bind /dev/null /usr/sbin/modprobe", "a kernel with the overlay file system"},
		"foreign architecture": {"printf '\\026' | dd of=/usr/local/bin/k3s bs=1 seek=18 conv=notrunc 2>/dev/null", "/usr/local/bin/k3s is for another than this machine"},
		"ordinary container":   {"printf '#!/bin/sh\\necho unshare: unshare failed: Operation not permitted >&2; exit 1' >/tmp/u; chmod 755 /tmp/u; mount --bind /tmp/u /usr/bin/unshare", "in an ordinary container it does not"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, c.damage)
			before := p.state(t)
			_, err := machine.Run(t.Context(), p.machine(), p.request(t, time.Minute, false))
			var u *rehearsal.Unavailable
			require.ErrorAs(t, err, &u)
			assert.Contains(t, u.Error(), c.says)
			assert.Eventually(t, func() bool { return p.state(t) == before }, 5*time.Second, 100*time.Millisecond)
		})
	}
}

// TestAgentUnavailable is a machine that could rehearse the control plane alone.
func TestAgentUnavailable(t *testing.T) {
	for name, c := range map[string]struct{ damage, says string }{
		"no cgroup namespaces": {`mv_unshare=$(command -v unshare); cp "$mv_unshare" /tmp/unshare.real
			printf '#!/bin/sh\nfor w in "$@"; do case $w in -C) echo "unshare: invalid option -- C" >&2; exit 1 ;; -*) ;; *) break ;; esac; done\nexec /tmp/unshare.real "$@"\n' >/tmp/unshare; chmod 755 /tmp/unshare; mount --bind /tmp/unshare "$mv_unshare"`, "an unshare and a kernel with cgroup namespaces"},
		"no memory controller": {`[ ! -e /sys/fs/cgroup/cgroup.controllers ] || mount --bind /dev/null /sys/fs/cgroup/cgroup.subtree_control
			[ ! -d /sys/fs/cgroup/memory ] || umount -l /sys/fs/cgroup/memory`, "the cgroup controller memory"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, c.damage)
			before := p.state(t)
			_, err := machine.Run(t.Context(), p.machine(), p.request(t, time.Minute, true))
			var u *rehearsal.Unavailable
			require.ErrorAs(t, err, &u)
			assert.True(t, u.OfAgent)
			assert.Contains(t, u.Error(), c.says)
			seen, err := machine.Run(t.Context(), p.machine(), p.request(t, time.Minute, false))
			require.NoError(t, err)
			launchertest.RequireFirstStart(t, seen, false)
			assert.Eventually(t, func() bool { return p.state(t) == before }, 5*time.Second, 100*time.Millisecond)
		})
	}
}
