package image

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// traces lists what the kernel still has of files below dir: mounts in any
// namespace, loop devices and processes.
func traces(dir string) (found []string) {
	for _, pattern := range []string{"/proc/[0-9]*/mountinfo", "/sys/block/loop*/loop/backing_file", "/proc/[0-9]*/cmdline"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if content, err := os.ReadFile(file); err == nil && bytes.Contains(content, []byte(dir)) {
				found = append(found, fmt.Sprintf("%s: %q", file, content))
			}
		}
	}
	return found
}

// needNoTraces waits until nothing is left of a build but files.
func needNoTraces(t *testing.T, dir string, about ...any) {
	t.Helper()
	var left []string
	if !assert.Eventually(t, func() bool { left = traces(dir); return left == nil }, 10*time.Second, 20*time.Millisecond, about...) {
		t.Fatalf("%v: %s", about, strings.Join(left, "\n"))
	}
}

// leftIn lists the files of the builder's in a work directory. Packer's own,
// such as the scripts that it uploads, are not the builder's.
func leftIn(t *testing.T, work string) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(work, workPrefix+"*"))
	require.NoError(t, err)
	return left
}

// A killed Packer leaves no mount, no loop device and no process at once; the
// next build takes away the files.
func TestAccKilled(t *testing.T) {
	packer := packertest.New(t, nil)
	b := newBench(t)
	cmd, dir, base := sleeping(t, b, packer)
	require.NotEmpty(t, traces(b.dir))
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
	require.Error(t, cmd.Wait())
	needNoTraces(t, b.dir)
	partial, err := filepath.Glob(filepath.Join(dir, "out", ".*.partial"))
	require.NoError(t, err)
	require.Len(t, partial, 1, "the build was not killed in the middle of it")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "test.pkr.hcl"), []byte(acc(accRaw(base), "")), 0o600))
	r := packer.Run(t, dir, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "Removed what killed builds left behind")
	entries, err := os.ReadDir(filepath.Join(dir, "out"))
	require.NoError(t, err)
	assert.Len(t, entries, 2, "the image and its checksum")
}

// kills and interrupts are how many moments of a build it is killed and
// interrupted at.
const (
	kills      = 25
	interrupts = 27
)

// sweep is a build that is cut off at many moments: it replaces a published
// image by another one.
type sweep struct {
	t      *testing.T
	b      *bench
	packer *packertest.Packer
	format string
	base   string
	out    string // the directory of the published image
	sum    string // the published image's SHA-256
	whole  time.Duration
}

func newSweep(t *testing.T, packer *packertest.Packer, format string) *sweep {
	t.Helper()
	b := newBench(t)
	b.needLoop()
	b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
	s := &sweep{t: t, b: b, packer: packer, format: format, base: filepath.Join(b.dir, "base."+format), out: filepath.Join(b.dir, "published")}
	raw := filepath.Join(b.dir, "base.raw")
	require.NoError(t, disk.MakeExt4(t.Context(), busybox(t), raw, 96<<20, nil, t.TempDir()))
	if format == string(disk.QCOW2) {
		require.NoError(t, disk.Convert(t.Context(), raw, disk.Raw, s.base, disk.QCOW2))
		require.NoError(t, os.Remove(raw))
	}
	s.whole = time.Hour
	for range 2 { // the first one reads programs from the disk
		began := time.Now()
		out, err := s.build(s.work("first"), s.out).CombinedOutput()
		require.NoError(t, err, string(out))
		s.whole = min(s.whole, time.Since(began))
	}
	s.sum = sha(t, s.image())
	return s
}

func (s *sweep) image() string { return filepath.Join(s.out, "node."+s.format) }

// work makes a place for temporary files.
func (s *sweep) work(name string) string {
	s.t.Helper()
	dir := filepath.Join(s.b.dir, name)
	require.NoError(s.t, os.MkdirAll(dir, 0o755))
	return dir
}

