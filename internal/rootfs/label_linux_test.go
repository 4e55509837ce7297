package rootfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

const (
	selinuxConfig = "file /etc/selinux/config 0644 SELINUX=enforcing\nSELINUXTYPE=mine\n"
	selinuxRules  = "file /etc/selinux/mine/contexts/files/file_contexts 0644 " +
		"/.* u:r:default_t:s0\n/etc(/.*)? u:r:etc_t:s0\n/real(/.*)? u:r:real_t:s0\n" +
		"/var/lib/k3s(/.*)? u:r:k3s_t:s0\n/var/lib/k3s/logs -d u:r:log_t:s0\n/mnt/.* <<none>>\n"
)

var labelChange = node.Change{
	Write: []node.Entry{
		nodetest.File("/etc/rancher/k3s/config.yaml", 0o600, "new"),
		nodetest.File("/etc/old.conf", 0o600, "new"),
		nodetest.File("/etc/link.conf", 0o600, "new"),
		nodetest.File("/mnt/a/old", 0o600, "new"),
		nodetest.File("/mnt/a/b/new", 0o600, "new"),
		nodetest.File("/mnt/c/new", 0o600, "new"),
		nodetest.Dir("/etc/mode", 0o700),
		nodetest.Dir("/var/lib/k3s/logs", 0o700),
	},
	Links: map[string]string{"/etc/rancher/link": "k3s/config.yaml", "/mnt/c/link": "new"},
	Keep:  map[string]string{"/etc/old.conf": "/etc/old.conf.orig"},
}

// labelled makes a tree that labelChange changes, with these labels.
func labelled(t *testing.T, lines ...string) string {
	t.Helper()
	nodetest.NeedRoot(t)
	dir := t.TempDir()
	nodetest.Lay(t, dir, append(lines, "dir /etc/mode 0755", "file /etc/old.conf 0644 old", "file /real/conf 0644 old",
		"link /etc/link.conf ../real/conf", "file /mnt/a/old 0644 old", "dir /mnt/c 0755")...)
	for p, label := range map[string]string{
		"/etc/mode": "u:r:own_t:s0", "/etc/old.conf": "u:r:old_t:s0", "/real": "u:r:wrong_t:s0",
		"/mnt/a": "u:r:mnt_t:s0", "/mnt/a/old": "u:r:kept_t:s0",
	} {
		err := unix.Lsetxattr(filepath.Join(dir, p), "security.selinux", []byte(label+"\x00"), 0)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
			t.Skipf("needs to be able to label files: %v", err)
		}
		require.NoError(t, err)
	}
	return dir
}

// labels are the labels of the paths that labelChange touches, by path.
func labels(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, p := range []string{
		"/etc/rancher", "/etc/rancher/link", "/mnt/c/link", "/etc/rancher/k3s", "/etc/rancher/k3s/config.yaml", "/etc/old.conf", "/etc/old.conf.orig", "/etc/mode",
		"/real/conf", "/mnt/a", "/mnt/a/old", "/mnt/a/b", "/mnt/a/b/new", "/mnt/c/new", "/var", "/var/lib/k3s", "/var/lib/k3s/logs",
	} {
		value := make([]byte, 100)
		n, err := unix.Lgetxattr(filepath.Join(dir, p), "security.selinux", value)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOENT) {
			continue
		}
		require.NoError(t, err, p)
		out[p] = string(value[:n])
	}
	return out
}

func TestRootLabels(t *testing.T) {
	dir := labelled(t, selinuxConfig, selinuxRules)
	_, err := At(dir).Apply(context.Background(), labelChange, nil)
	require.NoError(t, err)
	want := map[string]string{
		"/etc/rancher": "u:r:etc_t:s0", "/etc/rancher/link": "u:r:etc_t:s0", "/etc/rancher/k3s": "u:r:etc_t:s0", "/etc/rancher/k3s/config.yaml": "u:r:etc_t:s0",
		"/etc/old.conf": "u:r:etc_t:s0", "/etc/old.conf.orig": "u:r:etc_t:s0",
		// Nobody made this directory anew.
		"/etc/mode": "u:r:own_t:s0",
		// Labels belong to where a file is, not to the link that leads to it.
		"/real/conf": "u:r:real_t:s0",
		"/var":       "u:r:default_t:s0", "/var/lib/k3s": "u:r:k3s_t:s0", "/var/lib/k3s/logs": "u:r:log_t:s0",
		// The policy leaves these to whoever makes them: what was there before
		// and the directory above say.
		"/mnt/a": "u:r:mnt_t:s0", "/mnt/a/old": "u:r:kept_t:s0", "/mnt/a/b": "u:r:mnt_t:s0", "/mnt/a/b/new": "u:r:mnt_t:s0",
	}
	got := labels(t, dir)
	for p, label := range got {
		assert.Equal(t, want[p]+"\x00", label, p)
	}
	assert.Len(t, got, len(want))

	again, err := At(dir).Apply(context.Background(), labelChange, nil)
	require.NoError(t, err)
	assert.Empty(t, again.Changed)
	assert.Equal(t, got, labels(t, dir))
}

