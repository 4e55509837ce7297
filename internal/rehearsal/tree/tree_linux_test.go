package tree_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/tree"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

const (
	deadParent = "TREE_TEST_DEAD_PARENT"
	ofTest     = "TREE_TEST_OF"
)

func TestMain(m *testing.M) {
	tree.Dispatch()
	if root := os.Getenv(deadParent); root != "" {
		rehearseForever(root)
	}
	os.Exit(m.Run())
}

func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// newTree makes a small node with the launcher as its K3s.
func newTree(t *testing.T, misbehave ...string) string {
	t.Helper()
	root := t.TempDir()
	launchertest.LayNode(t, root)
	launchertest.Install(t, root, misbehave...)
	return root
}

func request(t *testing.T, root string, timeout time.Duration) *rehearsal.Request {
	t.Helper()
	r := launchertest.Request(t, root, timeout, false)
	r.Environment = append(r.Environment, ofThisTest())
	return r
}

func TestRehearsal(t *testing.T) {
	asRoot(t)
	for name, n := range map[string]launchertest.Node{"SQLite": launchertest.OnSQLite, "etcd": launchertest.OnEtcd, "a datastore elsewhere": launchertest.External} {
		t.Run(name, func(t *testing.T) {
			root := newTree(t)
			n.Lay(t, root)
			before, host := fingerprint(t, root), hostState(t)
			r := n.Request(t, root, time.Minute, false)
			r.Environment = append(r.Environment, ofThisTest())
			seen, err := tree.Run(t.Context(), root, r)
			require.NoError(t, err)

			launchertest.RequireFirstStart(t, seen, false)
			n.RequireArguments(t, root, r, seen)
			assert.Equal(t, before, fingerprint(t, root), "the tree is as it was")
			assert.Equal(t, host, hostState(t), "the host is as it was")
		})
	}
}

// An agent judges this host's kernel in a tree.
func TestAgentInTree(t *testing.T) {
	asRoot(t)
	root := newTree(t)
	launchertest.Agent.Lay(t, root)
	_, err := tree.Run(t.Context(), root, launchertest.Agent.Request(t, root, time.Minute, true))
	var u *rehearsal.Unavailable
	require.ErrorAs(t, err, &u)
	assert.Contains(t, u.Error(), "the image's own kernel")
}

// What cannot be laid below a scratch, as a third overlay cannot, is read-only where
// K3s writes nothing, and refuses the rehearsal where it does.
func TestLayersThatAreRefused(t *testing.T) {
	asRoot(t)
	stacked := func(t *testing.T, at string) string {
		t.Helper()
		root, other := newTree(t), t.TempDir()
		low, one, at := filepath.Join(other, "low"), filepath.Join(other, "one"), filepath.Join(root, at)
		for _, dir := range []string{low, one, at} {
			require.NoError(t, os.MkdirAll(dir, 0o755))
		}
		for _, m := range [][2]string{{one, low + ":/etc"}, {at, one + ":" + low}} {
			require.NoError(t, syscall.Mount("overlay", m[0], "overlay", 0, "lowerdir="+m[1]))
			t.Cleanup(func() { assert.NoError(t, syscall.Unmount(m[0], 0)) })
		}
		return root
	}
	root := stacked(t, "/boot/efi")
	seen, err := tree.Run(t.Context(), root, request(t, root, time.Minute))
	require.NoError(t, err)
	launchertest.RequireFirstStart(t, seen, false)

	for _, at := range []string{"/var/lib/rancher", "/var/lib/kubelet/pods"} {
		root = stacked(t, at)
		_, err = tree.Run(t.Context(), root, request(t, root, time.Minute))
		var refused *rehearsal.Refused
		require.ErrorAs(t, err, &refused, at)
		assert.Contains(t, refused.Words, "laying "+at+" below a scratch: ")
	}
}

func TestMisbehavingK3s(t *testing.T) {
	asRoot(t)
	for misbehave, check := range launchertest.Misbehaviours() {
		t.Run(misbehave, func(t *testing.T) {
			root := newTree(t, misbehave)
			before, host := fingerprint(t, root), hostState(t)
			r := request(t, root, 3*time.Second)
			r.Scratch = 64 << 20
			seen, err := tree.Run(t.Context(), root, r)
			require.NoError(t, err)
			check(t, seen)
			assert.Equal(t, before, fingerprint(t, root), "the tree is as it was")
			assert.Equal(t, host, hostState(t), "the host is as it was")
		})
	}
}

