package machine_test

import (
	"bufio"
	"context"
	"io"
	"io/fs"
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

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/machine"
	"github.com/k3s-cis/packer-plugin-k3s/internal/remote"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
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
	layNode(t, root)
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

// layNode makes the files of a small node.
func layNode(t *testing.T, root string) {
	t.Helper()
	for name, text := range map[string]string{
		"/etc/systemd/system/k3s.service":                         "[Service]\nExecStart=/usr/local/bin/k3s server\nEnvironment=FROM_UNIT=yes\n",
		"/etc/rancher/k3s/config.yaml":                            "secrets-encryption: true\n",
		"/var/lib/rancher/k3s/server/manifests/mine.yaml":         "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: mine, namespace: kube-system}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n",
		"/var/lib/rancher/k3s/server/manifests/mine-account.yaml": "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\nautomountServiceAccountToken: false\n",
	} {
		at := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(text), 0o600))
	}
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

var subject = rehearsal.Subject{
	AddOns: []string{"mine", "mine-account"}, Policies: []string{"kube-system/mine"}, Accounts: []string{"default"}, Namespaces: []string{"default", "kube-public"},
	Files: node.Query{{Path: "/var/lib/rancher/k3s/server/tls", Depth: node.Deep}, {Path: "/var/lib/rancher/k3s/server/logs/audit.log"}, {Path: "/var/lib/cni/networks", Depth: node.Deep}, {Path: "/etc/rancher/k3s/config.yaml", Content: true}},
}

func (p *place) request(t *testing.T, timeout time.Duration, agent bool) *rehearsal.Request {
	t.Helper()
	release, err := k3s.ParseRelease("v1.36.3+k3s1")
	require.NoError(t, err)
	n, err := rootfs.At(p.root).Read(t.Context(), k3s.Query(k3s.Server, ""))
	require.NoError(t, err)
	e, err := k3s.Resolve(n, release, k3s.Server)
	require.NoError(t, err)
	r, err := rehearsal.New(e, e.Program, subject, timeout, agent)
	require.NoError(t, err)
	r.Settle = 2 * time.Second
	return r
}

func (p *place) machine() *remote.Machine { return remote.New(p, remote.Options{}) }

func TestRehearsal(t *testing.T) {
	for _, agent := range []bool{false, true} {
		t.Run("agent "+strconv.FormatBool(agent), func(t *testing.T) {
			p := newPlace(t, "")
			before := p.state(t)
			seen, err := machine.Run(t.Context(), p.machine(), p.request(t, time.Minute, agent))
			require.NoError(t, err)
			assert.True(t, seen.Up, "%v", seen.Log)
			assert.Less(t, seen.UpAfter, 10*time.Second)
			assert.Empty(t, seen.Exited)
			assert.False(t, seen.Full)
			assert.Empty(t, seen.Traces)
			components := 3
			if agent {
				components = 5
				assert.True(t, seen.Answers[rehearsal.AskKubelet].Found)
			}
			assert.Len(t, seen.Started, components)
			for _, name := range []string{rehearsal.AskReady, rehearsal.AskAddOns, rehearsal.AskEvents, rehearsal.AskPolicies, rehearsal.AskAccounts, rehearsal.AskSecret} {
				assert.True(t, seen.Answers[name].Found, "%s: %+v", name, seen.Answers[name])
			}
			for _, ns := range subject.Namespaces {
				assert.True(t, seen.Answers[rehearsal.AskPrivileged+ns].Refused(), "%+v", seen.Answers)
				assert.True(t, seen.Answers[rehearsal.AskRestricted+ns].Admitted(), "%+v", seen.Answers)
			}
			assert.Equal(t, rehearsal.Stored{Looked: true, Key: true, Providers: []string{"aescbc"}}, seen.Stored)
			key, presence := seen.Node.Lookup("/var/lib/rancher/k3s/server/tls/etcd/client.key")
			assert.Equal(t, node.Present, presence)
			assert.Equal(t, fs.FileMode(0o600), key.Mode)
			_, presence = seen.Node.Lookup("/var/lib/cni/networks")
			assert.Equal(t, node.Absent, presence)
			config, _ := seen.Node.Lookup("/etc/rancher/k3s/config.yaml")
			assert.Equal(t, "secrets-encryption: true\n", string(config.Data))
			assert.Eventually(t, func() bool { return p.state(t) == before }, 5*time.Second, 100*time.Millisecond)
			assert.Equal(t, before, p.state(t), "the machine is as it was")
		})
	}
}

// misbehaviours are what is seen of each way in which K3s can do otherwise.
var misbehaviours = map[string]func(*testing.T, *rehearsal.Observation){
	"exit": func(t *testing.T, o *rehearsal.Observation) {
		assert.Equal(t, "status 1", o.Exited)
		assert.False(t, o.Up)
		assert.Empty(t, o.Answers)
	},
	"hang": func(t *testing.T, o *rehearsal.Observation) {
		assert.True(t, o.Late)
		assert.False(t, o.Up)
		assert.GreaterOrEqual(t, o.LateAfter, 3*time.Second)
	},
	"dies": func(t *testing.T, o *rehearsal.Observation) {
		assert.True(t, o.Up)
		assert.Equal(t, "status 3", o.Exited)
	},
	"argument": func(t *testing.T, o *rehearsal.Observation) {
		assert.Contains(t, o.Started[k3s.APIServer], k3s.Argument{Name: "audit-log-maxage", Value: "3", Origin: k3s.Origin{Source: "log of K3s"}})
	},
	"certificate": func(t *testing.T, o *rehearsal.Observation) {
		e, _ := o.Node.Lookup("/var/lib/rancher/k3s/server/tls/serving-kube-apiserver.key")
		assert.Equal(t, fs.FileMode(0o666), e.Mode)
	},
	"admit": func(t *testing.T, o *rehearsal.Observation) {
		assert.True(t, o.Answers["privileged-default"].Admitted())
	},
	"refuse": func(t *testing.T, o *rehearsal.Observation) {
		assert.True(t, o.Answers["restricted-default"].Refused())
	},
	"no-account": func(t *testing.T, o *rehearsal.Observation) {
		a := o.Answers["privileged-default"]
		assert.False(t, a.Refused() || a.Admitted() || a.Found, "refused for another reason: %+v", a)
	},
	"clear": func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Stored.Clear && o.Stored.Key) },
	"fill":  func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Full) },
	"silent": func(t *testing.T, o *rehearsal.Observation) {
		assert.True(t, o.Up)
		assert.False(t, o.Answers[rehearsal.AskReady].Found)
		assert.Equal(t, 1, o.Answers[rehearsal.AskReady].Status)
	},
	"stuck": func(t *testing.T, o *rehearsal.Observation) {
		assert.True(t, o.Up)
		assert.Empty(t, o.Answers)
	},
	"forks": func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Up) },
	"host": func(t *testing.T, o *rehearsal.Observation) {
		for _, line := range o.Log {
			assert.NotContains(t, line, "wrote ")
			assert.NotContains(t, line, "mounted")
			assert.NotContains(t, line, "could not write")
		}
	},
}

func TestMisbehaviour(t *testing.T) {
	for misbehave, check := range misbehaviours {
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
