//go:build linux

package node

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fault makes a file system refuse a change half-way, for real.
type fault struct {
	name string
	// prepare breaks the tree at dir, which holds faultTree.
	prepare func(t *testing.T, dir string)
	err     string
}

var faultTree = []string{
	"file /etc/rancher/k3s/config.yaml 0644 token: x", "file /etc/sysctl.d/90-kubelet.conf 0644 old",
	"dir /var/lib/rancher/k3s/server 0755", "file /z/last 0644 old", "file /z/gone 0644 old",
}

// faultChange touches every directory of faultTree; what the faults break
// comes last, when the rest is in place.
var faultChange = Change{
	Write: []Entry{
		file("/etc/rancher/k3s/config.yaml", 0o600, "protect-kernel-defaults: true\n"),
		file("/etc/rancher/k3s/new/sub/file", 0o600, "new"),
		file("/etc/sysctl.d/90-kubelet.conf", 0o600, "new"),
		directory("/var/lib/rancher/k3s/server", 0o700),
		directory("/var/lib/rancher/k3s/server/logs", 0o700),
		file("/z/last", 0o600, strings.Repeat("new\n", 2000)),
	},
	Keep:   map[string]string{"/etc/rancher/k3s/config.yaml": "/etc/rancher/k3s/config.yaml.orig"},
	Remove: []string{"/z/gone"},
}

// undoing takes faultChange back, so that there is something to do again.
var undoing = Change{Write: []Entry{
	file("/etc/rancher/k3s/config.yaml", 0o644, "token: x"), file("/etc/sysctl.d/90-kubelet.conf", 0o644, "old"),
	directory("/var/lib/rancher/k3s/server", 0o755), file("/z/last", 0o644, "old"), file("/z/gone", 0o644, "old"),
}}

var faultQuery = Query{{Path: "/etc", Depth: Deep, Content: true}, {Path: "/var", Depth: Deep, Content: true}, {Path: "/z", Depth: Deep, Content: true}}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
}

// mounted mounts something over dir for the length of the test.
func mounted(t *testing.T, dir string, args ...string) {
	t.Helper()
	run(t, "mount", append(args, dir)...)
	t.Cleanup(func() { run(t, "umount", dir) })
}

func immutable(t *testing.T, p string) {
	t.Helper()
	if out, err := exec.Command("chattr", "+i", p).CombinedOutput(); err != nil {
		t.Skipf("this file system has no immutable files: %s", out)
	}
	t.Cleanup(func() { run(t, "chattr", "-i", p) })
}

var faults = []fault{
	{"immutable file", func(t *testing.T, dir string) { immutable(t, filepath.Join(dir, "z/last")) }, "/z/last"},
	{"immutable file to be removed", func(t *testing.T, dir string) { immutable(t, filepath.Join(dir, "z/gone")) }, "/z/gone"},
	{"immutable directory", func(t *testing.T, dir string) { immutable(t, filepath.Join(dir, "z")) }, " /z"},
	{"immutable directory whose mode changes", func(t *testing.T, dir string) {
		immutable(t, filepath.Join(dir, "var/lib/rancher/k3s/server"))
	}, "/var/lib/rancher/k3s/server"},
	{"read-only file system", func(t *testing.T, dir string) {
		z := filepath.Join(dir, "z")
		mounted(t, z, "--bind", z)
		run(t, "mount", "-o", "remount,bind,ro", z)
	}, "/z/"},
	{"file that is a mount point", func(t *testing.T, dir string) {
		mounted(t, filepath.Join(dir, "z/last"), "--bind", filepath.Join(dir, "z/gone"))
	}, "/z/last"},
	{"full disk", func(t *testing.T, dir string) {
		mounted(t, filepath.Join(dir, "z"), "-t", "tmpfs", "-o", "size=8k", "tmpfs")
		lay(t, dir, "file /z/last 0644 old", "file /z/gone 0644 old")
	}, "/z/last"},
	{"no inodes left", func(t *testing.T, dir string) {
		mounted(t, filepath.Join(dir, "z"), "-t", "tmpfs", "-o", "nr_inodes=3", "tmpfs")
		lay(t, dir, "file /z/last 0644 old", "file /z/gone 0644 old")
	}, "/z/"},
	{"file system without owners", func(t *testing.T, dir string) {
		image := filepath.Join(t.TempDir(), "fat")
		run(t, "truncate", "-s", "1M", image)
		if out, err := exec.Command("mkfs.vfat", image).CombinedOutput(); err != nil {
			t.Skipf("no FAT file systems here: %s", out)
		}
		if err := exec.Command("mount", "-o", "loop", image, filepath.Join(dir, "z")).Run(); err != nil {
			t.Skip("this kernel has no FAT")
		}
		t.Cleanup(func() { run(t, "umount", filepath.Join(dir, "z")) })
		lay(t, dir, "file /z/last 0644 old", "file /z/gone 0644 old")
	}, "/z/last"},
}

// testFaults breaks the file system in every way of faults.
func testFaults(t *testing.T, target makeTarget) {
	needRoot(t)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			dir := t.TempDir()
			at := target(t, dir)
			lay(t, dir, faultTree...)
			f.prepare(t, dir)
			before := snapshot(t, dir)
			out, err := at.Apply(context.Background(), faultChange, faultQuery)
			require.ErrorContains(t, err, f.err)
			assert.Nil(t, out)
			assert.Equal(t, before, snapshot(t, dir), "the tree is as before")
		})
	}
}

// hardened makes sure that the tree at dir, which is at, is faultTree after faultChange, and
// that nothing else is left in it.
func hardened(t *testing.T, dir string, at Target) {
	t.Helper()
	assert.NotContains(t, snapshot(t, dir), stagePrefix, "nothing is left")
	out, err := at.Apply(context.Background(), faultChange, faultQuery)
	require.NoError(t, err)
	assert.Empty(t, out.Changed, "everything is in place")
}

// state says whether the tree is as faultTree, as after faultChange, or
// neither, without looking at staging directories.
func state(t *testing.T, at Target) string {
	t.Helper()
	n, err := at.Read(context.Background(), faultQuery)
	require.NoError(t, err)
	before, after := 0, 0
	for _, e := range faultChange.Write {
		have, presence := n.Lookup(e.Path)
		if presence == Present && have.Mode == e.Mode && bytes.Equal(have.Data, e.Data) {
			after++
		}
	}
	for _, e := range undoing.Write {
		have, presence := n.Lookup(e.Path)
		if presence == Present && have.Mode == e.Mode && bytes.Equal(have.Data, e.Data) {
			before++
		}
	}
	_, made := n.Lookup("/etc/rancher/k3s/new")
	_, kept := n.Lookup("/etc/rancher/k3s/config.yaml.orig")
	switch {
	case after == len(faultChange.Write) && before == 0 && kept == Present:
		return "hardened"
	case before == len(undoing.Write) && after == 0 && made == Absent && kept == Absent:
		return "as before"
	}
	return fmt.Sprintf("half-way: %d of %d done, %d of %d as before, copy %d", after, len(faultChange.Write), before, len(undoing.Write), kept)
}

// diskKinds are the file systems whose power is cut.
var diskKinds = []string{"ext4", "xfs", "btrfs"}
