package sshtest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ssh runs a command on the machine through a port.
func ssh(t *testing.T, m *Machine, port int, user, command string) string {
	t.Helper()
	out, err := exec.Command("ssh", "-F", "/dev/null", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no",
		"-o", "IdentityAgent=none", "-o", "LogLevel=ERROR", "-i", m.Key, "-p", fmt.Sprint(port), user+"@127.0.0.1", command).Output()
	require.NoError(t, err, m.Log())
	return string(out)
}

func TestAccMachine(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("acceptance test: set PACKER_ACC=1 to start an SSH server on the base root file system")
	}
	tree := Base(t)
	m, _ := Start(t, tree)
	before, err := os.ReadFile("/proc/sys/vm/panic_on_oom")
	require.NoError(t, err)

	assert.Equal(t, "0\n", ssh(t, m, m.Port, "root", "id -u"))
	assert.Equal(t, "0\n", ssh(t, m, m.Port, User, "sudo -n id -u"))
	assert.Equal(t, "node\n", ssh(t, m, m.Port, User, "hostname"))
	assert.Equal(t, 3, m.Channels())

	ssh(t, m, m.Port, "root", "echo x >/etc/of-the-machine; echo 1 >/proc/sys/vm/panic_on_oom; rm -f /usr/bin/env; true")
	written, err := os.ReadFile(m.Path("/etc/of-the-machine"))
	require.NoError(t, err)
	assert.Equal(t, "x\n", string(written))
	assert.NoFileExists(t, "/etc/of-the-machine")
	assert.NoFileExists(t, tree+"/etc/of-the-machine")
	assert.FileExists(t, "/usr/bin/env")
	after, err := os.ReadFile("/proc/sys/vm/panic_on_oom")
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
}

func TestAccProxy(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("acceptance test: set PACKER_ACC=1 to start an SSH server on the base root file system")
	}
	m, _ := Start(t, Base(t))
	const trip = 200 * time.Millisecond
	p := NewProxy(t, m.Addr(), trip)

	started := time.Now()
	ssh(t, m, p.Port, "root", "true")
	took, trips := time.Since(started), p.RoundTrips()
	assert.GreaterOrEqual(t, took, time.Duration(trips)*trip, "what was counted was waited for")
	assert.Greater(t, trips, 4, "a connection, keys, a login and a command take some")

	ssh(t, m, p.Port, "root", "head -c 1000000 /dev/zero; cat >/dev/null")
	in, out := p.Bytes()
	assert.Greater(t, out, int64(1000000))
	assert.Less(t, in, int64(100000))
	assert.Less(t, p.RoundTrips()-2*trips, 15, "31 pieces of 32 KiB stream, none waits for the one before")
}
