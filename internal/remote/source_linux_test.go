package remote

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/disktest"
)

// newSource makes a file of the build host that no file system makes smaller.
func newSource(t testing.TB, size int) *node.Source {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(data) // never fails
	file := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	return &node.Source{Path: file, Size: int64(size), SHA256: sha256.Sum256(data)}
}

// installing writes a binary and an archive from the build host, and a file beside.
func installing(binary, archive *node.Source) node.Change {
	return node.Change{Write: []node.Entry{
		nodetest.File("/etc/rancher/k3s/config.yaml", 0o600, "a: b\n"),
		{Path: "/opt/bin/k3s", Kind: node.KindFile, Mode: 0o755, Size: binary.Size, Source: binary},
		{Path: "/var/lib/rancher/k3s/agent/images/airgap.tar", Kind: node.KindFile, Mode: 0o600, Size: archive.Size, Source: archive},
	}}
}

var installedQuery = node.Query{{Path: "/opt", Depth: node.Deep, Content: true}, {Path: "/etc/rancher", Depth: node.Deep, Content: true}, {Path: "/var/lib", Depth: node.Deep}}

func requireInstalled(t *testing.T, dir string, c node.Change) {
	t.Helper()
	for _, e := range c.Write {
		file := filepath.Join(dir, e.Path)
		fi, err := os.Stat(file)
		require.NoError(t, err)
		assert.Equal(t, e.Mode, fi.Mode(), e.Path)
		if e.Source == nil {
			continue
		}
		f, err := os.Open(file)
		require.NoError(t, err)
		same, err := e.Source.Same(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		assert.True(t, same, e.Path)
	}
	assert.NotContains(t, nodetest.Snapshot(t, dir), node.StagingPrefix, "nothing is left")
}

// Files of the build host get to the machine every way that a request can travel.
func TestSources(t *testing.T) {
	for name, c := range map[string]struct {
		flavor, wrap, enter string
		lay                 []string
	}{
		"one command":         {flavor: "dash"},
		"busybox":             {flavor: "busybox"},
		"a file":              {flavor: "bash", wrap: "cat /dev/null | sh %s"},
		"no tar":              {flavor: "notar"},
		"another file system": {flavor: "dash", enter: "mkdir -p opt; mount -t tmpfs tmpfs opt; mkdir opt/bin"},
		"no xargs":            {flavor: "dash", enter: "mount --bind /dev/null usr/bin/xargs"},
		"something is there":  {flavor: "dash", lay: []string{"file /opt/bin/k3s 0600 old"}},
		"a link is there":     {flavor: "dash", lay: []string{"file /srv/k3s 0600 old", "link /opt/bin/k3s ../../srv/k3s"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			comm := newChroot(t, dir, c.flavor)
			comm.enter = c.enter
			nodetest.Lay(t, dir, append([]string{"dir /var/lib 0755", "dir /etc 0755"}, c.lay...)...)
			opt := Options{}
			if c.wrap != "" {
				opt.Wrap = template(c.wrap)
			}
			change := installing(newSource(t, 3<<20+7), newSource(t, 1<<20))
			out, err := New(comm, opt).Apply(t.Context(), change, installedQuery)
			require.NoError(t, err)
			e, presence := out.Node.Lookup("/opt/bin/k3s")
			require.Equal(t, node.Present, presence)
			assert.Equal(t, int64(3<<20+7), e.Size)
			if name != "another file system" { // which is gone with its mount
				requireInstalled(t, dir, change)
			}
			again, err := New(comm, opt).Apply(t.Context(), change, installedQuery)
			require.NoError(t, err)
			if name != "another file system" {
				assert.Empty(t, again.Changed, "what is there already is not changed")
			}
		})
	}
}

// A file that is another one on the build host than it was, or on the machine than
// it was sent, changes nothing.
func TestSourceThatIsAnotherOne(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s *node.Source)
		enter string
		wrap  string
		err   string
	}{
		"other bytes": {spoil: func(t *testing.T, s *node.Source) {
			require.NoError(t, os.WriteFile(s.Path, make([]byte, s.Size), 0o600))
		}, err: "on the build host has the SHA-256"},
		"other bytes, as a file": {spoil: func(t *testing.T, s *node.Source) {
			require.NoError(t, os.WriteFile(s.Path, make([]byte, s.Size), 0o600))
		}, wrap: "cat /dev/null | sh %s", err: "on the build host has the SHA-256"},
		"shorter": {spoil: func(t *testing.T, s *node.Source) {
			require.NoError(t, os.Truncate(s.Path, s.Size-1))
		}, err: "does not have the 2097152 bytes that it had"},
		"longer": {spoil: func(t *testing.T, s *node.Source) {
			require.NoError(t, os.Truncate(s.Path, s.Size+1))
		}, err: "does not have the 2097152 bytes that it had"},
		"gone": {spoil: func(t *testing.T, s *node.Source) { require.NoError(t, os.Remove(s.Path)) }, err: "on the build host: open "},
		"damaged on the machine": {
			spoil: func(*testing.T, *node.Source) {},
			enter: "PATH=/kill:$PATH; export PATH",
			err:   "cannot change /opt/bin/k3s: it did not arrive as it was sent",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			comm := newChroot(t, dir, "dash")
			comm.enter = c.enter
			nodetest.Lay(t, dir, "dir /var/lib 0755", "dir /etc 0755",
				"file /kill/tar 0755 #!/bin/sh\n/usr/bin/tar \"$@\" || exit\n[ ! -f w/opt/bin/k3s ] || printf x | dd of=w/opt/bin/k3s bs=1 seek=1000 conv=notrunc 2>/dev/null\n")
			before := nodetest.Snapshot(t, dir)
			change := installing(newSource(t, 2<<20), newSource(t, 1<<20))
			c.spoil(t, change.Write[1].Source)
			opt := Options{}
			if c.wrap != "" {
				opt.Wrap = template(c.wrap)
			}
			_, err := New(comm, opt).Apply(t.Context(), change, installedQuery)
			require.ErrorContains(t, err, c.err)
			assert.Equal(t, before, nodetest.Snapshot(t, dir))
		})
	}
}

