package remote

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// template is a wrapper that puts the command where %s is.
func template(s string) func(string) (string, error) {
	return func(command string) (string, error) { return strings.ReplaceAll(s, "%s", command), nil }
}

func TestWays(t *testing.T) {
	cases := []struct {
		name     string
		flavor   string
		prepare  func(*chrootComm)
		wrap     string
		way      string
		commands int
		uploads  int
		err      string
	}{
		{name: "stdin", flavor: "dash", way: wayStdin, commands: 1},
		{name: "stdin is not passed on", flavor: "dash", prepare: func(c *chrootComm) { c.noStdin = true }, way: wayUpload, commands: 3, uploads: 1},
		{name: "stdin is not passed on to a shell", flavor: "dash", prepare: func(c *chrootComm) { c.noStdin = true }, wrap: "sh '%s'", way: wayUpload, commands: 3, uploads: 1},
		{name: "no tar", flavor: "notar", way: wayUpload, commands: 2},
		{name: "plain prefix", flavor: "dash", wrap: "env A=b %s", way: wayStdin, commands: 1},
		{name: "command alone", flavor: "dash", wrap: "%s", way: wayStdin, commands: 1},
		{name: "password on stdin", flavor: "dash", wrap: "echo hunter2 | cat - >/dev/null; %s", way: wayUpload, commands: 1},
		{name: "as for shell provisioners", flavor: "dash", wrap: "chmod +x %s; env A=b %s", way: wayUpload, commands: 1},
		{name: "quoted in a shell", flavor: "dash", wrap: "sh -c 'A=b %s'", way: wayUpload, commands: 1},
		{name: "path of a shell", flavor: "dash", wrap: "bash '%s'", way: wayUpload, commands: 1},
		{name: "noexec /tmp", flavor: "dash", prepare: func(c *chrootComm) { c.enter = "mount --bind tmp tmp; mount -o remount,bind,noexec tmp" }, wrap: "sh -c 'A=b %s'", way: wayUpload, commands: 2},
		{name: "noexec everywhere", flavor: "dash", prepare: func(c *chrootComm) {
			c.enter = "mkdir -p run; mount -t tmpfs -o noexec tmpfs run; mount --bind tmp tmp; mount -o remount,bind,noexec tmp"
		}, way: wayStdin, commands: 1},
		{name: "a communicator that only says it did", flavor: "dash", prepare: func(c *chrootComm) { c.lie = true }, commands: 1, err: "no answer came back although the command ended with status 0"},
		{name: "no rights", flavor: "dash", wrap: "setpriv --reuid 65534 --clear-groups %s", commands: 1, err: "execute_command does not give them"},
		{name: "a wrapper that fails", flavor: "dash", wrap: "sh -c 'echo hunter2 is wrong >/dev/stderr; exit 3' hunter2 %s", commands: 2, err: "ended with status 3; it said: … … …"},
		{name: "read-only file system", flavor: "dash", prepare: func(c *chrootComm) { c.enter = "mount --rbind . /mnt; mount -o remount,bind,ro /mnt; cd /mnt" }, commands: 1, err: "no directory can be made"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			comm := newChroot(t, dir, c.flavor)
			nodetest.Lay(t, dir, nodetest.FaultTree...)
			if c.prepare != nil {
				c.prepare(comm)
			}
			var log []string
			opt := Options{Log: func(s string) { log = append(log, s) }}
			if c.wrap != "" {
				opt.Wrap = template(c.wrap)
			}
			before := nodetest.Snapshot(t, dir)
			out, err := New(comm, opt).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
			assert.Len(t, comm.uploads, c.uploads)
			assert.NotContains(t, strings.Join(log, "\n"), "hunter2")
			left, globErr := filepath.Glob(filepath.Join(dir, "tmp", "*"))
			require.NoError(t, globErr)
			assert.Empty(t, left, "nothing stays where the request was uploaded to")
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				assert.NotContains(t, err.Error(), "hunter2")
				assert.Equal(t, before, nodetest.Snapshot(t, dir), "the tree is as before")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.way, out.Way)
			assert.Contains(t, strings.Join(log, "\n"), c.way)
			assert.Len(t, comm.commands, c.commands)
			nodetest.Hardened(t, dir, rootfs.At(dir))
		})
	}
}

