package remote

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/disktest"
)

// TestOutlivesThePower cuts the power at several moments after the answer: the
// disk has all that the answer says, the copy of what was replaced too, and
// nothing of what was only staged.
func TestOutlivesThePower(t *testing.T) {
	for _, kind := range nodetest.DiskKinds {
		t.Run(kind, func(t *testing.T) {
			disk := disktest.New(t, kind)
			comm := newChroot(t, disk.Dir, "dash")
			nodetest.Lay(t, disk.Dir, nodetest.FaultTree...)
			machine := New(comm, Options{Early: true})
			_, err := machine.Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
			require.NoError(t, err)
			answered := time.Now()
			var cuts []*disktest.Cut
			for _, after := range []time.Duration{0, time.Second, 3 * time.Second, 8 * time.Second} {
				time.Sleep(time.Until(answered.Add(after)))
				cuts = append(cuts, disk.Cut(t))
			}
			machine.Settle(context.Background())
			disk.Unmount(t)
			for _, cut := range cuts {
				found := cut.Mount(t)
				require.Equal(t, "hardened", nodetest.State(t, rootfs.At(found)))
				nodetest.Hardened(t, found, rootfs.At(found))
				kept, err := os.ReadFile(filepath.Join(found, "etc/rancher/k3s/config.yaml.orig"))
				require.NoError(t, err)
				assert.Equal(t, "token: x", string(kept))
			}
		})
	}
}

// What somebody else wrote a moment ago, and is judged now, is on the disk too.
func TestReadOutlivesThePower(t *testing.T) {
	for _, flavor := range []string{"dash", "busybox"} {
		t.Run(flavor, func(t *testing.T) {
			disk := disktest.New(t, "ext4")
			comm := newChroot(t, disk.Dir, flavor)
			nodetest.Lay(t, disk.Dir, nodetest.FaultTree...)
			_, err := New(comm, Options{}).Read(context.Background(), nodetest.FaultQuery)
			require.NoError(t, err)
			found := disk.Cut(t).Mount(t)
			require.Equal(t, "as before", nodetest.State(t, rootfs.At(found)))
			assert.NotContains(t, nodetest.Snapshot(t, found), node.StagingPrefix)
		})
	}
}

// stopper stands before a tool in the search path and stops there until the test
// has cut the power.
const stopper = `#!/usr/bin/dash
set -C
n=1
until echo "${0##*/} $*" >/kill/call.$n; do n=$((n + 1)); done 2>/dev/null
until [ -e /kill/go.$n ]; do /usr/bin/sleep 0.02; done
tool=${0##*/}
real=/usr/bin/$tool
[ -x $real ] || real=/usr/sbin/$tool
exec $real "$@"
`

// TestPowerCutAtEveryStep cuts the power before each command of a run. Started
// again, the machine is hardened by the next run, and nothing of the user's is
// lost, whatever of the last moments the disk happens to have: only what was
// synced, all names but not what the newest files hold, or everything.
func TestPowerCutAtEveryStep(t *testing.T) {
	needAcc(t)
	for name, before := range map[string]func(t *testing.T, dir string){
		"what was synced": func(*testing.T, string) {},
		"names": func(t *testing.T, dir string) {
			f, err := os.Create(filepath.Join(dir, "other"))
			require.NoError(t, err)
			require.NoError(t, f.Sync())
			require.NoError(t, f.Close())
		},
		"everything": func(t *testing.T, dir string) { nodetest.Run(t, "sync", "-f", dir) },
	} {
		t.Run(name, func(t *testing.T) { sweepCuts(t, before) })
	}
}