// TestSourcesCut cuts the connection at every megabyte, or at every eighth of many;
// the run after that ends installed.
func TestSourcesCut(t *testing.T) {
	binary, archive, step := 4<<20, 8<<20, int64(1<<20)
	if os.Getenv("PACKER_ACC") != "" {
		binary, archive, step = 70<<20, 200<<20, 8<<20
	}
	dir := t.TempDir()
	comm := newChroot(t, dir, "dash")
	nodetest.Lay(t, dir, "dir /var/lib 0755", "dir /etc 0755")
	change := installing(newSource(t, binary), newSource(t, archive))
	before := nodetest.Snapshot(t, dir)
	for after := step; after < int64(binary+archive); after += step {
		_, err := New(cutReader{comm, after}, Options{}).Apply(t.Context(), change, installedQuery)
		require.ErrorContains(t, err, "did not arrive whole", "cut after %d bytes", after)
		require.Equal(t, before, nodetest.Snapshot(t, dir), "cut after %d bytes", after)
	}
	_, err := New(comm, Options{}).Apply(t.Context(), change, installedQuery)
	require.NoError(t, err)
	requireInstalled(t, dir, change)
}

// TestSourcesOverSSH cuts a real connection at every megabyte, and at ten places of what
// K3s releases, and cancels: nothing is changed, nothing is left, and the run after
// that ends installed.
func TestSourcesOverSSH(t *testing.T) {
	needAcc(t)
	for _, c := range []struct{ binary, archive, step int }{{4 << 20, 8 << 20, 1 << 20}, {70 << 20, 200 << 20, 27 << 20}} {
		t.Run(fmt.Sprintf("%d MB", (c.binary+c.archive)>>20), func(t *testing.T) {
			dir := t.TempDir()
			nodetest.Lay(t, dir, "dir /var/lib 0755", "dir /etc 0755", "dir /opt 0755")
			m := newMachine(t, dir, "", "")
			change := installing(newSource(t, c.binary), newSource(t, c.archive))
			apply := func(ctx context.Context, addr string) error {
				comm, err := m.connect(addr, sshUser{name: "ops"})
				if err != nil {
					return err
				}
				_, err = New(comm, Options{}).Apply(ctx, change, installedQuery)
				return err
			}
			requireAsBefore := func(when string, args ...any) {
				t.Helper()
				// The machine may need a moment to notice.
				require.Eventually(t, func() bool { return !staged(t, dir) }, 30*time.Second, 20*time.Millisecond, append([]any{when}, args...)...)
				for _, e := range change.Write {
					require.NoFileExists(t, filepath.Join(dir, e.Path), append([]any{when}, args...)...)
				}
			}
			for cut := c.step; cut < c.binary+c.archive; cut += c.step {
				require.Error(t, apply(t.Context(), newProxy(t, m.addr, int64(cut)).addr()))
				requireAsBefore("cut after %d bytes", cut)
			}

			way := newProxy(t, m.addr, 0)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for way.passed.Load() < int64(c.step) {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			require.ErrorIs(t, apply(ctx, way.addr()), context.Canceled)
			requireAsBefore("cancelled")

			before := m.channels(t)
			require.NoError(t, apply(t.Context(), m.addr))
			assert.Equal(t, 1, m.channels(t)-before, "channels")
			requireInstalled(t, dir, change)
		})
	}
}

// counting is a communicator that counts what the machine takes of the request.
type counting struct {
	*chrootComm
	sent *counted
}

func (c counting) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	if cmd.Stdin != nil {
		c.sent.Reader = cmd.Stdin
		cmd.Stdin = c.sent
	}
	return c.chrootComm.Start(ctx, cmd)
}

