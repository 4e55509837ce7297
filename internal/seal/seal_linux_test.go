package seal_test

import (
	"fmt"
	"os"
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

// instance is a path that a pattern of an item names, on a node with a data
// directory of its own.
func instance(pattern string) []string {
	pattern = strings.NewReplacer("[0-9]", "1").Replace(pattern)
	pattern = strings.ReplaceAll(pattern, "*", "x y'z")
	switch {
	case strings.HasPrefix(pattern, "~/"):
		return []string{"/root/" + pattern[2:], "/home/packer/" + pattern[2:], "/home/o dd/" + pattern[2:]}
	case strings.HasPrefix(pattern, "{data}/"):
		return []string{"/data/k3s/" + pattern[7:], "/var/lib/rancher/k3s/" + pattern[7:]}
	}
	return []string{pattern}
}

var options = seal.Options{DataDirs: []string{"/data/k3s"}, PackageCaches: true}

// apply seals the tree at dir and returns the plan.
func apply(t *testing.T, dir string, o seal.Options) *seal.Plan {
	t.Helper()
	target := rootfs.At(dir)
	plan := draw(t, dir, o)
	_, err := target.Apply(t.Context(), plan.Change, nil)
	require.NoError(t, err)
	return plan
}

func draw(t *testing.T, dir string, o seal.Options) *seal.Plan {
	t.Helper()
	q := seal.Query(o)
	have, err := rootfs.At(dir).Read(t.Context(), q)
	require.NoError(t, err)
	if more := seal.FollowUp(o, have); len(more) > 0 {
		have, err = rootfs.At(dir).Read(t.Context(), append(q, more...))
		require.NoError(t, err)
		assert.Empty(t, seal.FollowUp(o, have))
	}
	plan, err := seal.Make(o, have)
	require.NoError(t, err)
	return plan
}

// baked is what a sealed image keeps.
var baked = []string{
	"file /var/lib/rancher/k3s/agent/images/airgap.tar.zst 0644 images", "file /data/k3s/agent/images/.cache.json 0600 {}",
	"file /data/k3s/server/manifests/ours.yaml 0600 a: b", "file /etc/rancher/k3s/config.yaml 0600 selinux: true",
	"file /data/k3s/data/current/bin/k3s 0755 elf", "file /data/k3s/agent/etc/kubelet.conf.d/50-own.conf 0600 a: b",
	"file /data/k3s/agent/etc/containerd/config-v3.toml.tmpl 0600 a", "file /etc/ssh/sshd_config 0644 Port 22",
	"file /home/packer/.bashrc 0644 export A=b", "file /home/packer/.ssh/known_hosts 0600 h", "file /var/lib/cloud/seed/nocloud/user-data 0600 x",
	"file /var/lib/cloud/scripts/per-boot/own 0755 x", "file /etc/udev/rules.d/10-own.rules 0644 x", "file /var/lib/dhcp/notes 0644 x",
	"file /srv/data 0600 mine", "dir /data/k3s/server/logs/audit 0700", "link /srv/link /srv/data",
}

// Each path of each item is there before and gone after, what tells what is left
// notices it, and nothing else changes.
func TestEachItem(t *testing.T) {
	nodetest.NeedRoot(t)
	sealed := t.TempDir()
	nodetest.Lay(t, sealed, baked...)
	require.Empty(t, draw(t, sealed, options).Found, "a sealed tree has nothing")
	for _, it := range seal.Items() {
		if it.Name == "passwords" {
			continue // of which something stays
		}
		for k, pattern := range it.Paths {
			for i, p := range instance(pattern) {
				if it.Name == "logs" || it.Name == "audit-logs" {
					p += "/sub/daemon.log"
				}
				shapes := []string{"file", "directory", "link", "link to a directory"}
				if k > 0 || i > 0 {
					shapes = shapes[:1]
				}
				for _, shape := range shapes {
					t.Run(fmt.Sprintf("%s %s as a %s", it.Name, p, shape), func(t *testing.T) {
						t.Parallel() // each waits for the disk
						dir := t.TempDir()
						nodetest.Lay(t, dir, append(baked, "dir /var/log 0755", "dir /usr/bin 0755")...)
						clean := nodetest.Snapshot(t, dir)
						lay := map[string]string{
							"file":                "file " + strings.ReplaceAll(p, " ", "\x00") + " 0640 x",
							"directory":           "file " + strings.ReplaceAll(p, " ", "\x00") + "/below/it 0600 x",
							"link":                "link " + strings.ReplaceAll(p, " ", "\x00") + " /srv/data",
							"link to a directory": "link " + strings.ReplaceAll(p, " ", "\x00") + " /srv",
						}[shape]
						layOdd(t, dir, lay)
						if shape == "directory" && it.Name == "audit-logs" {
							t.Skip("a directory stays, and what is in it is the other shape")
						}
						if shape != "file" && slices.Contains([]string{"machine-id", "logs"}, it.Name) ||
							strings.HasPrefix(shape, "link") && it.Name == "dbus-machine-id" {
							t.Skip("what is emptied is a file, and a link to it stays")
						}
						left := draw(t, dir, options).Left()
						require.Len(t, left, 1, "it is noticed")
						assert.Equal(t, p, left[0].Path)
						assert.Equal(t, it.Name, left[0].Item.Name)

						kept := options
						kept.Keep, kept.PackageCaches = []string{it.Name}, it.Name != seal.PackageCaches
						assert.Empty(t, draw(t, dir, kept).Change, "what is kept stays")

						plan := apply(t, dir, options)
						assert.Len(t, plan.Found, 1)
						fi, err := os.Lstat(filepath.Join(dir, p))
						if plan.Found[0].Emptied {
							require.NoError(t, err)
							assert.Zero(t, fi.Size())
						} else {
							assert.ErrorIs(t, err, os.ErrNotExist)
						}
						assert.Empty(t, draw(t, dir, options).Found, "nothing is left")
						after := nodetest.Snapshot(t, dir)
						for line := range strings.Lines(clean) {
							if !strings.Contains(line, "/home/o") { // what laying it made
								assert.Contains(t, after, line, "everything else stays")
							}
						}
						assert.NotContains(t, after, node.StagingPrefix)
					})
				}
			}
		}
	}
}

// layOdd is nodetest.Lay for paths with spaces, which are written as NUL.
func layOdd(t *testing.T, dir, line string) {
	t.Helper()
	f := strings.SplitN(line, " ", 4)
	p := filepath.Join(dir, strings.ReplaceAll(f[1], "\x00", " "))
	require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
	if f[0] == "link" {
		require.NoError(t, os.Symlink(f[2], p))
		return
	}
	require.NoError(t, os.WriteFile(p, []byte(f[3]), 0o640))
}

// Accounts stay, and nobody knows their passwords.
func TestPasswords(t *testing.T) {
	nodetest.NeedRoot(t)
	const shadow = "root:$y$j9T$x$y:1:0:99999:7:::\ndaemon:*:1:0:99999:7:::\nold:abcdefghijklm:1::::::\nopen::1::::::\nlocked:!$6$x$y:1::::::\nnone:!:1::::::\n+::::::::\n"
	const want = "root:!:1:0:99999:7:::\ndaemon:*:1:0:99999:7:::\nold:!:1::::::\nopen:!:1::::::\nlocked:!$6$x$y:1::::::\nnone:!:1::::::\n+:!:::::::\n"
	for _, name := range []string{"etc/shadow", "etc/shadow-"} {
		dir := t.TempDir()
		nodetest.Lay(t, dir, "file /"+name+" 0640 "+shadow, "owner /"+name+" 0:42")
		left := draw(t, dir, options).Left()
		require.Len(t, left, 1, "it is noticed")
		assert.Equal(t, "passwords", left[0].Item.Name)
		assert.Empty(t, draw(t, dir, seal.Options{Keep: []string{"passwords"}}).Found)
		assert.Contains(t, apply(t, dir, options).Text(), "passwords: locked")
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
		fi, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o640), fi.Mode())
		assert.Empty(t, draw(t, dir, options).Found)
	}
}

