package seal_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
	"github.com/k3s-cis/packer-plugin-k3s/internal/seal"
)

// program is a program of the machine's that is not what the test is about.
func program(t *testing.T, dir, name, script string) {
	t.Helper()
	file := filepath.Join(dir, "usr/local/bin", name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
}

// live is a machine with the tools of busybox that is sealed while it runs.
func live(t *testing.T, o seal.Options, lay ...string) string {
	t.Helper()
	nodetest.NeedRoot(t)
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox, linked statically")
	}
	dir := t.TempDir()
	nodetest.Lay(t, dir, "file /etc/machine-id 0444 0123456789abcdef0123456789abcdef", "file /usr/bin/ssh-keygen 0755 x", "dir /usr/lib/systemd 0755",
		"file /usr/lib/systemd/systemd 0755 x", "file /sbin/openrc-run 0755 x", "dir /run 0755", "dir /dev 0755", "link /dev/null /null", "file /null 0666 x")
	nodetest.Lay(t, dir, append(baked, lay...)...)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, exec.Command("cp", busybox, filepath.Join(dir, "bin/busybox")).Run())
	require.NoError(t, exec.Command("chroot", dir, "/bin/busybox", "--install", "-s", "/bin").Run())
	program(t, dir, "systemctl", `cat /state`)
	program(t, dir, "journalctl", `echo "$@" >>/relinquished`)
	program(t, dir, "ssh-keygen", `[ -e /etc/ssh/ssh_host_rsa_key ] || echo new >/etc/ssh/ssh_host_rsa_key`)
	o.Live, o.User = true, "packer"
	for _, service := range apply(t, dir, o).Change.Start {
		nodetest.Lay(t, dir, "file /run/"+service+" 0600") // as a machine does
	}
	return dir
}

// run has the service start or stop, with what systemd says of the machine.
func run(t *testing.T, dir, when, state string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "state"), []byte(state+"\n"), 0o600))
	out, err := exec.Command("chroot", dir, "/bin/sh", "/etc/k3s-cis-seal/run", when).CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Empty(t, string(out))
}

// remains says which of paths are there, and what of them is not empty.
func remains(t *testing.T, dir string, paths []string) []string {
	t.Helper()
	var out []string
	for _, p := range paths {
		if fi, err := os.Lstat(filepath.Join(dir, p)); err == nil && fi.Size() > 0 {
			out = append(out, p)
		}
	}
	return out
}

// deferred are paths of all items that wait, and the lines that lay them.
func deferred(t *testing.T) (paths, lines []string) {
	t.Helper()
	plan, err := seal.Make(seal.Options{Live: true}, everything())
	require.NoError(t, err)
	for _, f := range plan.Found {
		if !f.Deferred || f.Item.Name == "passwords" {
			continue
		}
		for _, p := range instance(strings.ReplaceAll(strings.ReplaceAll(f.Path, "/home/*", "/home/packer"), "*", "xyz")) {
			if f.Item.Name == "logs" {
				p += "/daemon/a.log"
			}
			paths, lines = append(paths, p), append(lines, "file "+p+" 0640 old")
		}
	}
	paths, lines = append(paths, "/etc/sudoers.d/packer"), append(lines, "file /etc/sudoers.d/packer 0440 packer ALL=(ALL) NOPASSWD:ALL")
	require.Greater(t, len(paths), 30)
	return paths, lines
}

// everything is a node of which all was looked at, and nothing is there.
func everything() *node.Node {
	return node.New(node.Query{{Path: "/", Depth: node.Deep}}, []node.Entry{{Path: "/usr/lib/systemd/systemd", Kind: node.KindFile}})
}