func TestCommandHasNothingToExpand(t *testing.T) {
	large := installing(&node.Source{Size: 1 << 30}, &node.Source{Size: 1 << 20})
	odd := installing(&node.Source{Size: 1}, &node.Source{Size: 1})
	odd.Write[1].Path = "/opt/$(reboot)/`x`\"\\/k3s"
	for _, wrap := range []func(string) (string, error){nil, template("%s"), template("sudo -n %s")} {
		for _, c := range []*node.Change{&nodetest.FaultChange, &large, &odd} {
			j := newJob(c, nodetest.FaultQuery, Options{})
			archive, _, err := j.archive()
			require.NoError(t, err)
			command, ok := New(nil, Options{Wrap: wrap}).streamCommand(j, archive.onDisk())
			require.True(t, ok)
			assert.NotContains(t, command, "\n")
			assert.False(t, strings.ContainsAny(command, "$`\"\\"), command)
		}
	}
}

// cutReader ends after so many bytes.
type cutReader struct {
	packersdk.Communicator
	after int64
}

func (c cutReader) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	if cmd.Stdin != nil {
		cmd.Stdin = io.LimitReader(cmd.Stdin, c.after)
	}
	return c.Communicator.Start(ctx, cmd)
}

func TestRequestCutOff(t *testing.T) {
	dir := t.TempDir()
	comm := newChroot(t, dir, "dash")
	nodetest.Lay(t, dir, nodetest.FaultTree...)
	before := nodetest.Snapshot(t, dir)
	parts, _, err := newJob(&nodetest.FaultChange, nodetest.FaultQuery, Options{}).archive()
	require.NoError(t, err)
	archive, err := io.ReadAll(parts.read(nil))
	require.NoError(t, err)
	// The last member is complete before the padding of the archive.
	end := bytes.LastIndex(archive, []byte("end\x00"))
	// Less than the first member looks as if nothing had been passed on.
	for k := 4096; k < end; k += 1024 {
		_, err := New(cutReader{comm, int64(k)}, Options{}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
		require.ErrorContains(t, err, "did not arrive whole", "cut after %d bytes", k)
		require.Equal(t, before, nodetest.Snapshot(t, dir), "cut after %d bytes", k)
	}
}

// cutWriter drops what comes after so many bytes.
type cutWriter struct {
	w    io.Writer
	left int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	n := min(c.left, len(p))
	c.left -= n
	if n > 0 {
		if _, err := c.w.Write(p[:n]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func TestAnswerCutOff(t *testing.T) {
	dir := t.TempDir()
	comm := newChroot(t, dir, "dash")
	nodetest.Lay(t, dir, nodetest.FaultTree...)
	var whole bytes.Buffer
	comm.tamper = func(w io.Writer) io.Writer { return io.MultiWriter(w, &whole) }
	_, err := New(comm, Options{}).Read(context.Background(), nodetest.FaultQuery)
	require.NoError(t, err)
	size := whole.Len()
	require.Greater(t, size, 10_000)
	for k := 0; k < size; k += 509 {
		comm.tamper = func(w io.Writer) io.Writer { return &cutWriter{w, k} }
		_, err := New(comm, Options{}).Read(context.Background(), nodetest.FaultQuery)
		require.Error(t, err, "cut after %d of %d bytes", k, size)
	}
	comm.tamper = func(w io.Writer) io.Writer { return &cutWriter{w, size - 1} }
	_, err = New(comm, Options{}).Read(context.Background(), nodetest.FaultQuery)
	require.Error(t, err)
}

func TestCancelled(t *testing.T) {
	dir := t.TempDir()
	comm := newChroot(t, dir, "dash")
	nodetest.Lay(t, dir, nodetest.FaultTree...)
	before := nodetest.Snapshot(t, dir)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := New(comm, Options{}).Apply(ctx, nodetest.FaultChange, nodetest.FaultQuery)
	require.ErrorIs(t, err, context.Canceled)
	time.Sleep(300 * time.Millisecond)
	assert.Equal(t, before, nodetest.Snapshot(t, dir))
}

// TestEarlyAnswer: an answer counts as soon as it is whole; what goes on on the
// machine then is waited for.
func TestEarlyAnswer(t *testing.T) {
	dir := t.TempDir()
	comm := newChroot(t, dir, "dash")
	nodetest.Lay(t, dir, nodetest.FaultTree...)
	held := filepath.Join(t.TempDir(), "held")
	require.NoError(t, os.WriteFile(held, nil, 0o600))
	comm.enter = `chroot . /bin/sh -c "$4"; while [ -e ` + held + ` ]; do sleep 0.1; done; exit`
	machine := New(comm, Options{Early: true, Timeout: time.Minute})
	out, err := machine.Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
	require.NoError(t, err, "the answer waits for the command's end")
	assert.NotEmpty(t, out.Changed)
	var released atomic.Bool
	go func() {
		time.Sleep(200 * time.Millisecond)
		released.Store(true)
		_ = os.Remove(held)
	}()
	machine.Settle(context.Background())
	assert.True(t, released.Load(), "the command has ended")
	nodetest.Hardened(t, dir, rootfs.At(dir))
}

func TestTimeoutOnTheMachine(t *testing.T) {
	for _, flavor := range []string{"dash", "busybox"} {
		t.Run(flavor, func(t *testing.T) {
			dir := t.TempDir()
			comm := newChroot(t, dir, flavor)
			nodetest.Lay(t, dir, nodetest.FaultTree...)
			nodetest.Lay(t, dir, "file /opt/bin/k3s 0755 #!/bin/sh\nexec sleep 30\n")
			before := nodetest.Snapshot(t, dir)
			started := time.Now()
			_, err := New(comm, Options{Timeout: 2 * time.Second, K3sVersion: true}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
			require.ErrorContains(t, err, "timeout")
			assert.Less(t, time.Since(started), 15*time.Second)
			assert.Equal(t, before, nodetest.Snapshot(t, dir))
		})
	}
}

func TestK3sVersion(t *testing.T) {
	dir := t.TempDir()
	comm := newChroot(t, dir, "dash")
	nodetest.Lay(t, dir, "file /opt/bin/k3s 0755 #!/bin/sh\necho k3s version v1.36.3+k3s1 '(abc)'\necho go version go1.26\n")
	n, err := New(comm, Options{K3sVersion: true}).Read(context.Background(), node.Query{{Path: "/opt"}})
	require.NoError(t, err)
	assert.Equal(t, "k3s version v1.36.3+k3s1 (abc)", n.K3sVersion)
	n, err = New(comm, Options{}).Read(context.Background(), node.Query{{Path: "/opt"}})
	require.NoError(t, err)
	assert.Empty(t, n.K3sVersion, "nothing is run that was not asked for")
}

func TestSecretsNotAskedForStay(t *testing.T) {
	dir := t.TempDir()
	comm := newChroot(t, dir, "dash")
	nodetest.Lay(t, dir, "file /c/token 0600 hunter2")
	var all bytes.Buffer
	comm.tamper = func(w io.Writer) io.Writer { return io.MultiWriter(w, &all) }
	_, err := New(comm, Options{}).Read(context.Background(), node.Query{{Path: "/c", Depth: node.Deep}})
	require.NoError(t, err)
	assert.Contains(t, all.String(), "/c/token")
	assert.NotContains(t, all.String(), "hunter2")
}

func TestVerify(t *testing.T) {
	q := node.Query{{Path: "/c", Depth: node.Deep, Content: true}}
	c := node.Change{Write: []node.Entry{nodetest.File("/c/a", 0o600, "x")}, Remove: []string{"/c/gone"}}
	require.NoError(t, verify(c, node.New(q, []node.Entry{nodetest.File("/c/a", 0o600, "x")})))
	require.NoError(t, verify(c, node.New(nil, nil)), "nothing is known")
	require.ErrorContains(t, verify(c, node.New(q, nil)), "/c/a is not there")
	require.ErrorContains(t, verify(c, node.New(q, []node.Entry{nodetest.File("/c/a", 0o644, "x")})), "/c/a: read back")
	require.ErrorContains(t, verify(c, node.New(q, []node.Entry{nodetest.File("/c/a", 0o600, "y")})), "not what was written")
	require.ErrorContains(t, verify(c, node.New(q, []node.Entry{nodetest.File("/c/a", 0o600, "x"), nodetest.File("/c/gone", 0, "")})), "still there")
}

func TestUploadedFileIsPrivate(t *testing.T) {
	dir := t.TempDir()
	comm := newChroot(t, dir, "dash")
	comm.noStdin = true
	nodetest.Lay(t, dir, nodetest.FaultTree...)
	var mode os.FileMode
	spy := uploadSpy{comm, &mode}
	_, err := New(spy, Options{}).Read(context.Background(), nodetest.FaultQuery)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), mode)
}

type uploadSpy struct {
	*chrootComm
	mode *os.FileMode
}

func (u uploadSpy) Upload(name string, r io.Reader, fi *os.FileInfo) error {
	*u.mode = (*fi).Mode()
	return u.chrootComm.Upload(name, r, fi)
}
