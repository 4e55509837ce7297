package remote

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	packerssh "github.com/hashicorp/packer-plugin-sdk/sdk-internals/communicator/ssh"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// sshMachine is a directory with a real OpenSSH server in it, as in
// enterScript. Nothing of this host's own /etc is used or changed.
type sshMachine struct {
	dir  string
	addr string
	key  ssh.Signer
}

// sshUser is how a connection is made.
type sshUser struct {
	name string
	pty  bool
	sftp bool
}

const password = "hunter2"

// passwordHash is how /etc/shadow has password.
const passwordHash = "$6$k3scisk3scis$xFnqfdDb7iI8iiq7iDUWtNGFfbUouTfv8A5VOj5zn42aMDKMyNoYLzg9TTPYVcJ6wN0CXiKjxt/tYoOUBiYns1"

// machineFiles make users: root; ops may sudo without a password; pass has one;
// tty must have a terminal; dora has doas; plain has nothing.
var machineFiles = map[string]string{
	"etc/passwd": "root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n" +
		"ops:x:1000:1000::/home/ops:/bin/bash\npass:x:1001:1001::/home/pass:/bin/bash\n" +
		"tty:x:1002:1002::/home/tty:/bin/sh\ndora:x:1003:1003::/home/dora:/bin/sh\nplain:x:1004:1004::/home/plain:/bin/sh\n",
	"etc/group":         "root:x:0:\nnogroup:x:65534:\nops:x:1000:\npass:x:1001:\ntty:x:1002:\ndora:x:1003:\nplain:x:1004:\n",
	"etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\n",
	"etc/hosts":         "127.0.0.1 localhost\n",
	"etc/sudoers":       "Defaults !lecture\nDefaults:tty requiretty\nDefaults:tty use_pty\nroot ALL=(ALL) ALL\nops ALL=(ALL) NOPASSWD: ALL\npass ALL=(ALL) ALL\ntty ALL=(ALL) NOPASSWD: ALL\n",
	"etc/doas.conf":     "permit nopass dora as root\n",
	"etc/pam.d/sudo":    "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
	"etc/pam.d/sudo-i":  "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
	"etc/pam.d/su":      "auth sufficient pam_rootok.so\nauth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
	"etc/pam.d/doas":    "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
}

