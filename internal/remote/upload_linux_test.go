package remote

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// fileWays are the ways of the request file. Where the communicator uploads it,
// only a connection can remove what one that was cut has left.
var fileWays = []struct {
	name  string
	user  sshUser
	enter string
	again bool
}{
	{name: "poured", user: sshUser{name: "pass"}},
	{name: "typed", user: sshUser{name: "pass", pty: true}},
	{name: "scp", user: sshUser{name: "pass", pty: true}, enter: "mount --bind /dev/null usr/bin/base64", again: true},
	{name: "sftp", user: sshUser{name: "pass", pty: true, sftp: true}, enter: "mount --bind /dev/null usr/bin/base64", again: true},
}

const bento = "echo 'hunter2' | {{ .Vars }} sudo -S -E sh -eux '{{ .Path }}'"

// largeChange is FaultChange with a file that takes a while to travel.
func largeChange() node.Change {
	c := nodetest.FaultChange
	data := make([]byte, 512<<10)
	_, _ = rand.New(rand.NewSource(1)).Read(data)
	c.Write = append(slices.Clone(c.Write), nodetest.File("/z/large", 0o600, string(data)))
	return c
}

// onMachine is what a command prints that root runs on the machine.
func onMachine(t *testing.T, m *sshMachine, command string) string {
	t.Helper()
	comm, err := m.connect(m.addr, sshUser{name: "root"})
	require.NoError(t, err)
	var out bytes.Buffer
	cmd := &packersdk.RemoteCmd{Command: command, Stdout: &out, Stderr: &out}
	require.NoError(t, comm.Start(context.Background(), cmd))
	cmd.Wait()
	return out.String()
}

// TestUploadCut pulls the cable while the request file travels.
func TestUploadCut(t *testing.T) {
	needAcc(t)
	for _, way := range fileWays {
		t.Run(way.name, func(t *testing.T) {
			dir := t.TempDir()
			nodetest.Lay(t, dir, nodetest.FaultTree...)
			m := newMachine(t, dir, way.enter, "")
			counts := map[string]int{}
			for cut := int64(4 << 10); cut < 700<<10; cut += 29 << 10 {
				p := newProxy(t, m.addr, cut)
				p.once = way.again
				comm, err := m.connect(p.addr(), way.user)
				if err != nil {
					continue // cut before anything was sent
				}
				_, err = New(comm, Options{Wrap: rendered(t, bento), Timeout: 20 * time.Second}).Apply(context.Background(), largeChange(), cutQuery)
				assert.Eventually(t, func() bool {
					left, _ := filepath.Glob(filepath.Join(dir, "tmp/*"))
					return len(left) == 0 && !staged(t, dir)
				}, 10*time.Second, 20*time.Millisecond, "something is left after a cut at %d bytes", cut)
				found := nodetest.State(t, rootfs.At(dir))
				counts[found]++
				if err == nil {
					require.True(t, way.again, "an answer came through a connection that was cut")
					require.Equal(t, "hardened", found)
				}
				if found == "hardened" {
					takeBack(t, dir)
				}
				require.Equal(t, "as before", nodetest.State(t, rootfs.At(dir)), "cut after %d bytes", cut)
			}
			t.Log(counts)
			assert.NotZero(t, counts["as before"])
		})
	}
}