// build is a build in work that writes an image with new content to out.
func (s *sweep) build(work, out string) *exec.Cmd {
	s.t.Helper()
	dir := packertest.Write(s.t, acc(fmt.Sprintf(
		"iso_url = %q\niso_checksum = \"none\"\nformat = %q\nvm_name = \"node\"\noutput_directory = %q\n", s.base, s.format, out), `
  provisioner "shell" {
    inline = ["head -c 20000000 /dev/urandom > /etc/content"]
  }
`))
	cmd := s.packer.Command(s.t.Context(), dir, "build", "-force", ".")
	cmd.Env = append(cmd.Env, "TMPDIR="+work)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// unharmed says that the published image is the one that was there before, or
// the new one, and that a checksum beside it is its own.
func (s *sweep) unharmed(moment string) {
	s.t.Helper()
	now := sha(s.t, s.image())
	sums := disk.ChecksumFiles(s.image())
	here := 0
	for _, file := range sums {
		if _, err := os.Stat(file); err == nil {
			here++
		}
	}
	switch {
	case now == s.sum && here == 1:
	case now == s.sum:
		s.t.Logf("%s: the checksum had been taken away already", moment)
	default:
		s.t.Logf("%s: the new image was in its place already, with %d checksums", moment, here)
		s.sum = now
		// It is whole.
		require.Len(s.t, s.b.content(s.image(), s.format, "/etc/content"), 20000000, moment)
	}
	if here == 1 {
		s.b.verify(s.image(), s.id())
	}
}

// id is the published image's Id, as its checksum file has it.
func (s *sweep) id() string {
	s.t.Helper()
	for _, file := range disk.ChecksumFiles(s.image()) {
		line, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		digest, _, _ := strings.Cut(string(line), " ")
		if strings.HasSuffix(file, ".fsverity") {
			return "fsverity-" + digest
		}
		return "sha256:" + digest
	}
	return ""
}

// only says what is in the published image's directory.
func (s *sweep) only(moment string) {
	s.t.Helper()
	entries, err := os.ReadDir(s.out)
	require.NoError(s.t, err)
	for _, e := range entries {
		require.True(s.t, strings.HasPrefix(e.Name(), "node."), "%s: %s is left", moment, e.Name())
	}
}

// Builds are killed all along their way, now all of their processes at once,
// now only the builder, now all but the builder. The next build works in other
// places under another name, and leaves nothing of them; what was published is
// as it was.
func TestAccKilledAtEveryMoment(t *testing.T) {
	packer := packertest.New(t, nil)
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			s := newSweep(t, packer, format)
			begun, tree := 0, s.b.tree()
			for i := range kills {
				moment := fmt.Sprintf("kill %d of %d", i+1, kills)
				work := s.work(fmt.Sprintf("killed-%d", i))
				cmd := s.build(work, s.out)
				require.NoError(t, cmd.Start())
				if s.await(i, work) {
					begun++
				}
				s.kill(cmd, i%killWays, work, moment)
				needNoTraces(t, s.b.dir, moment)
				s.unharmed(moment)

				other := s.work(fmt.Sprintf("other-%d", i))
				out := filepath.Join(other, "image")
				next := packer.Command(t.Context(), packertest.Write(t, acc(fmt.Sprintf(
					"rootfs_directory = %q\nformat = \"tar\"\nvm_name = \"other\"\noutput_directory = %q\n", tree, out), "")), "build", ".")
				next.Env = append(next.Env, "TMPDIR="+other)
				said, err := next.CombinedOutput()
				require.NoError(t, err, string(said))
				require.Empty(t, leftIn(t, work), moment)
				require.Empty(t, leftIn(t, other), moment)
				s.only(moment)
				s.unharmed(moment)
				entries, err := os.ReadDir(out)
				require.NoError(t, err)
				require.Len(t, entries, 2, "%s: the other image and its checksum", moment)
				require.Empty(t, listedBelow(t, s.b.dir), moment)
			}
			t.Logf("%d kills in builds of %s; %d of them had a work directory", kills, s.whole, begun)
			require.Greater(t, begun, kills/3)
		})
	}
}

