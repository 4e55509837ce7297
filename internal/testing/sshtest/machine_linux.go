package sshtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// User is who may log in beside root: an ordinary user who becomes root with
// sudo and without a password.
const User = "packer"

// Machine is an OpenSSH server on 127.0.0.1 with a root directory, processes
// and a host name of its own. Its kernel parameters cannot be changed and its
// /usr is this host's, read-only, so that it has what the host has (Python for
// Ansible); everything else that is changed on it is gone when it ends.
type Machine struct {
	// Port is the server's, on 127.0.0.1.
	Port int
	// Key is the file with the private key that root and User log in with.
	Key string

	root string
	log  *logBuffer
}

// Base unpacks the base root file system that acceptance tests share and
// returns its directory, a tree to start machines with. It needs root.
func Base(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	archive := filepath.Join(packertest.Base(t), "rootfs.tar.zst")
	out, err := exec.Command("tar", "--zstd", "-xpf", archive, "-C", dir, "--numeric-owner").CombinedOutput()
	require.NoError(t, err, string(out))
	return dir
}

// start makes the machine's file system and starts its server. Mounts are made
// in a mount namespace that ends with the server.
const start = `set -e
cd "$1"
mkdir -p layers root
mount -t tmpfs tmpfs layers
mkdir layers/upper layers/work
mount -t overlay overlay -o "lowerdir=$2,upperdir=layers/upper,workdir=layers/work" root
mount --bind /usr root/usr
mount -o remount,bind,ro root/usr
mount --rbind /dev root/dev
mount -t proc proc root/proc
mount --bind root/proc/sys root/proc/sys
mount -o remount,bind,ro root/proc/sys
mount -t tmpfs tmpfs root/run
hostname node
mkdir -p root/run/sshd
mkdir root/etc/sshtest
cp sshd_config host_key root/etc/sshtest/
cp key.pub root/etc/sshtest/authorized_keys
chroot root usermod -p '*' root
chroot root useradd -m -s /bin/sh -p '*' "$3"
echo "$3 ALL=(ALL) NOPASSWD:ALL" >root/etc/sudoers.d/sshtest
chmod 0440 root/etc/sudoers.d/sshtest
exec chroot root /usr/sbin/sshd -D -e -f /etc/sshtest/sshd_config
`

// config logs channels as they are opened, which is what Channels counts.
const config = `ListenAddress 127.0.0.1
Port %d
HostKey /etc/sshtest/host_key
AuthorizedKeysFile /etc/sshtest/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
PidFile none
LogVerbose *:server_input_channel_open():*
Subsystem sftp internal-sftp
`

// Start starts a machine whose root directory begins as tree, which is not
// changed. It ends with the test, or with the function returned. It needs root.
func Start(t testing.TB, tree string) (*Machine, func()) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"key", "host_key"} {
		out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	m := &Machine{Port: freePort(t), Key: filepath.Join(dir, "key"), log: &logBuffer{}}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sshd_config"), fmt.Appendf(nil, config, m.Port), 0o600))

	cmd := exec.Command("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--propagation", "private",
		"sh", "-c", start, "sh", dir, tree, User)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = m.log, m.log
	require.NoError(t, cmd.Start())
	end := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(end)
	require.Eventually(t, m.answers, 20*time.Second, 20*time.Millisecond, "no SSH server came up:\n%s", m.log)

	// unshare has one child: the server, whose root directory is the machine's.
	child, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", cmd.Process.Pid))
	require.NoError(t, err)
	m.root = filepath.Join("/proc", strings.TrimSpace(string(child)), "root")
	return m, end
}

// Addr is the address of the server.
func (m *Machine) Addr() string { return fmt.Sprintf("127.0.0.1:%d", m.Port) }

// Path is where this host sees a path of the machine.
func (m *Machine) Path(name string) string { return filepath.Join(m.root, name) }

// Channels returns how many channels clients have opened since the machine
// started, by the server's own log: one for each command, each scp and each
// sftp.
func (m *Machine) Channels() int {
	opened := 0
	for line := range strings.Lines(m.log.String()) {
		if strings.Contains(line, "server_input_channel_open") && strings.Contains(line, "confirm ") {
			opened++
		}
	}
	return opened
}

// Log is what the server wrote.
func (m *Machine) Log() string { return m.log.String() }

// answers says whether the server greets.
func (m *Machine) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", m.Addr())
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	greeting := make([]byte, 4)
	_, err = c.Read(greeting)
	return err == nil && string(greeting) == "SSH-"
}

func freePort(t testing.TB) int {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return port(l.Addr())
}

// logBuffer is written by the server and read by the test.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