type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// TestSourcesThatAreThere: what the machine has of the files of the build host is not
// sent again, gets its mode and owner all the same, and is sent where anything is
// uncertain. A run changes all of it or nothing either way.
func TestSourcesThatAreThere(t *testing.T) {
	const binary, archive = "opt/bin/k3s", "var/lib/rancher/k3s/agent/images/airgap.tar"
	for name, c := range map[string]struct {
		flavor, wrap string
		lay          []string
		spoil        func(t *testing.T, dir string)
		sent         int // of which the files of the build host are
		changed      []string
		err          string
	}{
		"all":              {},
		"all, for busybox": {flavor: "busybox"},
		"all, for bash":    {flavor: "bash"},
		"another mode": {
			spoil:   func(t *testing.T, dir string) { require.NoError(t, os.Chmod(filepath.Join(dir, binary), 0o700)) },
			changed: []string{"/" + binary},
		},
		"another owner, for busybox": {
			flavor:  "busybox",
			spoil:   func(t *testing.T, dir string) { require.NoError(t, os.Chown(filepath.Join(dir, archive), 12, 34)) },
			changed: []string{"/" + archive},
		},
		"other bytes": {
			spoil: func(t *testing.T, dir string) {
				require.NoError(t, os.WriteFile(filepath.Join(dir, binary), make([]byte, 3<<20+7), 0o755))
			},
			sent: 3 << 20, changed: []string{"/" + binary},
		},
		"one is missing": {
			spoil: func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, archive))) },
			sent:  1 << 20, changed: []string{"/" + archive},
		},
		"a pipe in its place": {
			spoil: func(t *testing.T, dir string) {
				require.NoError(t, os.Remove(filepath.Join(dir, binary)))
				nodetest.Lay(t, dir, "fifo /"+binary)
			},
			sent: 3 << 20, err: "is not a regular file",
		},
		"what an earlier run left": {lay: []string{"dir /run/.k3s-cis-0123 0700"}, sent: 4 << 20},
		"no command takes it":      {wrap: "cat /dev/null | sh %s", sent: 4 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			chroot := newChroot(t, dir, cmp.Or(c.flavor, "dash"))
			nodetest.Lay(t, dir, "dir /var/lib 0755", "dir /etc 0755", "dir /run 0755")
			opt := Options{}
			if c.wrap != "" {
				opt.Wrap = template(c.wrap)
			}
			change := installing(newSource(t, 3<<20+7), newSource(t, 1<<20))
			_, err := New(chroot, opt).Apply(t.Context(), change, installedQuery)
			require.NoError(t, err)
			if c.spoil != nil {
				c.spoil(t, dir)
			}
			nodetest.Lay(t, dir, c.lay...)
			before, sent := nodetest.Snapshot(t, dir), &counted{}
			out, err := New(counting{chroot, sent}, opt).Apply(t.Context(), change, installedQuery)
			assert.GreaterOrEqual(t, sent.n, c.sent)
			assert.Less(t, sent.n, c.sent+1<<19)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				assert.Equal(t, before, nodetest.Snapshot(t, dir))
				return
			}
			require.NoError(t, err)
			assert.ElementsMatch(t, c.changed, out.Changed)
			requireInstalled(t, dir, change)
			for _, p := range []string{binary, archive} {
				fi, err := os.Stat(filepath.Join(dir, p))
				require.NoError(t, err)
				assert.Zero(t, fi.Sys().(*syscall.Stat_t).Uid, p)
			}
		})
	}
}