// A private key is one whatever its name is, and what is none stays.
func TestPrivateKeys(t *testing.T) {
	nodetest.NeedRoot(t)
	dir := t.TempDir()
	nodetest.Lay(t, dir, "file /home/packer/.ssh/deploy[1] 0600 -----BEGIN OPENSSH PRIVATE KEY-----\nx", "file /root/.ssh/config 0600 Host *", "file /root/.ssh/id_x.pub 0600 ssh-rsa x")
	assert.Equal(t, []string{"/root/.ssh/id_x.pub", "/home/packer/.ssh/deploy[1]"}, apply(t, dir, options).Gone())
	assert.FileExists(t, filepath.Join(dir, "root/.ssh/config"))

	dir = t.TempDir()
	nodetest.Lay(t, dir, `file /root/sa.json 0600 {"type":"service_account","private_key":"-----BEGIN PRIVATE KEY-----\nx"}`, "file /home/packer/deploy.pem 0600 -----BEGIN RSA PRIVATE KEY-----\nx",
		"file /root/package.json 0600 {}", "file /root/ca.pem 0600 -----BEGIN CERTIFICATE-----\nx", "file /root/sub/key.pem 0600 -----BEGIN PRIVATE KEY-----\nx")
	assert.Equal(t, []string{"/root/sa.json", "/home/packer/deploy.pem"}, apply(t, dir, options).Gone())
	for _, stays := range []string{"root/package.json", "root/ca.pem", "root/sub/key.pem"} {
		assert.FileExists(t, filepath.Join(dir, stays))
	}
	kept := options
	kept.Keep = []string{"private-keys"}
	nodetest.Lay(t, dir, "file /root/a.key 0600 -----BEGIN PRIVATE KEY-----\nx")
	assert.Empty(t, draw(t, dir, kept).Found)
}