// await lets pass what precedes the i-th kill of a build and says whether the
// build has a work directory then. The first kills hit its start; the others are
// spread over the time from when that directory is there, since how long the
// start takes depends on what else the machine does.
func (s *sweep) await(i int, work string) bool {
	const starts = kills / 5
	if i < starts {
		time.Sleep(s.whole * time.Duration(i+1) / (kills + 1))
	} else {
		for end := time.Now().Add(time.Minute); len(leftIn(s.t, work)) == 0 && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(s.whole * 2 / 3 * time.Duration(i-starts) / kills)
	}
	begun := len(leftIn(s.t, work)) > 0
	if !begun && i >= starts { // done already: the machine was busier when a build was timed
		s.whole = s.whole * 3 / 4
	}
	return begun
}

// Which processes of a build are killed.
const (
	killAll = iota
	killBuilder
	killOthers
	killWays
)

// kill kills processes of a build's group and waits until all have ended.
func (s *sweep) kill(cmd *exec.Cmd, way int, work, moment string) {
	s.t.Helper()
	group, killed := cmd.Process.Pid, false
	for _, pid := range groupOf(group) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		builder := bytes.Contains(line, []byte("\x00start\x00builder\x00"))
		if way != killAll && builder == (way == killBuilder) {
			killed = syscall.Kill(pid, syscall.SIGKILL) == nil || killed
		}
	}
	if !killed {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	_ = cmd.Wait()
	ended := func() bool { return len(groupOf(group)) == 0 }
	for end := time.Now().Add(2 * time.Second); !ended() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if way == killOthers && len(leftIn(s.t, work)) == 0 {
		// Like every plugin, one that Packer has not spoken to yet waits for it.
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	require.Eventually(s.t, ended, 30*time.Second, 10*time.Millisecond, "%s: goes on", moment)
}

// groupOf lists the living processes of a group.
func groupOf(group int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		content, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		var pid, parent, of int
		var state string
		before, after, _ := strings.Cut(string(content), " (")
		after = after[strings.LastIndex(after, ")")+1:]
		if _, err := fmt.Sscan(before, &pid); err != nil {
			continue
		}
		if _, err := fmt.Sscan(after, &state, &parent, &of); err == nil && of == group && state != "Z" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// listedBelow lists what the ledger has of files below dir.
func listedBelow(t *testing.T, dir string) (entries []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(string(ledger), "*"))
	require.NoError(t, err)
	for _, file := range files {
		if content, err := os.ReadFile(file); err == nil && bytes.Contains(content, []byte(dir)) {
			entries = append(entries, string(content))
		}
	}
	return entries
}

// Builds are interrupted all along their way, as a terminal and as a service
// manager do it. Nothing at all is left, without a next build.
func TestAccInterruptedAtEveryMoment(t *testing.T) {
	packer := packertest.New(t, nil)
	s := newSweep(t, packer, "raw")
	cut := 0
	for i := range interrupts {
		moment := fmt.Sprintf("signal %d of %d", i+1, interrupts)
		work := s.work(fmt.Sprintf("interrupted-%d", i))
		cmd := s.build(work, s.out)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		require.NoError(t, cmd.Start())
		time.Sleep(s.whole * time.Duration(i+1) / (interrupts + 1))
		if i%2 == 0 {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // a terminal: to the whole group
		} else {
			_ = syscall.Kill(cmd.Process.Pid, syscall.SIGTERM)
		}
		if cmd.Wait() != nil {
			cut++
		}
		needNoTraces(t, s.b.dir, moment)
		require.Empty(t, leftIn(t, work), "%s: %s", moment, said.String())
		s.only(moment)
		s.unharmed(moment)
		require.Empty(t, listedBelow(t, s.b.dir), moment)
	}
	t.Logf("%d signals in builds of %s; %d of them ended the build", interrupts, s.whole, cut)
	require.Greater(t, cut, interrupts/2)
}