// TestUploadCancelled ends the build while the request file travels.
func TestUploadCancelled(t *testing.T) {
	needAcc(t)
	for _, way := range fileWays {
		t.Run(way.name, func(t *testing.T) {
			dir := t.TempDir()
			nodetest.Lay(t, dir, nodetest.FaultTree...)
			m := newMachine(t, dir, way.enter, "")
			for _, bytes := range []int64{10 << 10, 60 << 10, 200 << 10, 400 << 10} {
				p := newProxy(t, m.addr, 0)
				p.speed = 1 << 20
				comm, err := m.connect(p.addr(), way.user)
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(context.Background())
				go func() {
					for p.passed.Load() < bytes {
						time.Sleep(time.Millisecond)
					}
					cancel()
				}()
				started := time.Now()
				_, err = New(comm, Options{Wrap: rendered(t, bento)}).Apply(ctx, largeChange(), cutQuery)
				require.ErrorIs(t, err, context.Canceled)
				assert.Less(t, time.Since(started), 20*time.Second)
				assert.Eventually(t, func() bool {
					left, _ := filepath.Glob(filepath.Join(dir, "tmp/*"))
					return len(left) == 0 && !staged(t, dir)
				}, 10*time.Second, 20*time.Millisecond, "something is left after %d bytes", bytes)
				// What the connection holds already goes its way.
				if nodetest.State(t, rootfs.At(dir)) == "hardened" {
					takeBack(t, dir)
				}
				require.Equal(t, "as before", nodetest.State(t, rootfs.At(dir)))
			}
		})
	}
}

// TestUploadNoRoom has no room for the request file.
func TestUploadNoRoom(t *testing.T) {
	needAcc(t)
	faults := map[string]struct{ enter, err string }{
		"full":          {"mount -t tmpfs -o size=64k,mode=1777 tmpfs tmp", "No space left on device"},
		"none left":     {"mount -t tmpfs -o size=64k,mode=1777 tmpfs tmp; head -c 1M /dev/zero >tmp/full || :", "No space left on device"},
		"no more files": {"mount -t tmpfs -o nr_inodes=1,mode=1777 tmpfs tmp", "No space left on device"},
		"read-only":     {"mount -t tmpfs -o ro,mode=1777 tmpfs tmp", "Read-only file system"},
		"missing":       {"rmdir tmp", "No such file or directory|Directory nonexistent"},
	}
	for _, way := range fileWays {
		for name, fault := range faults {
			t.Run(way.name+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				nodetest.Lay(t, dir, nodetest.FaultTree...)
				m := newMachine(t, dir, way.enter+"\n"+fault.enter, "")
				comm, err := m.connect(m.addr, way.user)
				require.NoError(t, err)
				_, err = New(comm, Options{Wrap: rendered(t, bento)}).Apply(context.Background(), largeChange(), cutQuery)
				t.Log(err)
				require.Error(t, err)
				assert.Regexp(t, fault.err, err.Error())
				assert.NotContains(t, err.Error(), password)
				require.Equal(t, "as before", nodetest.State(t, rootfs.At(dir)))
				assert.False(t, staged(t, dir))
				assert.NotContains(t, onMachine(t, m, "ls /tmp"), "k3s-cis")
			})
		}
	}
}

// TestUploadIsPrivate looks at the request file all the time that it travels.
func TestUploadIsPrivate(t *testing.T) {
	needAcc(t)
	for _, way := range fileWays {
		t.Run(way.name, func(t *testing.T) {
			dir := t.TempDir()
			nodetest.Lay(t, dir, nodetest.FaultTree...)
			m := newMachine(t, dir, way.enter, "")
			p := newProxy(t, m.addr, 0)
			p.speed = 1 << 20
			comm, err := m.connect(p.addr(), way.user)
			require.NoError(t, err)
			seen := map[string]int{}
			stop := make(chan struct{})
			var watching sync.WaitGroup
			watching.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					found, _ := os.ReadDir(filepath.Join(dir, "tmp"))
					for _, f := range found {
						if info, err := f.Info(); err == nil {
							seen[fmt.Sprintf("%v, %t", info.Mode(), info.Size() > 0)]++
						}
					}
				}
			})
			_, err = New(comm, Options{Wrap: rendered(t, bento)}).Apply(context.Background(), largeChange(), cutQuery)
			close(stop)
			watching.Wait()
			require.NoError(t, err)
			t.Log(seen)
			require.Contains(t, strings.Join(slices.Collect(maps.Keys(seen)), " "), "true", "the file was seen on its way")
			for mode := range seen {
				// Who opens it while it is empty can read on.
				assert.Regexp(t, `^-rw[-x]------,`, mode, "others can read what is in it")
			}
		})
	}
}
