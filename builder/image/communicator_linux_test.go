package image

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// applets are the commands of the test's root file system.
var applets = []string{
	"sh", "cat", "echo", "id", "env", "sleep", "ls", "mkdir", "chmod", "rm", "touch", "stat", "kill", "nohup", "setsid", "readlink", "head", "test", "ln", "mv",
	"chattr", "chroot", "date", "dd", "grep", "hostname", "killall", "mknod", "mount", "pkill", "reboot", "swapoff", "sysctl", "umount",
}

// busybox makes a root file system that commands run in.
func busybox(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox (package busybox-static)")
	}
	root := filepath.Join(t.TempDir(), "root")
	for _, dir := range []string{"bin", "etc", "dev", "proc", "sys", "tmp", "root", "run", "usr"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	require.NoError(t, os.Chmod(filepath.Join(root, "tmp"), 0o1777|fs.ModeSticky))
	b, err := os.ReadFile(program)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "bin/busybox"), b, 0o755))
	for _, applet := range applets {
		require.NoError(t, os.Symlink("busybox", filepath.Join(root, "bin", applet)))
	}
	if out, err := exec.Command("chroot", root, "/bin/sh", "-c", "true").CombinedOutput(); err != nil {
		t.Skipf("busybox is not static: %s", out)
	}
	return root
}

func open(t testing.TB, root string) *communicator {
	t.Helper()
	c := newCommunicator(t.Context(), root, false)
	require.NoError(t, c.open())
	t.Cleanup(func() { assert.NoError(t, c.close()) })
	return c
}

type outcome struct {
	status      int
	out, errOut string
}

func runIn(t testing.TB, c *communicator, command string, stdin io.Reader) outcome {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := &packersdk.RemoteCmd{Command: command, Stdin: stdin, Stdout: &out, Stderr: &errOut}
	require.NoError(t, c.Start(t.Context(), cmd))
	status := cmd.Wait()
	return outcome{status, out.String(), errOut.String()}
}

func TestCommandIsVerbatim(t *testing.T) {
	c := open(t, busybox(t))
	t.Setenv("SECRET_OF_THE_HOST", "leaked")
	tests := map[string]struct {
		command string
		stdin   io.Reader
		want    outcome
	}{
		"dollar":          {command: `A=guest; echo "$A" '$A'`, want: outcome{out: "guest $A\n"}},
		"backticks":       {command: "echo `echo inner`", want: outcome{out: "inner\n"}},
		"quotes":          {command: `echo "a'b" 'c"d'`, want: outcome{out: "a'b c\"d\n"}},
		"newlines":        {command: "echo a\necho b", want: outcome{out: "a\nb\n"}},
		"here document":   {command: "cat <<'E'\n$x \\n `y`\nE", want: outcome{out: "$x \\n `y`\n"}},
		"backslashes":     {command: `echo 'a\b\\c'`, want: outcome{out: "a\\b\\\\c\n"}},
		"exit status":     {command: "exit 7", want: outcome{status: 7}},
		"not found":       {command: "exec /none 2>/dev/null", want: outcome{status: 127}},
		"signal":          {command: "kill -TERM $$", want: outcome{status: 128 + 15}},
		"standard error":  {command: "echo bad >&2; exit 1", want: outcome{status: 1, errOut: "bad\n"}},
		"standard input":  {command: "cat", stdin: strings.NewReader("in\x00put"), want: outcome{out: "in\x00put"}},
		"no input":        {command: "cat", want: outcome{}},
		"unread input":    {command: "true", stdin: &endless{}, want: outcome{}},
		"host's variable": {command: `echo "${SECRET_OF_THE_HOST:-clean}"`, want: outcome{out: "clean\n"}},
		"path and home":   {command: `echo "$PATH $HOME"`, want: outcome{out: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /root\n"}},
		"directory":       {command: "pwd; ls -d /bin", want: outcome{out: "/\n/bin\n"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, runIn(t, c, tt.command, tt.stdin)) })
	}
}

type endless struct{}

func (*endless) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return len(p), nil
}