func sweepCuts(t *testing.T, before func(*testing.T, string)) {
	disk := disktest.New(t, "ext4")
	comm := newChroot(t, disk.Dir, "dash")
	nodetest.Lay(t, disk.Dir, nodetest.FaultTree...)
	nodetest.Lay(t, disk.Dir, "dir /kill 0755", "file /aside/file 0644 x")
	nodetest.Run(t, "sync", "-f", disk.Dir)
	outside := t.TempDir()
	for _, tool := range strings.Fields(tools) {
		nodetest.Lay(t, outside, "file /"+tool+" 0755 "+stopper)
	}
	comm.enter = "mount --bind '" + outside + "' kill; PATH=/kill:$PATH; export PATH"

	ended := make(chan error, 1)
	go func() {
		_, err := New(comm, Options{}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
		ended <- err
	}()
	var cuts []*disktest.Cut
	var steps []string
	for running, n := true, 1; running; {
		step, err := os.ReadFile(filepath.Join(outside, fmt.Sprintf("call.%d", n)))
		if err == nil && len(step) > 0 {
			before(t, disk.Dir)
			cuts, steps = append(cuts, disk.Cut(t)), append(steps, strings.TrimSpace(string(step)))
			require.NoError(t, os.WriteFile(filepath.Join(outside, fmt.Sprintf("go.%d", n)), nil, 0o600))
			n++
			continue
		}
		select {
		case err := <-ended:
			require.NoError(t, err)
			running = false
		case <-time.After(5 * time.Millisecond):
		}
	}
	require.Greater(t, len(cuts), 20)
	counts := map[string]int{}
	for i, cut := range cuts {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			found := cut.Mount(t)
			counts[strings.SplitN(nodetest.State(t, rootfs.At(found)), ":", 2)[0]]++
			again := newChroot(t, found, "dash")
			_, err := New(again, Options{}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
			require.NoError(t, err, "the next run ends; cut before %s", steps[i])
			require.Equal(t, "hardened", nodetest.State(t, rootfs.At(found)), "cut before %s", steps[i])
			nodetest.Hardened(t, found, rootfs.At(found))
			kept, err := os.ReadFile(filepath.Join(found, "etc/rancher/k3s/config.yaml.orig"))
			require.NoError(t, err)
			require.Equal(t, "token: x", string(kept), "cut before %s", steps[i])
		})
	}
	t.Logf("%d cuts: %v", len(cuts), counts)
}