// What a machine says it has is left out where it takes the request so, and nowhere else.
func TestLeftOut(t *testing.T) {
	one, two := newSource(t, 700), newSource(t, 900)
	change := installing(one, two)
	archive, _, err := newJob(&change, nil, Options{}).archive()
	require.NoError(t, err)
	names := func(optional bool, has ...int) (list []string) {
		in := archive.read(nil)
		in.optional = optional
		gate := make(chan readiness, 2)
		gate <- readiness{looks: true}
		gate <- readiness{takes: true, has: has}
		all := tar.NewReader(&gated{ctx: t.Context(), gate: gate, data: in})
		for {
			h, err := all.Next()
			if errors.Is(err, io.EOF) {
				return list
			}
			require.NoError(t, err)
			list = append(list, h.Name)
		}
	}
	const binary, images = "w/opt/bin/k3s", "w/var/lib/rancher/k3s/agent/images/airgap.tar"
	all := names(true)
	assert.Contains(t, all, binary)
	assert.Contains(t, all, images)
	assert.Equal(t, "end", all[len(all)-1])
	without := func(gone ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(gone, name) })
	}
	assert.Equal(t, without(binary), names(true, 1))
	assert.Equal(t, without(images), names(true, 2, 7))
	assert.Equal(t, without(binary, images), names(true, 2, 1, 1))
	assert.Equal(t, all, names(true, 0, -1, 3), "only files of the build host can be left out")
	assert.Equal(t, all, names(false, 1, 2), "a file that unpacks itself is whole")
}

// What takes long is told, and nothing else.
func TestProgress(t *testing.T) {
	for name, c := range map[string]struct {
		second time.Duration // how long a tenth takes
		want   []string
	}{
		"at once":   {0, nil},
		"nine s":    {time.Second, nil},
		"a minute":  {6 * time.Second, []string{"Sent 30MB of 100MB (30 %).", "Sent 50MB of 100MB (50 %).", "Sent 70MB of 100MB (70 %).", "Sent 90MB of 100MB (90 %).", "Sent 100MB of 100MB (100 %)."}},
		"two hours": {12 * time.Minute, []string{"20MB", "30MB", "40MB", "50MB", "60MB", "70MB", "80MB", "90MB", "100MB of"}},
	} {
		t.Run(name, func(t *testing.T) {
			var told []string
			p := newProgress(func(line string) { told = append(told, line) }, 100_000_000)
			now := time.Unix(1e9, 0)
			p.now = func() time.Time { return now }
			for range 10 {
				p.add(10_000_000)
				p.add(0)
				now = now.Add(c.second)
			}
			require.Len(t, told, len(c.want))
			for i, want := range c.want {
				assert.Contains(t, told[i], want)
			}
		})
	}
	newProgress(nil, 10).add(10) // nobody listens
}

// Only files of the build host count as what is on its way.
func TestProgressOfTheRequest(t *testing.T) {
	change := installing(newSource(t, 700), newSource(t, 900))
	archive, _, err := newJob(&change, nil, Options{}).archive()
	require.NoError(t, err)
	in := archive.read(func(string) {})
	in.optional = true
	in.leaveOut([]int{2})
	_, err = io.Copy(io.Discard, in)
	require.NoError(t, err)
	assert.Equal(t, [2]int64{700, 700}, [2]int64{in.progress.sent, in.progress.total})
}

// TestSourcesNeedRoom fills the disk to many levels. Where the request does not
// fit, nothing of the files is sent.
func TestSourcesNeedRoom(t *testing.T) {
	disk := disktest.New(t, "ext4")
	comm := newChroot(t, disk.Dir, "dash")
	nodetest.Lay(t, disk.Dir, "dir /var/lib 0755", "dir /etc 0755", "dir /opt/bin 0755")
	change := installing(newSource(t, 2<<20), newSource(t, 1<<20))
	failed := 0
	for left := int64(0); left < 5<<20; left += 256 << 10 {
		disk.Fill(t, left)
		before := nodetest.Snapshot(t, disk.Dir)
		sent := &counted{}
		_, err := New(counting{comm, sent}, Options{}).Apply(t.Context(), change, installedQuery)
		if err == nil {
			requireInstalled(t, disk.Dir, change)
			break
		}
		failed++
		assert.Regexp(t, "No space left on device|no directory can be made in .*full", err.Error(), "%d bytes left", left)
		assert.Equal(t, sent.n == 0, regexp.MustCompile(`/var/lib needs 3145728 bytes and has \d+ bytes free|no directory`).MatchString(err.Error()), err)
		assert.Equal(t, before, nodetest.Snapshot(t, disk.Dir), "%d bytes left", left)
		if left < 5<<19 {
			assert.Zero(t, sent.n, "%d bytes left", left)
		}
		require.NoError(t, os.Remove(filepath.Join(disk.Dir, "filled")))
	}
	assert.Greater(t, failed, 10)
	assert.Less(t, failed, 20)
}