// Output is complete when the command has ended, however slow the reader is.
func TestCommandOutputIsComplete(t *testing.T) {
	c := open(t, busybox(t))
	slow := &slowWriter{}
	cmd := &packersdk.RemoteCmd{Command: "head -c 3000000 /dev/zero", Stdout: slow}
	require.NoError(t, c.Start(t.Context(), cmd))
	require.Zero(t, cmd.Wait())
	assert.Equal(t, 3000000, slow.n)
}

type slowWriter struct{ n int }

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	w.n += len(p)
	return len(p), nil
}

func TestCommandLeavesNothingBehind(t *testing.T) {
	root := busybox(t)
	c := open(t, root)
	before, err := os.ReadDir(filepath.Join(root, "dev"))
	require.NoError(t, err)
	start := time.Now()
	got := runIn(t, c, "setsid nohup sleep 600 & sleep 600 & echo started", nil)
	assert.Equal(t, "started\n", got.out)
	assert.Less(t, time.Since(start), 30*time.Second, "waited for what was left behind")
	assert.Empty(t, disk.ProcessesIn(root))
	after, err := os.ReadDir(filepath.Join(root, "dev"))
	require.NoError(t, err)
	assert.Equal(t, before, after)
	assert.NoFileExists(t, filepath.Join(root, "etc/resolv.conf"))
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	assert.NotContains(t, strings.ReplaceAll(string(mounts), root+"/run ", ""), root, "more than the /run of all commands")
	require.NoError(t, c.close())
	mounts, err = os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	assert.NotContains(t, string(mounts), root)
}

// A process that was in the tree before is somebody else's.
func TestCommandSparesOthers(t *testing.T) {
	root := busybox(t)
	other := exec.Command("/bin/sleep", "600")
	other.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	require.NoError(t, other.Start())
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	assert.Zero(t, runIn(t, open(t, root), "true", nil).status)
	assert.NoError(t, other.Process.Signal(syscall.Signal(0)))
}

func TestCommandHasDevices(t *testing.T) {
	c := open(t, busybox(t))
	got := runIn(t, c, "echo x > /dev/null && test -c /dev/urandom && test -r /proc/self/status && echo furnished", nil)
	if got.status != 0 {
		t.Skipf("mounting is not permitted here: %s", got.errOut)
	}
	assert.Equal(t, "furnished\n", got.out)
	// A command cannot reach this host's devices by clearing its own.
	runIn(t, c, "rm -rf /dev/null /dev/zero", nil)
	assert.FileExists(t, "/dev/null")
}

func TestCommandEndsWithItsContext(t *testing.T) {
	root := busybox(t)
	for name, stop := range map[string]func(cancel context.CancelFunc, c *communicator){
		"context":      func(cancel context.CancelFunc, _ *communicator) { cancel() },
		"communicator": func(_ context.CancelFunc, c *communicator) { assert.NoError(t, c.close()) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCommunicator(t.Context(), root, false)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cmd := &packersdk.RemoteCmd{Command: "trap '' TERM; sleep 600 & sleep 600"}
			require.NoError(t, c.Start(ctx, cmd))
			time.Sleep(200 * time.Millisecond)
			start := time.Now()
			stop(cancel, c)
			assert.NotZero(t, cmd.Wait())
			assert.Less(t, time.Since(start), 4*stopGrace)
			assert.Empty(t, disk.ProcessesIn(root))
			require.NoError(t, c.close())
			require.ErrorContains(t, c.Start(t.Context(), &packersdk.RemoteCmd{Command: "true"}), "closed")
		})
	}
}