// What waits is there until the machine is shut down, and then gone; the first boot
// makes host keys, and nothing of the service is left.
func TestShutdown(t *testing.T) {
	paths, lines := deferred(t)
	const hash = "packer:$y$j9T$x$y:1:0:99999:7:::"
	dir := live(t, seal.Options{}, append(lines, "file /etc/shadow 0640 "+hash+"\nnone::1::::::\nold:abcdefghijklm:1::::::\ndaemon:*:1::::::\nlocked:!$y$x:1::::::\n", "owner /etc/shadow 0:42", "file /home/packer/.netrc 0600 x", "file /var/log/b.log.1 0600 x", "file /var/log/journal/0/b 0600 x")...)
	assert.Equal(t, paths, remains(t, dir, paths), "the build needs them")
	assert.Empty(t, remains(t, dir, []string{"/home/packer/.netrc", "/etc/machine-id"}), "these it does not")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "etc/machine-id"), []byte("made anew\n"), 0o444))

	run(t, dir, "start", "running")
	assert.Equal(t, paths, remains(t, dir, paths), "this is still the build")
	run(t, dir, "stop", "running")
	assert.Equal(t, paths, remains(t, dir, paths), "the service is stopped, not the machine")
	run(t, dir, "stop", "stopping")
	assert.Empty(t, remains(t, dir, append(paths, "/etc/machine-id", "/var/log/b.log.1", "/var/log/journal/0/b")))
	assert.FileExists(t, filepath.Join(dir, "var/log/daemon/a.log"), "a log that somebody writes to is emptied")
	assert.FileExists(t, filepath.Join(dir, "relinquished"))
	n, err := rootfs.At(dir).Read(t.Context(), node.Query{{Path: "/etc/shadow", Content: true}})
	require.NoError(t, err)
	shadow, _ := n.Lookup("/etc/shadow")
	assert.Equal(t, "packer:!:1:0:99999:7:::\nnone:!:1::::::\nold:!:1::::::\ndaemon:*:1::::::\nlocked:!$y$x:1::::::\n", string(shadow.Data))
	assert.Equal(t, []int{0o640, 0, 42}, []int{int(shadow.Mode), shadow.UID, shadow.GID})

	// What is brought into the image afterwards stays at the first boot.
	nodetest.Lay(t, dir, "file /home/packer/.ssh/authorized_keys 0600 mine", "file /etc/machine-id.new 0444 node")
	require.NoError(t, os.Rename(filepath.Join(dir, "etc/machine-id.new"), filepath.Join(dir, "etc/machine-id")))
	firstBoot(t, dir)
	assert.Equal(t, []string{"/home/packer/.ssh/authorized_keys"}, remains(t, dir, []string{"/home/packer/.ssh/authorized_keys"}))
}

// A machine that is switched off is sealed at the first boot of each node.
func TestSwitchedOff(t *testing.T) {
	paths, lines := deferred(t)
	dir := live(t, seal.Options{}, lines...)
	require.NoError(t, os.Chmod(filepath.Join(dir, "etc/machine-id"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "etc/machine-id"), []byte("node"), 0o444), "systemd has made it when the service starts")
	firstBoot(t, dir)
	assert.Empty(t, remains(t, dir, paths))
}

// firstBoot is the boot of a node, whose /run is empty.
func firstBoot(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.Remove(filepath.Join(dir, "run/k3s-cis-seal")))
	run(t, dir, "start", "starting")
	assert.FileExists(t, filepath.Join(dir, "etc/ssh/ssh_host_rsa_key"), "made at the first boot")
	id, err := os.ReadFile(filepath.Join(dir, "etc/machine-id"))
	require.NoError(t, err)
	assert.Equal(t, "node", string(id), "the node keeps what it was given")
	found, err := exec.Command("find", dir, "-name", "*k3s-cis*").Output()
	require.NoError(t, err)
	assert.Empty(t, string(found), "the service has removed itself")
	assert.NoDirExists(t, filepath.Join(dir, "etc/systemd/system/sysinit.target.d"))
	for _, line := range baked {
		f := strings.Split(line, " ")
		_, err := os.Lstat(filepath.Join(dir, f[1]))
		assert.NoError(t, err, "what is baked stays")
	}
}

