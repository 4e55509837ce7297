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
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/tree"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

const deadParent = "TREE_TEST_DEAD_PARENT"

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

const unit = "[Service]\nExecStart=/usr/local/bin/k3s server\nEnvironment=FROM_UNIT=yes\n"

const policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: mine, namespace: kube-system}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n"

const account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\nautomountServiceAccountToken: false\n"

// newTree makes a small node with the launcher as its K3s.
func newTree(t *testing.T, misbehave ...string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"/etc/systemd/system/k3s.service":                         unit,
		"/etc/rancher/k3s/config.yaml":                            "secrets-encryption: true\n",
		"/var/lib/rancher/k3s/server/manifests/mine.yaml":         policy,
		"/var/lib/rancher/k3s/server/manifests/mine-account.yaml": account,
	} {
		at := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, []byte(text), 0o600))
	}
	launchertest.Install(t, root, misbehave...)
	return root
}

var subject = rehearsal.Subject{
	AddOns: []string{"mine", "mine-account"}, Policies: []string{"kube-system/mine"}, Accounts: []string{"default"}, Namespaces: []string{"default", "kube-public"},
	Files: node.Query{{Path: "/var/lib/rancher/k3s/server/tls", Depth: node.Deep}, {Path: "/var/lib/rancher/k3s/server/logs/audit.log"}, {Path: "/var/lib/cni/networks", Depth: node.Deep}, {Path: "/etc/rancher/k3s/config.yaml", Content: true}},
}

func request(t *testing.T, root string, timeout time.Duration) *rehearsal.Request {
	t.Helper()
	release, err := k3s.ParseRelease("v1.36.3+k3s1")
	require.NoError(t, err)
	n, err := rootfs.At(root).Read(t.Context(), k3s.Query(k3s.Server, ""))
	require.NoError(t, err)
	e, err := k3s.Resolve(n, release, k3s.Server)
	require.NoError(t, err)
	r, err := rehearsal.New(e, e.Program, subject, timeout, false)
	require.NoError(t, err)
	r.Settle = 1500 * time.Millisecond
	return r
}

func TestRehearsal(t *testing.T) {
	asRoot(t)
	root := newTree(t)
	before, host := fingerprint(t, root), hostState(t)
	seen, err := tree.Run(t.Context(), root, request(t, root, time.Minute), false)
	require.NoError(t, err)

	assert.True(t, seen.Up, "%v", seen.Log)
	assert.Less(t, seen.UpAfter, 10*time.Second)
	assert.Empty(t, seen.Exited)
	assert.False(t, seen.Full)
	assert.Empty(t, seen.Traces)
	assert.Len(t, seen.Started, 3, "the agent's components do not run")
	for _, name := range []string{rehearsal.AskReady, rehearsal.AskAddOns, rehearsal.AskEvents, rehearsal.AskPolicies, rehearsal.AskAccounts, rehearsal.AskSecret} {
		assert.True(t, seen.Answers[name].Found, "%s: %+v", name, seen.Answers[name])
	}
	for _, ns := range subject.Namespaces {
		assert.True(t, seen.Answers[rehearsal.AskPrivileged+ns].Refused(), "%+v", seen.Answers)
		assert.True(t, seen.Answers[rehearsal.AskRestricted+ns].Admitted(), "%+v", seen.Answers)
	}
	assert.Equal(t, rehearsal.Stored{Looked: true, Key: true, Providers: []string{"aescbc"}}, seen.Stored)
	key, presence := seen.Node.Lookup("/var/lib/rancher/k3s/server/tls/etcd/client.key")
	assert.Equal(t, node.Present, presence)
	assert.Equal(t, fs.FileMode(0o600), key.Mode)
	_, presence = seen.Node.Lookup("/var/lib/cni/networks")
	assert.Equal(t, node.Absent, presence)
	config, _ := seen.Node.Lookup("/etc/rancher/k3s/config.yaml")
	assert.Equal(t, "secrets-encryption: true\n", string(config.Data))

	assert.Equal(t, before, fingerprint(t, root), "the tree is as it was")
	assert.Equal(t, host, hostState(t), "the host is as it was")
}