// TestTraceIsFound makes sure that what a rehearsal leaves would be seen.
func TestTraceIsFound(t *testing.T) {
	asRoot(t)
	root := newTree(t)
	r := request(t, root, time.Minute)
	r.Traces = []string{"/etc/rancher"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			_ = os.WriteFile(filepath.Join(root, "etc/rancher", strconv.Itoa(i)), nil, 0o600)
			time.Sleep(50 * time.Millisecond)
		}
	}()
	seen, err := tree.Run(t.Context(), root, r)
	require.NoError(t, err)
	assert.NotEmpty(t, seen.Traces)
}

func TestCancelled(t *testing.T) {
	asRoot(t)
	root := newTree(t, "hang", "forks")
	host := hostState(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	_, err := tree.Run(ctx, root, request(t, root, time.Minute))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(began), 5*time.Second)
	assert.Equal(t, host, hostState(t))
}

// rehearseForever is what a plugin does that is killed.
func rehearseForever(root string) {
	n, _ := rootfs.At(root).Read(context.Background(), k3s.Query(k3s.Server, ""))
	release, _ := k3s.ParseRelease("v1.36.3+k3s1")
	e, _ := k3s.Resolve(n, release, k3s.Server)
	r, _ := rehearsal.New(e, e.Program, rehearsal.Subject{}, time.Hour, false)
	r.Environment = append(r.Environment, ofThisTest())
	if _, err := tree.Run(context.Background(), root, r); err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
}

// TestKilled kills the plugin, at several moments: nothing runs on and nothing
// stays mounted.
func TestKilled(t *testing.T) {
	asRoot(t)
	root := newTree(t, "hang", "forks")
	before, host := fingerprint(t, root), hostState(t)
	moments := 5
	if os.Getenv("PACKER_ACC") != "" {
		moments = 20
	}
	ran := false
	for i := range moments {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^$")
		cmd.Env = append(os.Environ(), deadParent+"="+root, ofThisTest())
		require.NoError(t, cmd.Start())
		time.Sleep(time.Duration(i) * 400 * time.Millisecond / time.Duration(moments))
		ran = ran || strings.Contains(hostState(t), "/usr/local/bin/k3s")
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		assert.Eventually(t, func() bool { return hostState(t) == host }, 5*time.Second, 20*time.Millisecond, "killed at moment %d", i)
	}
	assert.True(t, ran, "K3s was killed at no moment")
	assert.Equal(t, before, fingerprint(t, root))
}

// TestParentKilled kills what has started the plugin, as Packer does: nobody waits for
// the rehearsal any more, and it ends.
func TestParentKilled(t *testing.T) {
	asRoot(t)
	root := newTree(t, "hang", "forks")
	before, host := fingerprint(t, root), hostState(t)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `"$0" "$1" & wait`, "/proc/self/exe", "-test.run=^$")
	program, err := os.Executable()
	require.NoError(t, err)
	cmd.Args[3] = program
	cmd.Env = append(os.Environ(), deadParent+"="+root, ofThisTest())
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return strings.Contains(hostState(t), "/usr/local/bin/k3s") }, 20*time.Second, 20*time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	assert.Eventually(t, func() bool { return hostState(t) == host }, 10*time.Second, 20*time.Millisecond)
	assert.Equal(t, host, hostState(t))
	assert.Equal(t, before, fingerprint(t, root))
}