// The service follows no link out of what it is to remove, and takes names as they are.
func TestServiceAndOddPaths(t *testing.T) {
	dir := live(t, seal.Options{},
		"file /srv/ssh/authorized_keys 0600 theirs", "link /home/evil/.ssh /srv/ssh", "link /home/evil/.bash_history /srv/data",
		"file /srv/log/a.log 0600 theirs", "link /var/log/sub /srv/log", "link /var/log/c.log /srv/data")
	for _, home := range []string{"o dd", "new\nline", "$(touch x)", "'quote", "-rf"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "home", home, ".ssh"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "home", home, ".ssh/authorized_keys"), []byte("key"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "var/log", home), []byte("log"), 0o600))
	}
	run(t, dir, "stop", "stopping")
	assert.Equal(t, []string{"/srv/ssh/authorized_keys", "/srv/log/a.log", "/srv/data"}, remains(t, dir, []string{"/srv/ssh/authorized_keys", "/srv/log/a.log", "/srv/data"}))
	_, err := os.Lstat(filepath.Join(dir, "home/evil/.bash_history"))
	assert.ErrorIs(t, err, os.ErrNotExist, "the link itself goes")
	for _, home := range []string{"o dd", "new\nline", "$(touch x)", "'quote", "-rf"} {
		assert.Empty(t, remains(t, dir, []string{"/home/" + home + "/.ssh/authorized_keys", "/var/log/" + home}))
	}
}

// What is kept is not the service's either.
func TestServiceKeeps(t *testing.T) {
	paths, lines := deferred(t)
	var all []string
	for _, it := range seal.Items() {
		if !it.Asked {
			all = append(all, it.Name)
		}
	}
	dir := live(t, seal.Options{Keep: slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == "leases" })}, lines...)
	run(t, dir, "stop", "stopping")
	left := remains(t, dir, paths)
	assert.Len(t, left, len(paths)-6)
	assert.NotContains(t, left, "/var/lib/dhcpcd/duid")
	n, err := rootfs.At(live(t, seal.Options{Keep: all}, lines...)).Read(t.Context(), node.Query{{Path: "/etc", Depth: 1}})
	require.NoError(t, err)
	_, presence := n.Lookup("/etc/k3s-cis-seal")
	assert.Equal(t, node.Absent, presence, "nothing waits, and there is no service")
}

// Only files that are about the build's user alone are its rule.
func TestSudoRule(t *testing.T) {
	for text, want := range map[string]bool{
		"packer ALL=(ALL) NOPASSWD:ALL\n": true,
		"# written by the installer\nDefaults:packer !requiretty\npacker ALL=(ALL) \\\n NOPASSWD: ALL\n": true,
		"permit nopass packer as root\n":                          true,
		"packer ALL=(ALL) NOPASSWD:ALL\nadmin ALL=(ALL) ALL\n":    false,
		"packers ALL=(ALL) ALL\n":                                 false,
		"ADMINS ALL=(ALL) NOPASSWD:ALL\n":                         false,
		"packer ALL=(ALL) ALL\n":                                  true,
		"%sudo ALL=(ALL) NOPASSWD:ALL\n":                          false,
		"root ALL=(ALL) ALL\n":                                    false,
		"packers ALL=(ALL) NOPASSWD:ALL\n":                        true,
		"Defaults:packer !requiretty\n":                           false,
		"@includedir /etc/other\npacker ALL=(ALL) NOPASSWD:ALL\n": false,
		"# packer ALL=(ALL) NOPASSWD:ALL\n":                       false,
	} {
		files := map[string]string{"/etc/sudoers.d/90": text}
		q := node.Query{{Path: "/", Depth: node.Deep, Content: true}}
		n := nodetest.Files(q, files)
		n = node.New(q, append(n.Entries(), node.Entry{Path: "/etc/sudoers.d", Kind: node.KindDirectory}, node.Entry{Path: "/sbin/openrc-run", Kind: node.KindFile}))
		// Without a user, as in a tree, what makes somebody root without a password counts.
		passwordless := want && strings.Contains(text, "NOPASSWD") && !strings.HasPrefix(text, "permit")
		for user, is := range map[string]bool{"packer": want, "root": passwordless, "": passwordless} {
			plan, err := seal.Make(seal.Options{Live: user != "", User: user}, n)
			require.NoError(t, err)
			found := slices.ContainsFunc(plan.Found, func(f seal.Found) bool { return f.Item.Name == "sudo-rule" })
			assert.Equal(t, is, found, "%q %q", user, text)
		}
	}
}