// An undoing that is empty, or ends in the middle, is not taken for one that
// worked: the originals stay, and the error says where.
func TestUndoThatIsNotWhole(t *testing.T) {
	const whole = "failed=0\nback() { mv -f \"$1\"/* \"$2\"; }\nback '/var/lib/.k3s-cis-abc/o/1' '/z'\n[ \"$failed\" = 0 ] || exit 1\necho undone\n"
	for name, undo := range map[string]string{
		"empty":             "",
		"zeros":             strings.Repeat("\x00", len(whole)),
		"its first line":    whole[:9],
		"all but its end":   strings.TrimSuffix(whole, "echo undone\n"),
		"cut in the middle": whole[:len(whole)/2],
		"whole":             whole,
	} {
		for _, flavor := range flavors {
			t.Run(name+"/"+flavor, func(t *testing.T) {
				dir := t.TempDir()
				comm := newChroot(t, dir, flavor)
				nodetest.Lay(t, dir, nodetest.FaultTree...)
				nodetest.Lay(t, dir, "file /z/last 0644 half", "dir /var/lib/.k3s-cis-abc 0700", "file /var/lib/.k3s-cis-abc/armed 0600",
					"file /var/lib/.k3s-cis-abc/undo 0600 "+undo, "file /var/lib/.k3s-cis-abc/o/1/last 0644 old")
				_, err := New(comm, Options{}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
				if name == "whole" {
					require.NoError(t, err)
					nodetest.Hardened(t, dir, rootfs.At(dir))
					return
				}
				require.ErrorContains(t, err, "could not be put back")
				require.ErrorContains(t, err, "the originals are in /var/lib/.k3s-cis-abc")
				found := nodetest.Snapshot(t, dir)
				assert.Equal(t, 1, strings.Count(found, "/o/1/last")+strings.Count(found, "/z/last "+"-rw-r--r-- 0:0 "+nodetest.Sum("old")), "the original is there")
				assert.Equal(t, 1, strings.Count(found, node.StagingPrefix+"abc "), "and so is the directory")
			})
		}
	}
}

// refusingTools stand before the real ones: one file cannot be removed, and then
// nothing can be moved back.
var refusingTools = []string{
	"file /kill/mv 0755 #!/bin/sh\ncase \"$*\" in\n*/o/*) echo refused to move >&2; exit 1 ;;\nesac\nexec /usr/bin/mv \"$@\"\n",
	"file /kill/rm 0755 #!/bin/sh\ncase \"$*\" in\n*/z/gone*) echo refused >&2; exit 1 ;;\nesac\nexec /usr/bin/rm \"$@\"\n",
}

// TestCannotTakeBack: what cannot be put back stays where it is, the error says
// where, and the next run that can puts it back.
func TestCannotTakeBack(t *testing.T) {
	for _, way := range []string{wayStdin, wayUpload} {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			comm := newChroot(t, dir, "dash")
			comm.noStdin = way == wayUpload
			nodetest.Lay(t, dir, nodetest.FaultTree...)
			nodetest.Lay(t, dir, refusingTools...)
			comm.enter = "PATH=/kill:$PATH; export PATH"
			_, err := New(comm, Options{}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
			require.ErrorContains(t, err, "cannot change /z: refused")
			require.ErrorContains(t, err, "could not be put back: refused to move; the originals are in /var/lib/"+node.StagingPrefix)
			originals, globErr := filepath.Glob(filepath.Join(dir, "var/lib", node.StagingPrefix+"*", "o", "*", "config.yaml"))
			require.NoError(t, globErr)
			require.Len(t, originals, 1)
			data, readErr := os.ReadFile(originals[0])
			require.NoError(t, readErr)
			assert.Equal(t, "token: x", string(data))

			_, err = New(comm, Options{}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
			require.ErrorContains(t, err, "an earlier run was cut off, and what was there before it could not be put back: refused to move")
			assert.FileExists(t, originals[0])

			comm.enter = ""
			_, err = New(comm, Options{}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
			require.NoError(t, err)
			nodetest.Hardened(t, dir, rootfs.At(dir))
		})
	}
}

// TestRunsWaitForEachOther has another run at work for some time.
func TestRunsWaitForEachOther(t *testing.T) {
	hold := func(t *testing.T, dir, seconds string) {
		t.Helper()
		nodetest.Lay(t, dir, "dir /var/lib/"+node.StagingPrefix+"0 0700", "file /var/lib/"+node.StagingPrefix+"0/turn 0600")
		other := exec.Command("sleep", seconds)
		other.Dir = filepath.Join(dir, "var/lib", node.StagingPrefix+"0")
		require.NoError(t, other.Start())
		go func() { _ = other.Wait() }()
		t.Cleanup(func() { _ = other.Process.Kill() })
	}
	for _, flavor := range flavors {
		t.Run("too long/"+flavor, func(t *testing.T) {
			dir := t.TempDir()
			comm := newChroot(t, dir, flavor)
			nodetest.Lay(t, dir, nodetest.FaultTree...)
			hold(t, dir, "60")
			before := nodetest.Snapshot(t, dir)
			_, err := New(comm, Options{Timeout: 3 * time.Second}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
			require.ErrorContains(t, err, "another run was at work on this machine for longer than the timeout of 3 s")
			assert.Equal(t, before, nodetest.Snapshot(t, dir))
		})
	}
	t.Run("longer than half a minute", func(t *testing.T) {
		needAcc(t)
		dir := t.TempDir()
		comm := newChroot(t, dir, "dash")
		nodetest.Lay(t, dir, nodetest.FaultTree...)
		hold(t, dir, "33")
		started := time.Now()
		_, err := New(comm, Options{Timeout: 2 * time.Minute}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
		require.NoError(t, err)
		assert.Greater(t, time.Since(started), 30*time.Second)
		nodetest.Hardened(t, dir, rootfs.At(dir))
	})
	t.Run("four at once", func(t *testing.T) {
		dir := t.TempDir()
		newChroot(t, dir, "dash")
		nodetest.Lay(t, dir, nodetest.FaultTree...)
		nodetest.Lay(t, dir, "file /kill/mv 0755 #!/bin/sh\nsleep 0.5\nexec /usr/bin/mv \"$@\"\n")
		ended := make(chan error, 4)
		for range cap(ended) {
			comm := newChroot(t, dir, "dash")
			comm.enter = "PATH=/kill:$PATH; export PATH"
			go func() {
				_, err := New(comm, Options{}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
				ended <- err
			}()
		}
		for range cap(ended) {
			require.NoError(t, <-ended)
		}
		nodetest.Hardened(t, dir, rootfs.At(dir))
	})
}

// TestFullDisk fills the disk to many levels: a run ends well, or says that the
// disk is full and which, and leaves all as it was.
func TestFullDisk(t *testing.T) {
	for _, flavor := range []string{"dash", "busybox"} {
		t.Run(flavor, func(t *testing.T) {
			disk := disktest.New(t, "ext4")
			comm := newChroot(t, disk.Dir, flavor)
			nodetest.Lay(t, disk.Dir, nodetest.FaultTree...)
			nodetest.Lay(t, disk.Dir, "dir /var/lib 0755")
			worked, failed := 0, 0
			for left := int64(0); left < 28*12<<10; left += 12 << 10 {
				disk.Fill(t, left)
				before := nodetest.Snapshot(t, disk.Dir)
				_, err := New(comm, Options{}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
				if err == nil {
					worked++
					require.Equal(t, "hardened", nodetest.State(t, rootfs.At(disk.Dir)))
					require.NoError(t, os.Remove(filepath.Join(disk.Dir, "filled")))
					_, err = rootfs.At(disk.Dir).Apply(context.Background(), node.Change{Write: nodetest.Undoing.Write}, nil)
					require.NoError(t, err)
					require.NoError(t, os.RemoveAll(filepath.Join(disk.Dir, "etc/rancher/k3s/new")))
					require.NoError(t, os.RemoveAll(filepath.Join(disk.Dir, "var/lib/rancher/k3s/server/logs")))
					require.NoError(t, os.Remove(filepath.Join(disk.Dir, "etc/rancher/k3s/config.yaml.orig")))
					continue
				}
				failed++
				t.Logf("%d bytes left: %v", left, err)
				assert.Regexp(t, "No space left on device|no directory can be made in .*full", err.Error(), "%d bytes left", left)
				assert.Equal(t, before, nodetest.Snapshot(t, disk.Dir), "%d bytes left", left)
				require.NoError(t, os.Remove(filepath.Join(disk.Dir, "filled")))
			}
			t.Logf("%d worked, %d failed", worked, failed)
			assert.Positive(t, worked)
			assert.Positive(t, failed)
		})
	}
}

// What lies where no image gets it from is refused on a machine, before anything
// is changed there.
func TestMachineMounts(t *testing.T) {
	needAcc(t)
	nodetest.NeedRoot(t)
	if ns, err := os.Readlink("/proc/self/ns/pid"); err != nil || ns != "pid:[4026531836]" {
		t.Skip("this is a container, and no machine")
	}
	for name, c := range map[string]struct{ enter, err string }{
		"nothing":              {"", ""},
		"in memory":            {"mount -t tmpfs tmpfs rancher", "/rancher is a file system in memory, so that the image gets nothing of what is there"},
		"in memory, in fstab":  {"mount -t tmpfs tmpfs rancher; echo \"tmpfs $PWD/rancher tmpfs\" >fstab; mount --bind fstab /etc/fstab", "/rancher is a file system in memory"},
		"above it in memory":   {"mount -t tmpfs tmpfs . && cd $PWD && mkdir rancher", " is a file system in memory"},
		"elsewhere in memory":  {"mount -t tmpfs tmpfs other", ""},
		"another directory":    {"mount --bind other rancher", "/rancher that neither /etc/fstab nor a mount unit mounts again"},
		"the same, in fstab":   {"mount --bind other rancher; echo \"$PWD/other $PWD/rancher none bind\" >fstab; mount --bind fstab /etc/fstab", ""},
		"behind a link":        {"mount -t tmpfs tmpfs other; rm -rf rancher; ln -s other rancher", "/other is a file system in memory"},
		"a disk":               {"truncate -s 16M disk; mkfs.ext4 -q disk; mount -o loop disk rancher", "neither /etc/fstab nor a mount unit"},
		"a disk that is known": {"truncate -s 16M disk; mkfs.ext4 -q disk; mount -o loop disk rancher; echo \"/dev/sdb1 $PWD/rancher ext4\" >fstab; mount --bind fstab /etc/fstab", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("/var/tmp", "k3s-cis") //nolint:usetesting // what is in /tmp is not in an image
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
			for _, d := range []string{"rancher", "other"} {
				require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o755))
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, "fstab"), nil, 0o600))
			at := filepath.Join(dir, "rancher")
			machine := New(hostComm{enter: "cd " + dir + "\n" + c.enter}, Options{})
			_, err = machine.Apply(context.Background(), node.Change{Write: []node.Entry{nodetest.File(at+"/k3s/a", 0o600, "x")}}, node.Query{{Path: at, Depth: node.Deep, Content: true}})
			if c.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.err)
			assert.NoFileExists(t, at+"/k3s/a")
			assert.NoFileExists(t, dir+"/other/k3s/a")
			if strings.Contains(c.err, "memory") {
				_, err = machine.Read(context.Background(), node.Query{{Path: at, Depth: node.Deep, Content: true}})
				require.ErrorContains(t, err, c.err, "reading proves nothing either")
			}
		})
	}
}