// Packer's provisioners try a command again for minutes whose start is an
// error: one that cannot run ends at once and says why.
func TestCommandThatCannotStart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for name, tt := range map[string]struct {
		shell func(path string) error
		want  string
	}{
		"no shell":         {shell: func(string) error { return nil }, want: "it has no usable /bin/sh"},
		"foreign program":  {shell: func(path string) error { return os.WriteFile(path, foreignProgram(), 0o755) }, want: "its /bin/sh is for s390x and this host is"},
		"pipe":             {shell: func(path string) error { return syscall.Mkfifo(path, 0o755) }, want: "it has no usable /bin/sh: is no regular file but p"},
		"device":           {shell: func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o755, 1<<8|5) }, want: "it has no usable /bin/sh: is no regular file but D"},
		"directory":        {shell: func(path string) error { return os.Mkdir(path, 0o755) }, want: "it has no usable /bin/sh: is no regular file but d"},
		"not executable":   {shell: func(path string) error { return os.WriteFile(path, foreignProgram(), 0o644) }, want: "not executable: -rw-r--r--"},
		"link to nowhere":  {shell: func(path string) error { return os.Symlink("none", path) }, want: "it has no usable /bin/sh"},
		"link to the host": {shell: func(path string) error { return os.Symlink("../../../../../../bin/true", path) }, want: "it has no usable /bin/sh"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(root, "bin"), 0o755))
			require.NoError(t, tt.shell(filepath.Join(root, "bin/sh")))
			start := time.Now()
			got := runIn(t, open(t, root), "true", nil)
			assert.Equal(t, cannotRun, got.status)
			assert.Contains(t, got.errOut, "commands cannot run in this tree: ")
			assert.Contains(t, got.errOut, tt.want)
			assert.Less(t, time.Since(start), 20*time.Second)
		})
	}
}

// foreignProgram is the header of a program for s390x.
func foreignProgram() []byte {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x02\x01")
	b[17] = 2  // executable
	b[19] = 22 // s390
	b[23] = 1  // version
	b[53] = 64 // header's size
	b[55] = 56 // program headers' size
	b[59] = 64 // section headers' size
	return b
}

func info(t testing.TB, mode fs.FileMode) *os.FileInfo {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Chmod(path, mode))
	fi, err := os.Stat(path)
	require.NoError(t, err)
	return &fi
}

func TestUpload(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	root := t.TempDir()
	c := open(t, root)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc"), 0o755))
	read := func(name string) (string, fs.FileMode) {
		b, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		fi, err := os.Lstat(filepath.Join(root, name))
		require.NoError(t, err)
		return string(b), fi.Mode()
	}
	require.NoError(t, c.Upload("/etc/new", strings.NewReader("1"), nil))
	content, mode := read("etc/new")
	assert.Equal(t, "1", content)
	assert.Equal(t, fs.FileMode(0o644), mode)

	for _, want := range []fs.FileMode{0o600, 0o777, 0o755 | fs.ModeSetuid, 0o2755&0o777 | fs.ModeSetgid} {
		require.NoError(t, c.Upload("/etc/new", strings.NewReader("2"), info(t, want)))
		_, mode = read("etc/new")
		assert.Equal(t, want, mode)
	}
	require.NoError(t, os.Chmod(filepath.Join(root, "etc/new"), 0o640))
	require.NoError(t, c.Upload("etc/new", strings.NewReader("3"), nil))
	content, mode = read("etc/new")
	assert.Equal(t, "3", content)
	assert.Equal(t, fs.FileMode(0o640), mode, "an old file keeps its mode")

	require.ErrorContains(t, c.Upload("/none/x", strings.NewReader(""), nil), "uploading /none/x")
	require.ErrorContains(t, c.Upload("/etc", strings.NewReader(""), nil), "no regular file")
	require.Error(t, c.Upload("/etc/new", io.MultiReader(strings.NewReader("half"), broken{}), nil))
	content, _ = read("etc/new")
	assert.Equal(t, "3", content, "a broken upload changes nothing")
	left, err := os.ReadDir(filepath.Join(root, "etc"))
	require.NoError(t, err)
	assert.Len(t, left, 1)
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// No link of the tree leads out of it.
func TestPathsStayInside(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	root := t.TempDir()
	c := open(t, root)
	require.NoError(t, os.MkdirAll(filepath.Join(root, outside), 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "absolute")))
	require.NoError(t, os.Symlink(strings.Repeat("../", 20)+outside, filepath.Join(root, "relative")))
	for _, path := range []string{"/absolute/secret", "/relative/secret", "/../../.." + outside + "/secret"} {
		var b bytes.Buffer
		require.ErrorIs(t, c.Download(path, &b), fs.ErrNotExist, path)
		require.NoError(t, c.Upload(path, strings.NewReader("mine"), nil), path)
		require.NoError(t, c.Download(path, &b))
		assert.Equal(t, "mine", b.String())
		require.NoError(t, os.Remove(filepath.Join(root, outside, "secret")))
	}
	got, err := os.ReadFile(filepath.Join(outside, "secret"))
	require.NoError(t, err)
	assert.Equal(t, "secret", string(got))
}