// Where the image runs neither systemd nor OpenRC, or has no SSH, nothing is left
// that nobody would start.
func TestAtRestService(t *testing.T) {
	for name, c := range map[string]struct {
		lay  []string
		want []string
	}{
		"no SSH":           {nil, nil},
		"SSH and systemd":  {[]string{"file /usr/bin/ssh-keygen 0755 x", "file /lib/systemd/systemd 0755 x"}, []string{"etc/k3s-cis-seal", "etc/systemd/system/k3s-cis-seal.service", "etc/systemd/system/sysinit.target.d/k3s-cis-seal.conf"}},
		"SSH and OpenRC":   {[]string{"file /usr/bin/ssh-keygen 0755 x", "file /sbin/openrc-run 0755 x"}, []string{"etc/init.d/k3s-cis-seal", "etc/k3s-cis-seal", "etc/runlevels/boot/k3s-cis-seal"}},
		"SSH alone":        {[]string{"file /usr/bin/ssh-keygen 0755 x"}, nil},
		"SSH without keys": {[]string{"file /usr/bin/ssh-keygen 0755 x", "file /sbin/openrc-run 0755 x", "none"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			nodetest.NeedRoot(t)
			dir := t.TempDir()
			if slices.Contains(c.lay, "none") {
				c.lay = slices.DeleteFunc(c.lay, func(s string) bool { return s == "none" })
			} else {
				nodetest.Lay(t, dir, "file /etc/ssh/ssh_host_rsa_key 0600 x")
			}
			nodetest.Lay(t, dir, append(c.lay, "dir /etc 0755")...)
			plan := apply(t, dir, seal.Options{})
			assert.Empty(t, plan.Change.Start, "nothing runs in a tree")
			assert.Nil(t, plan.Change.Rest)
			var found []string
			for _, p := range []string{"etc/init.d/k3s-cis-seal", "etc/k3s-cis-seal", "etc/runlevels/boot/k3s-cis-seal", "etc/systemd/system/k3s-cis-seal.service", "etc/systemd/system/sysinit.target.d/k3s-cis-seal.conf"} {
				if _, err := os.Lstat(filepath.Join(dir, p)); err == nil {
					found = append(found, p)
				}
			}
			assert.Equal(t, c.want, found)
			assert.NoFileExists(t, filepath.Join(dir, "etc/k3s-cis-seal/remove"))
			assert.NoFileExists(t, filepath.Join(dir, "run/k3s-cis-seal"))
		})
	}
}

func TestNoServiceManager(t *testing.T) {
	_, err := seal.Make(seal.Options{Live: true}, node.New(node.Query{{Path: "/", Depth: node.Deep}}, nil))
	require.ErrorContains(t, err, "neither systemd nor OpenRC")
}

func TestWaits(t *testing.T) {
	_, lines := deferred(t)
	dir := live(t, seal.Options{Keep: []string{"leases"}}, lines...)
	q := seal.Query(seal.Options{Live: true})
	n, err := rootfs.At(dir).Read(t.Context(), q)
	require.NoError(t, err)
	waits := seal.Waits(n)
	assert.True(t, waits["node.hygiene.access"])
	assert.True(t, waits["node.hygiene.random-seed"])
	assert.False(t, waits["node.hygiene.leases"], "it is kept")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "etc/k3s-cis-seal/run"), []byte("exit 0\n"), 0o700))
	n, err = rootfs.At(dir).Read(t.Context(), q)
	require.NoError(t, err)
	assert.Empty(t, seal.Waits(n), "another script proves nothing")
	assert.Empty(t, seal.Waits(node.New(nil, nil)))
}