func TestMachineID(t *testing.T) {
	nodetest.NeedRoot(t)
	for name, c := range map[string]struct {
		text, want string
	}{
		"an identity": {"0123456789abcdef0123456789abcdef\n", ""},
		"none yet":    {"uninitialized\n", "uninitialized\n"},
		"empty":       {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			nodetest.Lay(t, dir, "file /etc/machine-id 0644 "+c.text, "link /var/lib/dbus/machine-id /etc/machine-id")
			apply(t, dir, seal.Options{})
			data, err := os.ReadFile(filepath.Join(dir, "etc/machine-id"))
			require.NoError(t, err)
			assert.Equal(t, c.want, string(data))
			if name == "an identity" {
				fi, err := os.Stat(filepath.Join(dir, "etc/machine-id"))
				require.NoError(t, err)
				assert.Equal(t, os.FileMode(0o444), fi.Mode())
			}
			assert.FileExists(t, filepath.Join(dir, "etc/machine-id"))
			_, err = os.Lstat(filepath.Join(dir, "var/lib/dbus/machine-id"))
			assert.NoError(t, err, "the link stays")
		})
	}
}

// No link leads out of what the list names.
func TestLinksAreNotFollowed(t *testing.T) {
	nodetest.NeedRoot(t)
	dir := t.TempDir()
	nodetest.Lay(t, dir,
		"file /srv/ssh/authorized_keys 0600 theirs", "file /srv/ssh/id_rsa 0600 theirs", "link /home/packer/.ssh /srv/ssh",
		"file /srv/log/a.log 0600 theirs", "link /var/log/sub /srv/log", "link /var/log/b.log /srv/log/a.log",
		"file /srv/home/.netrc 0600 theirs", "link /home/other /srv/home",
		"file /srv/db/state.db 0600 theirs", "link /data/k3s/server/db /srv/db",
		"file /srv/kubelet/a 0600 theirs", "link /var/lib/kubelet /srv/kubelet",
	)
	plan := apply(t, dir, options)
	for _, p := range []string{"srv/ssh/authorized_keys", "srv/ssh/id_rsa", "srv/log/a.log", "srv/home/.netrc", "srv/db/state.db"} {
		data, err := os.ReadFile(filepath.Join(dir, p))
		require.NoError(t, err)
		assert.Equal(t, "theirs", string(data), p)
	}
	// A directory of the system's own that is a link to where it is.
	assert.NoFileExists(t, filepath.Join(dir, "srv/kubelet/a"))
	_, err := os.Lstat(filepath.Join(dir, "data/k3s/server/db"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.Equal(t, []string{"/data/k3s/server/db", "/var/lib/kubelet/a"}, plan.Gone())
}

// Logs keep their owner and mode, and those that were rotated go.
func TestLogs(t *testing.T) {
	nodetest.NeedRoot(t)
	dir := t.TempDir()
	nodetest.Lay(t, dir, "dir /var/log/daemon 0750", "owner /var/log/daemon 12:34", "file /var/log/daemon/a.log 0640 x", "owner /var/log/daemon/a.log 12:34",
		"file /var/log/a.log.1 0640 x", "file /var/log/a.log.2.gz 0640 x", "file /var/log/wtmp 0664 x", "file /var/log/messages-20260101 0600 x",
		"file /var/log/journal/0123/system.journal 0640 x", "dir /var/log/empty 0700")
	apply(t, dir, seal.Options{})
	var left []string
	require.NoError(t, filepath.WalkDir(filepath.Join(dir, "var/log"), func(p string, _ os.DirEntry, err error) error {
		left = append(left, strings.TrimPrefix(p, dir))
		return err
	}))
	assert.Equal(t, []string{"/var/log", "/var/log/daemon", "/var/log/daemon/a.log", "/var/log/empty", "/var/log/journal", "/var/log/wtmp"}, left)
	n, err := rootfs.At(dir).Read(t.Context(), node.Query{{Path: "/var/log/daemon", Depth: 1}})
	require.NoError(t, err)
	e, _ := n.Lookup("/var/log/daemon/a.log")
	assert.Equal(t, node.Entry{Path: e.Path, Kind: node.KindFile, Mode: 0o640, UID: 12, GID: 34}, e)
}

// What boot hides is in the image all the same.
func TestHiddenAtBoot(t *testing.T) {
	nodetest.NeedRoot(t)
	dir := t.TempDir()
	nodetest.Lay(t, dir, "file /var/log/a.log 0640 x", "file /var/lib/kubelet/a 0600 x", "file /etc/fstab 0644 x")
	target := rootfs.At(dir).Hiding(map[string]string{"/var": "another disk"})
	have, err := target.Read(t.Context(), seal.Query(options))
	require.NoError(t, err)
	plan, err := seal.Make(options, have)
	require.NoError(t, err)
	_, err = target.Apply(t.Context(), plan.Change, nil)
	require.NoError(t, err)
	assert.Empty(t, draw(t, dir, options).Found)
}

func TestNotSeen(t *testing.T) {
	nodetest.NeedRoot(t)
	dir := t.TempDir()
	nodetest.Lay(t, dir, "file /home/o\ndd/.netrc 0600 x", "dir /var/log 0755")
	have, err := rootfs.At(dir).Read(t.Context(), seal.Query(options))
	require.NoError(t, err)
	_, err = seal.Make(options, have)
	require.ErrorContains(t, err, "/home could not be looked at: it "+node.UnreadName)
	require.ErrorContains(t, err, `keep = ["credentials"]`)
	_, err = seal.Make(options, node.New(nil, nil))
	require.ErrorContains(t, err, "could not be looked at", "no evidence is no seal")
}

func TestKeepIsChecked(t *testing.T) {
	for name, want := range map[string]string{
		"authorized_keys": `keep[0]: "authorized_keys" is no item that is removed: did you mean "authorized-keys"? It is one of server-credentials, `,
		"machineid":       `did you mean "machine-id"?`,
		"everything":      `"everything" is no item that is removed: one of server-credentials, `,
		"package-caches":  `contradicts package_caches = true`,
	} {
		errs := seal.Options{Keep: []string{name}, PackageCaches: true}.Validate()
		require.Len(t, errs, 1, name)
		assert.ErrorContains(t, errs[0], want)
	}
	assert.Len(t, seal.Options{Keep: []string{"logs", "logs"}}.Validate(), 1)
	assert.Empty(t, seal.Options{Keep: []string{"logs", "journal"}}.Validate())
}

// Each item has a name and a reason of its own.
func TestItems(t *testing.T) {
	names := map[string]bool{}
	for _, it := range seal.Items() {
		assert.False(t, names[it.Name], it.Name)
		names[it.Name] = true
		assert.NotEmpty(t, it.Why, it.Name)
		if it.Name != "sudo-rule" {
			assert.NotEmpty(t, it.Paths, it.Name)
		}
	}
}