func TestUnavailable(t *testing.T) {
	asRoot(t)
	lacks := func(t *testing.T, err error) string {
		t.Helper()
		var u *rehearsal.Unavailable
		require.ErrorAs(t, err, &u)
		return u.Error()
	}
	t.Run("foreign architecture", func(t *testing.T) {
		root := newTree(t)
		at := filepath.Join(root, "usr/local/bin/k3s")
		data, err := os.ReadFile(at)
		require.NoError(t, err)
		data[18], data[19] = 0x16, 0 // e_machine: s390
		require.NoError(t, os.WriteFile(at, data, 0o755))
		_, err = tree.Run(t.Context(), root, request(t, root, time.Minute))
		assert.Contains(t, lacks(t, err), "a host of the image's architecture: /usr/local/bin/k3s is for s390, and this host is")
	})
	t.Run("ordinary container", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), "setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "/proc/self/exe", "-test.run=^$")
		program, err := os.Executable()
		require.NoError(t, err)
		cmd.Args[3] = program
		cmd.Env = append(os.Environ(), deadParent+"="+newTree(t))
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		assert.Contains(t, string(out), "the right to make namespaces (CAP_SYS_ADMIN): root has it, in an ordinary container it does not")
	})
	t.Run("no program", func(t *testing.T) {
		root := newTree(t)
		r := request(t, root, time.Minute)
		require.NoError(t, os.Remove(filepath.Join(root, "usr/local/bin/k3s")))
		_, err := tree.Run(t.Context(), root, r)
		require.ErrorContains(t, err, "/usr/local/bin/k3s cannot be started")
	})
}

// fingerprint is all that a tree is: paths, modes, owners, times and content.
func fingerprint(t *testing.T, root string) string {
	t.Helper()
	sum := sha256.New()
	require.NoError(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, _ := info.Sys().(*syscall.Stat_t)
		_, _ = io.WriteString(sum, strings.Join([]string{p, info.Mode().String(), strconv.Itoa(int(st.Uid)), info.ModTime().String(), strconv.FormatInt(st.Ctim.Nano(), 10)}, "\x00"))
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(p)
			_, _ = sum.Write(data)
			return err
		}
		return nil
	}))
	return hex.EncodeToString(sum.Sum(nil))
}

// hostState is what a rehearsal may not change of this host.
func hostState(t *testing.T) string {
	t.Helper()
	// Other tests mount too, and what they have mounted is theirs.
	var out []string
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "upperdir=/tmp/upper") || strings.Contains(line, "/tmp tmpfs ") {
			out = append(out, line)
		}
	}
	for _, p := range []string{"/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/panic", "/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "/proc/net/route"} {
		data, err := os.ReadFile(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			require.NoError(t, err)
		}
		out = append(out, p, string(data))
	}
	processes, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(t, err)
	own, err := os.Executable()
	require.NoError(t, err)
	for _, p := range processes {
		program, _ := os.Readlink(p)
		words, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "cmdline"))
		variables, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "environ"))
		// Other tests rehearse at the same time, and what runs of theirs is theirs.
		if program == own && strings.HasPrefix(string(words), "packer-k3s-rehearsal") || strings.Contains(string(variables), ofThisTest()) {
			out = append(out, "runs: "+string(words))
		}
	}
	return strings.Join(out, "\n")
}

// ofThisTest is a variable of all that K3s and its asks are in these tests.
func ofThisTest() string {
	of := os.Getenv(ofTest)
	if of == "" {
		of = strconv.Itoa(os.Getpid())
	}
	return ofTest + "=" + of
}

// TestTreeOfAnotherProcess rehearses a tree that another process has mounted for
// itself alone, with a file system of its own below it, as the builder does.
func TestTreeOfAnotherProcess(t *testing.T) {
	asRoot(t)
	root, at := newTree(t), t.TempDir()
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", `mount --bind "$1" "$2" && mount --bind "$1/var" "$2/var" && echo mounted && exec cat`, "sh", root, at)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = stdin.Close(); _ = cmd.Wait() }()
	ready := make([]byte, len("mounted\n"))
	_, err = io.ReadFull(stdout, ready)
	require.NoError(t, err)

	before := fingerprint(t, root)
	r := request(t, root, time.Minute)
	seen, err := tree.Run(t.Context(), "/proc/"+strconv.Itoa(cmd.Process.Pid)+"/root"+at, r)
	require.NoError(t, err)
	assert.True(t, seen.Up, "%v", seen.Log)
	assert.True(t, seen.Answers[rehearsal.AskPolicies].Found, "what is mounted below the tree is a part of it")
	assert.Empty(t, seen.Traces)
	assert.Equal(t, before, fingerprint(t, root))
}
