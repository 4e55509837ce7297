package machine_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/machine"
	"github.com/k3s-cis/packer-plugin-k3s/internal/remote"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

// newServer starts an OpenSSH server on a tree whose K3s, in /opt/bin, is the
// launcher. It also returns the tree, as what a request is made from.
func newServer(t *testing.T, misbehave ...string) (*sshtest.Machine, *place) {
	t.Helper()
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("acceptance test: set PACKER_ACC=1 to start an SSH server on the base root file system")
	}
	root := sshtest.Base(t)
	launchertest.LayNode(t, root)
	launchertest.Install(t, root, misbehave...)
	launchertest.OnSQLite.Move(t, root, "/opt/bin/k3s")
	m, _ := sshtest.Start(t, root)
	return m, &place{root: root}
}

// left is what of a rehearsal is there on the server.
func left(t *testing.T, m *sshtest.Machine) string {
	t.Helper()
	out, err := exec.Command("ssh", "-F", "/dev/null", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR",
		"-i", m.Key, "-p", strings.TrimPrefix(m.Addr(), "127.0.0.1:"), "root@127.0.0.1", `ls -d /run/.k3s* /var/lib/.k3s* /tmp/k3s* 2>/dev/null; grep -e rehears -e k3s /proc/mounts
		for p in /proc/[0-9]*; do tr '\000' ' ' <$p/cmdline; echo; done 2>/dev/null | grep -e 'program.sh' -e 'guard.sh' -e 'worker.sh' -e 'k3s server' | grep -v -e 'for p in' -e ^grep; true`).Output()
	require.NoError(t, err)
	return string(out)
}

// TestAccOpenSSH rehearses over a real OpenSSH server that is 50 ms away, and bounds
// the seconds that it adds to those of what is started: sending, making the
// namespaces, asking, looking and ending.
func TestAccOpenSSH(t *testing.T) {
	m, p := newServer(t)
	proxy := sshtest.NewProxy(t, m.Addr(), 50*time.Millisecond)
	addr := "127.0.0.1:" + itoa(proxy.Port)
	for name, c := range map[string]struct {
		user string
		pty  bool
		wrap func(string) (string, error)
	}{
		"root":                    {user: "root"},
		"sudo":                    {user: sshtest.User},
		"a terminal between":      {user: sshtest.User, pty: true},
		"use_sudo":                {user: sshtest.User, wrap: func(s string) (string, error) { return "sudo -n " + s, nil }},
		"a password on the input": {user: sshtest.User, wrap: func(s string) (string, error) { return "echo x | sudo -S sh -c '" + s + "'", nil }},
	} {
		t.Run(name, func(t *testing.T) {
			target := remote.New(m.Connect(t, addr, c.user, c.pty), remote.Options{Wrap: c.wrap})
			best := time.Hour
			for range 3 {
				began := time.Now()
				seen, err := machine.Run(t.Context(), target, p.request(t, time.Minute, false))
				require.NoError(t, err)
				require.True(t, seen.Up, "%v", seen.Log)
				assert.Empty(t, seen.Traces)
				assert.True(t, seen.Stored.Looked)
				best = min(best, time.Since(began)-seen.UpAfter)
			}
			t.Logf("a rehearsal adds %s", best.Round(time.Millisecond))
			if !c.pty && c.wrap == nil {
				assert.Less(t, best, 1500*time.Millisecond)
			}
			assert.Eventually(t, func() bool { return left(t, m) == "" }, 5*time.Second, 100*time.Millisecond)
			assert.Empty(t, left(t, m))
		})
	}
}

// TestAccMisbehaviour has K3s do otherwise on a real OpenSSH server.
func TestAccMisbehaviour(t *testing.T) {
	m, p := newServer(t)
	target := remote.New(m.Connect(t, m.Addr(), sshtest.User, false), remote.Options{})
	for misbehave, check := range launchertest.Misbehaviours() {
		t.Run(misbehave, func(t *testing.T) {
			require.NoError(t, os.WriteFile(m.Path("/etc/launcher/misbehave"), []byte(misbehave), 0o600))
			r := p.request(t, 3*time.Second, false)
			r.Scratch = 64 << 20
			seen, err := machine.Run(t.Context(), target, r)
			require.NoError(t, err)
			check(t, seen)
			assert.Empty(t, seen.Traces)
			assert.Eventually(t, func() bool { return left(t, m) == "" }, 5*time.Second, 100*time.Millisecond)
		})
	}
}

// begun is what of a rehearsal goes on on the server.
func begun(t *testing.T, m *sshtest.Machine) string {
	t.Helper()
	_, commands := m.Processes(t)
	return strings.Join(slices.DeleteFunc(commands, func(c string) bool {
		return !strings.Contains(c, "program.sh") && !strings.Contains(c, "worker.sh") && !strings.Contains(c, "guard.sh") && !strings.Contains(c, "/opt/bin/k3s")
	}), "\n")
}

// TestAccSessionKilled kills the session of an OpenSSH server, at several moments of a
// rehearsal: the process that holds the connection, and the one that has become the user.
func TestAccSessionKilled(t *testing.T) {
	m, p := newServer(t, "hang", "forks")
	before := state(t, m)
	for _, user := range []string{"root", sshtest.User} {
		for i := range killMoments() {
			target := remote.New(m.Connect(t, m.Addr(), user, false), remote.Options{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = machine.Run(t.Context(), target, p.request(t, time.Minute, false))
			}()
			requireBegun(t, func() string { return begun(t, m) })
			time.Sleep(time.Duration(i) * spread / time.Duration(killMoments()))
			pids, commands := m.Processes(t)
			// What holds the connection and what has become the user, or the latter alone.
			var sessions []int
			for k, c := range commands {
				if strings.HasPrefix(c, "sshd") {
					sessions = append(sessions, pids[k])
				}
			}
			require.NotEmpty(t, sessions)
			for _, pid := range sessions[(len(sessions)-1)*(i%2):] {
				_ = syscall.Kill(pid, syscall.SIGKILL) // one may have ended with another
			}
			assert.Eventually(t, func() bool { return begun(t, m) == "" }, 30*time.Second, 100*time.Millisecond, "the session of %s killed at moment %d", user, i)
			select {
			case <-done:
			case <-time.After(3 * time.Minute):
				t.Fatalf("the session of %s killed at moment %d: the other end waits", user, i)
			}
		}
	}
	target := remote.New(m.Connect(t, m.Addr(), "root", false), remote.Options{})
	_, err := machine.Run(t.Context(), target, p.request(t, 2*time.Second, false))
	require.NoError(t, err)
	assert.Eventually(t, func() bool { return left(t, m) == "" }, 10*time.Second, 100*time.Millisecond)
	assert.Equal(t, before, state(t, m), "the machine is as it was after one more run")
}

// state is what a rehearsal may not change of the server: its files, and what is mounted
// and made of cgroups.
func state(t *testing.T, m *sshtest.Machine) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$1" && find etc opt root var/lib tmp run -path run -o -path run/sshd.pid -o -path '*launcher/misbehave' -o -exec stat -c '%f %u %g %s %Y %n' {} + | sort
		cat "$1/../mounts"; find /sys/fs/cgroup -name 'k3s-cis-rehearsal*'; cat /proc/sys/kernel/panic /proc/sys/vm/overcommit_memory`, "sh", m.Path("/")).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}