// newMachine makes the tree at dir a machine and starts its server. The shell
// commands in enter run in its mount namespace first; config goes into
// sshd_config.
func newMachine(t *testing.T, dir, enter, config string) *sshMachine {
	t.Helper()
	for _, tool := range []string{"/usr/sbin/sshd", "/usr/bin/sudo"} {
		if _, err := os.Stat(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	newChroot(t, dir, "dash")
	for name, text := range machineFiles {
		nodetest.Lay(t, dir, "file /"+name+" 0644 "+text)
	}
	require.NoError(t, os.Chmod(filepath.Join(dir, "etc/sudoers"), 0o440))
	require.NoError(t, os.Chmod(filepath.Join(dir, "etc/doas.conf"), 0o400))
	nodetest.Lay(t, dir, "dir /run/sshd 0755", "dir /root 0700",
		fmt.Sprintf("file /etc/shadow 0600 root:*:1::::::\nops:*:1::::::\npass:%s:1::::::\ntty:*:1::::::\ndora:*:1::::::\nplain:*:1::::::\n", passwordHash))
	for i, user := range []string{"ops", "pass", "tty", "dora", "plain"} {
		nodetest.Lay(t, dir, "dir /home/"+user+" 0755")
		require.NoError(t, os.Chown(filepath.Join(dir, "home", user), 1000+i, 1000+i))
	}

	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	nodetest.Lay(t, dir, "file /etc/ssh/authorized_keys 0644 "+string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	nodetest.Lay(t, dir, "file /etc/ssh/host_key 0600 "+string(pem.EncodeToMemory(block)))
	nodetest.Lay(t, dir, "file /etc/ssh/sshd_config 0600 "+fmt.Sprintf(`ListenAddress 127.0.0.1:%d
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin yes
LogLevel VERBOSE
MaxStartups 100
Subsystem sftp internal-sftp
%s
`, port, config))

	server := exec.Command("unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "--propagation", "private",
		"sh", "-c", enterScript, "sh", dir, "dash", enter, "exec /usr/sbin/sshd -D -f /etc/ssh/sshd_config -E /run/log")
	server.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	var said bytes.Buffer
	server.Stdout, server.Stderr = &said, &said
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	m := &sshMachine{dir: dir, addr: fmt.Sprintf("127.0.0.1:%d", port), key: signer}
	require.Eventually(t, func() bool {
		conn, err := net.DialTimeout("tcp", m.addr, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, 10*time.Second, 20*time.Millisecond, "%s", &said)
	return m
}

// connect opens Packer's own communicator to the machine, by way of addr.
func (m *sshMachine) connect(addr string, u sshUser) (packersdk.Communicator, error) {
	return packerssh.New(addr, &packerssh.Config{
		Connection: packerssh.ConnectFunc("tcp", addr),
		SSHConfig: &ssh.ClientConfig{
			User: u.name, Auth: []ssh.AuthMethod{ssh.PublicKeys(m.key)},
			HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 10 * time.Second,
		},
		Pty: u.pty, UseSftp: u.sftp, HandshakeTimeout: 10 * time.Second, KeepAliveInterval: -1, DisableAgentForwarding: true,
	})
}

// channels counts the sessions that the server has opened.
func (m *sshMachine) channels(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, "run/log"))
	require.NoError(t, err)
	return strings.Count(string(data), "Starting session:")
}

func needAcc(t *testing.T) {
	t.Helper()
	// Packer's communicator logs every command.
	log.SetOutput(io.Discard)
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("starts real servers: set PACKER_ACC=1")
	}
}

func TestOpenSSH(t *testing.T) {
	needAcc(t)
	withPassword := "echo '" + password + "' | sudo -S sh -c '%s'"
	cases := []struct {
		name  string
		user  sshUser
		enter string
		// config goes into sshd_config
		config   string
		wrap     string
		damage   func(t *testing.T, dir string)
		way      string
		channels int
		err      string
	}{
		{name: "root", user: sshUser{name: "root"}, way: wayStdin, channels: 1},
		{name: "sudo -n", user: sshUser{name: "ops"}, way: wayStdin, channels: 1},
		{name: "sudo -n by use_sudo", user: sshUser{name: "ops"}, wrap: "sudo -n %s", way: wayStdin, channels: 1},
		{name: "sudo -n with use_pty", user: sshUser{name: "ops"}, enter: "echo 'Defaults use_pty' >>etc/sudoers", way: wayStdin, channels: 1},
		{name: "sudo -n with use_pty over a pty", user: sshUser{name: "ops", pty: true}, enter: "echo 'Defaults use_pty' >>etc/sudoers", way: wayUpload, channels: 2},
		{name: "requiretty", user: sshUser{name: "tty"}, channels: 1, err: "ssh_pty = true where sudo requires a terminal"},
		{name: "requiretty over a pty", user: sshUser{name: "tty", pty: true}, way: wayUpload, channels: 2},
		{name: "root over a pty", user: sshUser{name: "root", pty: true}, way: wayUpload, channels: 2},
		{name: "root over a pty, no base64", user: sshUser{name: "root", pty: true}, enter: "mount --bind /dev/null usr/bin/base64", way: wayUpload, channels: 5},
		{name: "sudo -S", user: sshUser{name: "pass"}, wrap: withPassword, way: wayUpload, channels: 1},
		{name: "sudo -S by sftp", user: sshUser{name: "pass", sftp: true}, wrap: withPassword, way: wayUpload, channels: 1},
		{name: "sudo -S over a pty", user: sshUser{name: "pass", pty: true}, wrap: withPassword, way: wayUpload, channels: 2},
		{name: "sudo -S, noexec /tmp", user: sshUser{name: "pass"}, wrap: withPassword, enter: "mount --bind tmp tmp; mount -o remount,bind,noexec tmp", way: wayUpload, channels: 2},
		{name: "sudo -S, wrong password", user: sshUser{name: "pass"}, wrap: "echo 'wrongword' | sudo -S sh -c '%s'", channels: 3, err: "no answer came back"},
		{name: "doas", user: sshUser{name: "dora"}, enter: "mount --bind /dev/null usr/bin/sudo", way: wayStdin, channels: 1},
		{name: "no rights", user: sshUser{name: "plain"}, channels: 1, err: "neither sudo -n nor doas -n works"},
		{name: "no scp", user: sshUser{name: "ops"}, enter: "mount --bind /dev/null usr/bin/scp", way: wayStdin, channels: 1},
		{name: "no scp over a pty by sftp", user: sshUser{name: "ops", pty: true, sftp: true}, enter: "mount --bind /dev/null usr/bin/scp", way: wayUpload, channels: 2},
		{name: "no scp over a pty", user: sshUser{name: "ops", pty: true}, enter: "mount --bind /dev/null usr/bin/scp", way: wayUpload, channels: 2},
		{name: "no base64 and no scp over a pty", user: sshUser{name: "ops", pty: true}, enter: "mount --bind /dev/null usr/bin/base64; mount --bind /dev/null usr/bin/scp", channels: 5, err: "uploading the request"},
		{name: "root over a pty, no base64, by sftp", user: sshUser{name: "root", pty: true, sftp: true}, enter: "mount --bind /dev/null usr/bin/base64", way: wayUpload, channels: 5},
		{name: "no tar", user: sshUser{name: "ops"}, enter: "mount --bind /dev/null usr/bin/tar", way: wayUpload, channels: 2},
		{name: "busybox", user: sshUser{name: "root"}, enter: "mkdir bb; mount -t tmpfs tmpfs bb; cp /bin/busybox bb; chroot . /bb/busybox --install -s /bb; mount --bind bb/busybox usr/bin/sh", config: "SetEnv PATH=/bb", way: wayStdin, channels: 1},
		{name: "noexec /tmp and /run", user: sshUser{name: "ops"}, enter: "mount --bind tmp tmp; mount -o remount,bind,noexec tmp", way: wayStdin, channels: 1},
		{name: "read-only /etc", user: sshUser{name: "ops"}, enter: "mount --bind etc etc; mount -o remount,bind,ro etc", channels: 1, err: "/etc/"},
		{name: "full disk", user: sshUser{name: "ops"}, enter: "truncate -s 1M tmp/disk; mkfs.ext4 -q tmp/disk; mount -o loop tmp/disk z; rm tmp/disk; echo old >z/last; echo old >z/gone; head -c 2M /dev/zero >z/full || :", channels: 1, err: "No space left on device"},
		{name: "immutable file", user: sshUser{name: "ops"}, damage: func(t *testing.T, dir string) { nodetest.Immutable(t, filepath.Join(dir, "z/last")) }, channels: 1, err: "/z/last"},
		{name: "a chatty login", user: sshUser{name: "ops"}, enter: "echo 'echo welcome to this machine' >etc/bash.bashrc; echo echo hello >home/ops/.bashrc", way: wayStdin, channels: 1},
		{name: "one session only", user: sshUser{name: "ops"}, config: "MaxSessions 1", way: wayStdin, channels: 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := os.Stat("/usr/bin/doas"); c.name == "doas" && err != nil {
				t.Skip("needs doas")
			}
			dir := t.TempDir()
			nodetest.Lay(t, dir, nodetest.FaultTree...)
			m := newMachine(t, dir, c.enter, c.config)
			if c.damage != nil {
				c.damage(t, dir)
			}
			comm, err := m.connect(m.addr, c.user)
			require.NoError(t, err)
			var said []string
			opt := Options{Log: func(s string) { said = append(said, s) }}
			if c.wrap != "" {
				opt.Wrap = template(c.wrap)
			}
			query := node.Query{{Path: "/etc/rancher", Depth: node.Deep, Content: true}, {Path: "/etc/sysctl.d", Depth: 1, Content: true}, {Path: "/var/lib", Depth: node.Deep}, {Path: "/z", Depth: node.Deep, Content: true}}
			out, err := New(comm, opt).Apply(context.Background(), nodetest.FaultChange, query)
			t.Log(strings.Join(said, "\n"), err)
			require.Equal(t, c.channels, m.channels(t), "channels")
			for _, line := range append(said, fmt.Sprint(err)) {
				require.NotContains(t, line, password)
				require.NotContains(t, line, "wrongword")
			}
			left, globErr := filepath.Glob(filepath.Join(dir, "tmp", "k3s-cis*"))
			require.NoError(t, globErr)
			require.Empty(t, left)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.Equal(t, "as before", nodetest.State(t, rootfs.At(dir)))
				require.NotContains(t, nodetest.Snapshot(t, dir), node.StagingPrefix, "nothing is left")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.way, out.Way)
			require.Equal(t, "hardened", nodetest.State(t, rootfs.At(dir)))
			nodetest.Hardened(t, dir, rootfs.At(dir))
			fresh, err := rootfs.At(dir).Read(context.Background(), query)
			require.NoError(t, err)
			require.Equal(t, fresh.Entries(), out.Node.Entries(), "what came back is what is there")
		})
	}
}
