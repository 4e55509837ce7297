//go:build linux

package nodetest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// fault makes a file system refuse a change half-way, for real.
type fault struct {
	name string
	// prepare breaks the tree at dir, which holds FaultTree.
	prepare func(t *testing.T, dir string)
	err     string
}

// FaultTree is the tree, for Lay, that FaultChange changes.
var FaultTree = []string{
	"file /etc/rancher/k3s/config.yaml 0644 token: x", "file /etc/sysctl.d/90-kubelet.conf 0644 old",
	"dir /var/lib/rancher/k3s/server 0755", "file /z/last 0644 old", "file /z/gone 0644 old",
	"file /z/all/a 0644 old", "file /z/all/sub/b 0600 old", "file /etc/rancher/k3s/key 0644 kept",
}

// FaultChange touches every directory of FaultTree; what the faults break
// comes last, when the rest is in place.
var FaultChange = node.Change{
	Write: []node.Entry{
		File("/etc/rancher/k3s/config.yaml", 0o600, "protect-kernel-defaults: true\n"),
		File("/etc/rancher/k3s/new/sub/file", 0o600, "new"),
		File("/etc/sysctl.d/90-kubelet.conf", 0o600, "new"),
		Dir("/var/lib/rancher/k3s/server", 0o700),
		Dir("/var/lib/rancher/k3s/server/logs", 0o700),
		File("/z/last", 0o600, strings.Repeat("new\n", 2000)),
	},
	Links:  map[string]string{"/etc/rancher/k3s/new/link": "sub/file", "/var/lib/rancher/k3s/link": "server"},
	Modes:  map[string]fs.FileMode{"/etc/rancher/k3s/key": 0o600},
	Keep:   map[string]string{"/etc/rancher/k3s/config.yaml": "/etc/rancher/k3s/config.yaml.orig"},
	Remove: []string{"/z/gone"}, RemoveAll: []string{"/z/all"},
}

// Undoing takes FaultChange back, so that there is something to do again.
var Undoing = node.Change{Write: []node.Entry{
	File("/etc/rancher/k3s/config.yaml", 0o644, "token: x"), File("/etc/sysctl.d/90-kubelet.conf", 0o644, "old"),
	Dir("/var/lib/rancher/k3s/server", 0o755), File("/z/last", 0o644, "old"), File("/z/gone", 0o644, "old"),
	File("/z/all/a", 0o644, "old"), File("/z/all/sub/b", 0o600, "old"), File("/etc/rancher/k3s/key", 0o644, "kept"),
}, Remove: []string{"/etc/rancher/k3s/new/link", "/var/lib/rancher/k3s/link"}}

// FaultQuery asks for all of FaultTree.
var FaultQuery = node.Query{{Path: "/etc", Depth: node.Deep, Content: true}, {Path: "/var", Depth: node.Deep, Content: true}, {Path: "/z", Depth: node.Deep, Content: true}}

// Run runs a program of this host that must succeed.
func Run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
}

// Mounted mounts something over dir for the length of the test.
func Mounted(t *testing.T, dir string, args ...string) {
	t.Helper()
	Run(t, "mount", append(args, dir)...)
	t.Cleanup(func() { Run(t, "umount", dir) })
}

// Immutable makes p immutable for the length of the test.
func Immutable(t *testing.T, p string) {
	t.Helper()
	if out, err := exec.Command("chattr", "+i", p).CombinedOutput(); err != nil {
		t.Skipf("this file system has no immutable files: %s", out)
	}
	t.Cleanup(func() { Run(t, "chattr", "-i", p) })
}

var faults = []fault{
	{"immutable file", func(t *testing.T, dir string) { Immutable(t, filepath.Join(dir, "z/last")) }, "/z/last"},
	{"immutable file to be removed", func(t *testing.T, dir string) { Immutable(t, filepath.Join(dir, "z/gone")) }, "/z/gone"},
	{"immutable directory", func(t *testing.T, dir string) { Immutable(t, filepath.Join(dir, "z")) }, "/z"},
	{"immutable directory whose mode changes", func(t *testing.T, dir string) {
		Immutable(t, filepath.Join(dir, "var/lib/rancher/k3s/server"))
	}, "/var/lib/rancher/k3s/server"},
	{"immutable file whose mode changes", func(t *testing.T, dir string) {
		Immutable(t, filepath.Join(dir, "etc/rancher/k3s/key"))
	}, "/etc/rancher/k3s/key"},
	{"mount point in what is to be removed", func(t *testing.T, dir string) {
		Mounted(t, filepath.Join(dir, "z/all/sub"), "-t", "tmpfs", "tmpfs")
		Lay(t, dir, "file /z/all/sub/theirs 0644 old")
	}, "/z/all/sub"},
	{"mounted file in what is to be removed", func(t *testing.T, dir string) {
		Mounted(t, filepath.Join(dir, "z/all/sub/b"), "--bind", filepath.Join(dir, "z/gone"))
	}, "/z/all/sub/b"},
	{"read-only file system", func(t *testing.T, dir string) {
		z := filepath.Join(dir, "z")
		Mounted(t, z, "--bind", z)
		Run(t, "mount", "-o", "remount,bind,ro", z)
	}, "/z/"},
	{"file that is a mount point", func(t *testing.T, dir string) {
		Mounted(t, filepath.Join(dir, "z/last"), "--bind", filepath.Join(dir, "z/gone"))
	}, "/z/last"},
	{"full disk", func(t *testing.T, dir string) {
		Mounted(t, filepath.Join(dir, "z"), "-t", "tmpfs", "-o", "size=8k", "tmpfs")
		Lay(t, dir, "file /z/last 0644 old", "file /z/gone 0644 old")
	}, "/z/last"},
	{"no inodes left", func(t *testing.T, dir string) {
		Mounted(t, filepath.Join(dir, "z"), "-t", "tmpfs", "-o", "nr_inodes=3", "tmpfs")
		Lay(t, dir, "file /z/last 0644 old", "file /z/gone 0644 old")
	}, "/z/"},
	{"file system without owners", func(t *testing.T, dir string) {
		image := filepath.Join(t.TempDir(), "fat")
		Run(t, "truncate", "-s", "1M", image)
		if out, err := exec.Command("mkfs.vfat", image).CombinedOutput(); err != nil {
			t.Skipf("no FAT file systems here: %s", out)
		}
		if err := exec.Command("mount", "-o", "loop", image, filepath.Join(dir, "z")).Run(); err != nil {
			t.Skip("this kernel has no FAT")
		}
		t.Cleanup(func() { Run(t, "umount", filepath.Join(dir, "z")) })
		Lay(t, dir, "file /z/last 0644 old", "file /z/gone 0644 old")
	}, "/z/last"},
}

