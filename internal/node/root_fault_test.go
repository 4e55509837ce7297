//go:build linux

package node

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func TestRootFaults(t *testing.T) { testFaults(t, rootTarget) }

func TestRootReadBackFails(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	lay(t, dir, faultTree...)
	for i := range 17 {
		lay(t, dir, "file /z/big/"+string(rune('a'+i))+" 0600")
		require.NoError(t, os.Truncate(filepath.Join(dir, "z/big", string(rune('a'+i))), MaxFileSize))
	}
	before := snapshot(t, dir)
	_, err := Root(dir).Apply(context.Background(), faultChange, faultQuery)
	require.ErrorContains(t, err, "reading back")
	assert.Equal(t, before, snapshot(t, dir), "the tree is as before")
}

// killedEnv names the tree that this test binary is to change, again and
// again, until it is killed.
const killedEnv = "NODE_TEST_CHANGE_UNTIL_KILLED"

func TestRootKilled(t *testing.T) {
	if dir := os.Getenv(killedEnv); dir != "" {
		for {
			_, _ = Root(dir).Apply(context.Background(), faultChange, nil)
			_, _ = Root(dir).Apply(context.Background(), undoing, nil)
		}
	}
	needRoot(t)
	dir := t.TempDir()
	lay(t, dir, faultTree...)
	for i := range 40 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRootKilled$")
		cmd.Env = append(os.Environ(), killedEnv+"="+dir)
		require.NoError(t, cmd.Start())
		time.Sleep(time.Duration(20+3*i) * time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		_, err := Root(dir).Apply(context.Background(), faultChange, nil)
		require.NoError(t, err, "the next run ends")
		assert.NotContains(t, snapshot(t, dir), stagePrefix)
		out, err := Root(dir).Apply(context.Background(), faultChange, nil)
		require.NoError(t, err)
		assert.Empty(t, out.Changed, "and everything is in place")
	}
}

// undoing takes faultChange back, so that there is something to do again.
var undoing = Change{Write: []Entry{
	file("/etc/rancher/k3s/config.yaml", 0o644, "token: x"), file("/etc/sysctl.d/90-kubelet.conf", 0o644, "old"),
	directory("/var/lib/rancher/k3s/server", 0o755), file("/z/last", 0o644, "old"), file("/z/gone", 0o644, "old"),
}}