func TestDirectories(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.MkdirAll(filepath.Join(src, "sub/deep"), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(src, "sub"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(src, "run"), []byte("run"), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(src, "run"), 0o4755&0o777|fs.ModeSetuid))
	require.NoError(t, os.WriteFile(filepath.Join(src, "sub/deep/f"), []byte("f"), 0o640))
	require.NoError(t, os.WriteFile(filepath.Join(src, "sub/skip.bak"), nil, 0o600))
	require.NoError(t, os.Symlink("run", filepath.Join(src, "link")))

	root := t.TempDir()
	c := open(t, root)
	require.NoError(t, c.UploadDir("/opt/without", src, []string{"*.bak"}))
	require.NoError(t, c.UploadDir("/opt/with", src+"/", []string{"sub/deep"}))
	assert.FileExists(t, filepath.Join(root, "opt/without/src/sub/deep/f"))
	assert.NoFileExists(t, filepath.Join(root, "opt/without/src/sub/skip.bak"))
	assert.FileExists(t, filepath.Join(root, "opt/with/sub/skip.bak"))
	assert.NoDirExists(t, filepath.Join(root, "opt/with/sub/deep"))
	fi, err := os.Lstat(filepath.Join(root, "opt/with/run"))
	require.NoError(t, err)
	assert.Equal(t, 0o755|fs.ModeSetuid, fi.Mode())
	fi, err = os.Lstat(filepath.Join(root, "opt/with/sub"))
	require.NoError(t, err)
	assert.Equal(t, fs.ModeDir|0o750, fi.Mode())
	fi, err = os.Lstat(filepath.Join(root, "opt/with/link"))
	require.NoError(t, err)
	assert.True(t, fi.Mode().IsRegular())

	// A directory that is there keeps its mode, whatever is uploaded into it.
	for name, mode := range map[string]fs.FileMode{"opt/with": 0o777 | fs.ModeSticky, "opt/with/sub": 0o700} {
		require.NoError(t, os.Chmod(filepath.Join(root, name), mode))
		require.NoError(t, c.UploadDir("/opt/with", src+"/", nil))
		fi, err = os.Lstat(filepath.Join(root, name))
		require.NoError(t, err)
		assert.Equal(t, fs.ModeDir|mode, fi.Mode(), name)
	}

	back := t.TempDir()
	require.NoError(t, c.DownloadDir("/opt/without/src", back, []string{"deep"}))
	assert.FileExists(t, filepath.Join(back, "src/run"))
	assert.NoDirExists(t, filepath.Join(back, "src/sub/deep"))
	require.NoError(t, c.DownloadDir("/opt/without/src/", back, nil))
	b, err := os.ReadFile(filepath.Join(back, "sub/deep/f"))
	require.NoError(t, err)
	assert.Equal(t, "f", string(b))
	require.ErrorContains(t, c.DownloadDir("/none", back, nil), "downloading /none")
}

func TestDownloadDirOfACircle(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "a"), 0o755))
	require.NoError(t, os.Symlink("..", filepath.Join(root, "a/up")))
	require.Error(t, open(t, root).DownloadDir("/a", t.TempDir(), nil))
}

func TestReadOnlyRefusesChanges(t *testing.T) {
	root := t.TempDir()
	c := newCommunicator(t.Context(), root, true)
	defer func() { require.NoError(t, c.close()) }()
	require.NoError(t, os.WriteFile(filepath.Join(root, "f"), []byte("f"), 0o600))
	require.ErrorContains(t, c.Upload("/f", strings.NewReader("x"), nil), "read_only = true: uploading /f is refused")
	require.ErrorContains(t, c.UploadDir("/f", root, nil), "read_only = true")
	require.ErrorContains(t, c.Start(t.Context(), &packersdk.RemoteCmd{Command: "true"}), "read_only = true: running a command is refused")
	var b bytes.Buffer
	require.NoError(t, c.Download("/f", &b))
	assert.Equal(t, "f", b.String())
}