// Faults breaks the file system in every way of faults.
func Faults(t *testing.T, target MakeTarget) {
	NeedRoot(t)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			dir := t.TempDir()
			at := target(t, dir)
			Lay(t, dir, FaultTree...)
			f.prepare(t, dir)
			before := Snapshot(t, dir)
			out, err := at.Apply(context.Background(), FaultChange, FaultQuery)
			require.ErrorContains(t, err, f.err)
			assert.Nil(t, out)
			assert.Equal(t, before, Snapshot(t, dir), "the tree is as before")
		})
	}
}

// Emptied makes sure that what something is mounted on is emptied.
func Emptied(t *testing.T, target MakeTarget) {
	NeedRoot(t)
	for kind, mount := range map[string]func(t *testing.T, dir string){
		"another file system": func(t *testing.T, dir string) { Mounted(t, dir, "-t", "tmpfs", "tmpfs") },
		"bind mount":          func(t *testing.T, dir string) { Mounted(t, dir, "--bind", t.TempDir()) },
	} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			at := target(t, dir)
			Lay(t, dir, "dir /c/all 0700", "file /c/stays 0644 y")
			mount(t, filepath.Join(dir, "c/all"))
			Lay(t, dir, "file /c/all/a 0644 x", "file /c/all/.b/c 0644 x", "file /c/all/..d 0644 x", "link /c/all/l ../stays", "file /c/all/\n/x 0644 x")
			change := node.Change{RemoveAll: []string{"/c/all"}}
			out, err := at.Apply(context.Background(), change, node.Query{{Path: "/c", Depth: node.Deep}})
			require.NoError(t, err)
			assert.Equal(t, []string{"/c/all"}, out.Changed)
			assert.Empty(t, out.Node.Below("/c/all"))
			left, err := os.ReadDir(filepath.Join(dir, "c/all"))
			require.NoError(t, err)
			assert.Empty(t, left)
			assert.NotContains(t, Snapshot(t, dir), node.StagingPrefix)
			out, err = at.Apply(context.Background(), change, nil)
			require.NoError(t, err)
			assert.Empty(t, out.Changed, "the second time nothing is different")
		})
	}
}

// Hardened makes sure that the tree at dir, which is at, is FaultTree after FaultChange, and
// that nothing else is left in it.
func Hardened(t *testing.T, dir string, at node.Target) {
	t.Helper()
	assert.NotContains(t, Snapshot(t, dir), node.StagingPrefix, "nothing is left")
	out, err := at.Apply(context.Background(), FaultChange, FaultQuery)
	require.NoError(t, err)
	assert.Empty(t, out.Changed, "everything is in place")
}

// State says whether the tree is as FaultTree, as after FaultChange, or
// neither, without looking at staging directories.
func State(t *testing.T, at node.Target) string {
	t.Helper()
	n, err := at.Read(context.Background(), FaultQuery)
	require.NoError(t, err)
	before, after := 0, 0
	for _, e := range FaultChange.Write {
		have, presence := n.Lookup(e.Path)
		if presence == node.Present && have.Mode == e.Mode && bytes.Equal(have.Data, e.Data) {
			after++
		}
	}
	for _, e := range Undoing.Write {
		have, presence := n.Lookup(e.Path)
		if presence == node.Present && have.Mode == e.Mode && bytes.Equal(have.Data, e.Data) {
			before++
		}
	}
	_, made := n.Lookup("/etc/rancher/k3s/new")
	_, kept := n.Lookup("/etc/rancher/k3s/config.yaml.orig")
	switch {
	case after == len(FaultChange.Write) && before == 0 && kept == node.Present:
		return "hardened"
	case before == len(Undoing.Write) && after == 0 && made == node.Absent && kept == node.Absent:
		return "as before"
	}
	return fmt.Sprintf("half-way: %d of %d done, %d of %d as before, copy %d", after, len(FaultChange.Write), before, len(Undoing.Write), kept)
}

// DiskKinds are the file systems whose power is cut.
var DiskKinds = []string{"ext4", "xfs", "btrfs"}