// Where a file is to lie on another file system, that is asked for room too, whatever
// way the request travels; not for what is there already.
func TestSourcesNeedRoomWhereTheyLie(t *testing.T) {
	for name, c := range map[string]struct{ flavor, wrap string }{
		"one command": {flavor: "dash"},
		"bash":        {flavor: "bash"},
		"busybox":     {flavor: "busybox"},
		"a file":      {flavor: "dash", wrap: "cat /dev/null | sh %s"},
		"no tar":      {flavor: "notar"},
	} {
		t.Run(name, func(t *testing.T) {
			disk, dir := disktest.New(t, "ext4"), t.TempDir()
			chroot := newChroot(t, dir, c.flavor)
			chroot.enter = "mount --bind " + disk.Dir + " opt"
			nodetest.Lay(t, dir, "dir /var/lib 0755", "dir /etc 0755", "dir /opt 0755")
			opt := Options{}
			if c.wrap != "" {
				opt.Wrap = template(c.wrap)
			}
			change := installing(newSource(t, 3<<20+7), newSource(t, 1<<20))
			disk.Fill(t, 2<<20)
			before, sent := nodetest.Snapshot(t, disk.Dir), &counted{}
			_, err := New(counting{chroot, sent}, opt).Apply(t.Context(), change, installedQuery)
			require.ErrorContains(t, err, "there is no room on the machine: No space left on device; nothing was sent and nothing was changed; it said: /opt/bin needs 3145735 bytes and has ")
			assert.Zero(t, sent.n)
			assert.Equal(t, before, nodetest.Snapshot(t, disk.Dir))
			assert.NotContains(t, nodetest.Snapshot(t, dir), node.StagingPrefix)

			require.NoError(t, os.Remove(filepath.Join(disk.Dir, "filled")))
			_, err = New(chroot, opt).Apply(t.Context(), change, installedQuery)
			require.NoError(t, err)
			disk.Fill(t, 64<<10)
			again, err := New(chroot, opt).Apply(t.Context(), change, installedQuery)
			require.NoError(t, err, "what is there needs no room")
			assert.Empty(t, again.Changed)
		})
	}
}

// Two directories of one file system share its room.
func TestSourcesNeedRoomTogether(t *testing.T) {
	disk, dir := disktest.New(t, "ext4"), t.TempDir()
	chroot := newChroot(t, dir, "dash")
	chroot.enter = "mount --bind " + disk.Dir + " opt"
	nodetest.Lay(t, dir, "dir /var/lib 0755", "dir /etc 0755", "dir /opt 0755")
	change := installing(newSource(t, 3<<20+7), newSource(t, 2<<20))
	change.Write[2].Path = "/opt/images/airgap.tar"
	disk.Fill(t, 4<<20)
	before, sent := nodetest.Snapshot(t, disk.Dir), &counted{}
	_, err := New(counting{chroot, sent}, Options{}).Apply(t.Context(), change, installedQuery)
	require.ErrorContains(t, err, "/opt/bin needs 5242887 bytes and has ")
	assert.Zero(t, sent.n)
	assert.Equal(t, before, nodetest.Snapshot(t, disk.Dir))

	disk.Fill(t, 7<<20)
	_, err = New(chroot, Options{}).Apply(t.Context(), change, installedQuery)
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(disk.Dir, "images", "airgap.tar"))

	// The second of two, on a file system of its own.
	change = installing(newSource(t, 3<<20+7), newSource(t, 2<<20))
	change.Write[1].Path, change.Write[2].Path = "/var/lib/bin/k3s", "/opt/images/more.tar"
	disk.Fill(t, 1<<20)
	_, err = New(chroot, Options{}).Apply(t.Context(), change, installedQuery)
	require.ErrorContains(t, err, "/opt/images needs 2097152 bytes and has ")
}

// The time for a large file comes beside the timeout, which is for the rest.
func TestSourcesTakeTheirTime(t *testing.T) {
	change := installing(&node.Source{Size: 60 << 20}, &node.Source{Size: 200 << 20})
	j := newJob(&change, nil, Options{Timeout: time.Minute})
	assert.WithinDuration(t, time.Now().Add(time.Minute+patience(time.Minute)+1040*time.Second), j.until, 5*time.Second)
}

// A terminal gets lines that it takes, and as many bytes as were announced.
func TestTyping(t *testing.T) {
	for _, size := range []int{0, 1, typedLine - 1, typedLine, typedLine + 1, 10*typedLine + 5} {
		data := bytes.Repeat([]byte{0xff}, size)
		text, err := io.ReadAll(&typing{from: body{{data: data}}.read(nil)})
		require.NoError(t, err)
		assert.Len(t, text, int(typedSize(int64(size))), size)
		for line := range bytes.Lines(text) {
			assert.Less(t, len(line), 4095)
		}
	}
}