func TestRootWithoutPolicy(t *testing.T) {
	for name, lines := range map[string][]string{
		"none":         nil,
		"switched off": {"file /etc/selinux/config 0644 SELINUX=disabled\nSELINUXTYPE=mine\n", selinuxRules},
		"no file":      {"dir /etc/selinux/config 0755", selinuxRules},
	} {
		t.Run(name, func(t *testing.T) {
			dir := labelled(t, lines...)
			_, err := At(dir).Apply(context.Background(), labelChange, nil)
			require.NoError(t, err)
			assert.Equal(t, map[string]string{
				"/etc/mode": "u:r:own_t:s0\x00", "/mnt/a": "u:r:mnt_t:s0\x00",
			}, labels(t, dir))
		})
	}
}

func TestRootLabelErrors(t *testing.T) {
	for name, c := range map[string]struct {
		rules string
		err   string
	}{
		"a line that is wrong":              {"/etc -q u:r:t:s0\n", `cannot tell the SELinux labels of new files: /etc/selinux/mine/contexts/files/file_contexts:1: "/etc -q u:r:t:s0": want`},
		"an expression that cannot be read": {"/etc/(?=x).* u:r:t:s0\n", `file_contexts:1: "/etc/(?=x).*" cannot be compared with /etc/`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := labelled(t, selinuxConfig, "file /etc/selinux/mine/contexts/files/file_contexts 0644 "+c.rules)
			before := nodetest.Snapshot(t, dir)
			_, err := At(dir).Apply(context.Background(), labelChange, nil)
			require.ErrorContains(t, err, c.err)
			assert.Equal(t, before, nodetest.Snapshot(t, dir))
		})
	}
}

// Without the right to label nothing is laid, since it would be out of reach on
// the machine.
func TestRootMayNotLabel(t *testing.T) {
	dir := labelled(t, selinuxConfig, selinuxRules)
	before, had := nodetest.Snapshot(t, dir), labels(t, dir)
	// A kernel with SELinux and no policy lets the owner label, any other asks
	// for CAP_SYS_ADMIN.
	foreign := nodetest.File("/etc/rancher/foreign", 0o600, "new")
	foreign.UID = 1000
	change := node.Change{Write: append([]node.Entry{foreign}, labelChange.Write...), Keep: labelChange.Keep}
	done := make(chan error)
	go func() {
		// The thread, which has fewer rights now, ends with the goroutine.
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		if err := unix.Capget(&header, &sets[0]); err != nil {
			done <- err
			return
		}
		sets[0].Effective &^= 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_FOWNER
		if err := unix.Capset(&header, &sets[0]); err != nil {
			done <- err
			return
		}
		_, err := At(dir).Apply(context.Background(), change, nil)
		done <- err
	}()
	err := <-done
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, "its SELinux label u:r:etc_t:s0 cannot be set (which takes the rights of root")
	assert.Equal(t, before, nodetest.Snapshot(t, dir))
	assert.Equal(t, had, labels(t, dir))
}

// A file system that keeps no labels is labelled as a whole by who mounts it.
func TestRootKeepsNoLabels(t *testing.T) {
	nodetest.NeedRoot(t)
	dir := t.TempDir()
	nodetest.Mounted(t, dir, "-t", "ramfs", "none")
	nodetest.Lay(t, dir, selinuxConfig, selinuxRules)
	require.ErrorIs(t, unix.Lsetxattr(filepath.Join(dir, "etc"), "security.selinux", []byte("x"), 0), unix.ENOTSUP)
	_, err := At(dir).Apply(context.Background(), node.Change{Write: []node.Entry{nodetest.File("/etc/a/b", 0o600, "new")}}, nil)
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(dir, "etc/a/b"))
	require.NoError(t, err)
	assert.Equal(t, "new", string(data))
}