func TestMisbehavingK3s(t *testing.T) {
	asRoot(t)
	for misbehave, check := range map[string]func(*testing.T, *rehearsal.Observation){
		"exit": func(t *testing.T, o *rehearsal.Observation) {
			assert.Equal(t, "status 1", o.Exited)
			assert.False(t, o.Up)
			assert.Empty(t, o.Answers)
		},
		"hang": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Late)
			assert.False(t, o.Up)
			assert.GreaterOrEqual(t, o.LateAfter, 3*time.Second)
		},
		"dies": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Up)
			assert.Equal(t, "status 3", o.Exited)
		},
		"argument": func(t *testing.T, o *rehearsal.Observation) {
			assert.Contains(t, o.Started[k3s.APIServer], k3s.Argument{Name: "audit-log-maxage", Value: "3", Origin: k3s.Origin{Source: "log of K3s"}})
		},
		"certificate": func(t *testing.T, o *rehearsal.Observation) {
			e, _ := o.Node.Lookup("/var/lib/rancher/k3s/server/tls/serving-kube-apiserver.key")
			assert.Equal(t, fs.FileMode(0o666), e.Mode)
		},
		"admit": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Answers["privileged-default"].Admitted())
		},
		"refuse": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Answers["restricted-default"].Refused())
		},
		"no-account": func(t *testing.T, o *rehearsal.Observation) {
			a := o.Answers["privileged-default"]
			assert.False(t, a.Refused() || a.Admitted() || a.Found, "refused for another reason: %+v", a)
		},
		"clear": func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Stored.Clear && o.Stored.Key) },
		"fill":  func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Full) },
		"silent": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Up)
			assert.False(t, o.Answers[rehearsal.AskReady].Found)
			assert.Equal(t, 1, o.Answers[rehearsal.AskReady].Status)
		},
		"stuck": func(t *testing.T, o *rehearsal.Observation) {
			assert.True(t, o.Up)
			assert.Empty(t, o.Answers)
		},
		"forks": func(t *testing.T, o *rehearsal.Observation) { assert.True(t, o.Up) },
		"host": func(t *testing.T, o *rehearsal.Observation) {
			for _, line := range o.Log {
				assert.NotContains(t, line, "wrote ")
				assert.NotContains(t, line, "mounted")
				assert.NotContains(t, line, "could not write")
			}
		},
	} {
		t.Run(misbehave, func(t *testing.T) {
			root := newTree(t, misbehave)
			before, host := fingerprint(t, root), hostState(t)
			r := request(t, root, 3*time.Second)
			r.Scratch = 64 << 20
			seen, err := tree.Run(t.Context(), root, r, false)
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
	seen, err := tree.Run(t.Context(), root, r, false)
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
	_, err := tree.Run(ctx, root, request(t, root, time.Minute), false)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(began), 5*time.Second)
	assert.Equal(t, host, hostState(t))
}

// rehearseForever is what a plugin does that is killed.
func rehearseForever(root string) {
	n, _ := rootfs.At(root).Read(context.Background(), k3s.Query(k3s.Server, ""))
	release, _ := k3s.ParseRelease("v1.36.3+k3s1")
	e, _ := k3s.Resolve(n, release, k3s.Server)
	r, _ := rehearsal.New(e, e.Program, subject, time.Hour, false)
	if _, err := tree.Run(context.Background(), root, r, false); err != nil {
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
	for i := range moments {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^$")
		cmd.Env = append(os.Environ(), deadParent+"="+root)
		require.NoError(t, cmd.Start())
		time.Sleep(time.Duration(i) * 400 * time.Millisecond / time.Duration(moments))
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		assert.Eventually(t, func() bool { return hostState(t) == host }, 5*time.Second, 20*time.Millisecond, "killed at moment %d", i)
	}
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
		_, err = tree.Run(t.Context(), root, request(t, root, time.Minute), false)
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
		_, err := tree.Run(t.Context(), root, r, false)
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
	for _, p := range processes {
		program, _ := os.Readlink(p)
		words, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "cmdline"))
		if program == "/usr/local/bin/k3s" || strings.HasPrefix(string(words), "packer-k3s-rehearsal") || strings.HasPrefix(string(words), "/usr/local/bin/k3s") {
			out = append(out, "runs: "+string(words))
		}
	}
	return strings.Join(out, "\n")
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
	seen, err := tree.Run(t.Context(), "/proc/"+strconv.Itoa(cmd.Process.Pid)+"/root"+at, r, false)
	require.NoError(t, err)
	assert.True(t, seen.Up, "%v", seen.Log)
	assert.True(t, seen.Answers[rehearsal.AskPolicies].Found, "what is mounted below the tree is a part of it")
	assert.Empty(t, seen.Traces)
	assert.Equal(t, before, fingerprint(t, root))
}
