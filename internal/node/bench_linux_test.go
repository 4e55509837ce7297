package node

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// benchEnv names the file that TestBench writes its figures to.
const benchEnv = "K3S_CIS_BENCH"

// figure is one measured way at one round trip.
type figure struct {
	Way string `json:"way"`
	// RoundTrip is in milliseconds, Seconds the median of Runs runs with the
	// connection, Adds the seconds above a connection alone.
	RoundTrip int     `json:"round_trip_ms"`
	Files     int     `json:"files"`
	Runs      int     `json:"runs"`
	Seconds   float64 `json:"seconds"`
	Adds      float64 `json:"adds_seconds"`
	Bytes     int64   `json:"bytes"`
	Channels  int     `json:"ssh_channels"`
}

// bench is a machine that is measured on.
type bench struct {
	t       *testing.T
	m       *sshMachine
	serial  int
	figures []figure
}

// fresh returns a change that nothing of is on the machine yet.
func (b *bench) fresh(files int) (Change, Query) {
	b.serial++
	top := fmt.Sprintf("/etc/bench/%d", b.serial)
	c := Change{Write: []Entry{directory(top+"/server", 0o700), directory(top+"/server/logs", 0o700)}}
	for i := range files {
		c.Write = append(c.Write, file(fmt.Sprintf("%s/%d/file-%d.yaml", top, i%4, i), 0o600, strings.Repeat(fmt.Sprintf("key-%d: value\n", i), 30)))
	}
	return c, Query{{Path: top, Depth: Deep, Content: true}}
}

// TestBench measures ways to put files in place as root with exact modes and
// to read them back, on an OpenSSH server behind a proxy that delays, and
// prints one table.
func TestBench(t *testing.T) {
	out := os.Getenv(benchEnv)
	if out == "" {
		t.Skipf("measures for minutes: set %s to the file for the figures", benchEnv)
	}
	log.SetOutput(io.Discard)
	dir := t.TempDir()
	lay(t, dir, "dir /etc 0755", "dir /var/lib 0755")
	b := &bench{t: t, m: newMachine(t, dir, "", "MaxSessions 100")}
	for _, rtt := range []int{0, 50, 150} {
		const files = 8
		connect := b.measure("connect only", rtt, 0, 5, 0, func(packersdk.Communicator, string, int) {})
		b.measure("one bare ssh command, same bytes", rtt, files, 5, connect, b.bare)
		b.measure("this plugin", rtt, files, 5, connect, b.ours)
		b.measure("file and shell provisioners", rtt, files, 3, connect, b.fileAndShell)
		if _, err := exec.LookPath("ansible-playbook"); err == nil {
			b.measure("Ansible, pipelining on", rtt, files, 1, connect, b.ansible)
		} else {
			t.Log("ansible-playbook is not installed: not measured")
		}
	}
	connect := b.find("connect only", 50).Seconds
	for _, files := range []int{10, 100, 1000} {
		b.measure("this plugin", 50, files, 3, connect, b.ours)
	}
	t.Log("\n" + b.table())
	data, err := json.MarshalIndent(b.figures, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(out, append(data, '\n'), 0o644))
}

func (b *bench) find(way string, rtt int) figure {
	i := slices.IndexFunc(b.figures, func(f figure) bool { return f.Way == way && f.RoundTrip == rtt })
	require.GreaterOrEqual(b.t, i, 0)
	return b.figures[i]
}

// measure runs one way several times and keeps the median.
func (b *bench) measure(way string, rtt, files, runs int, connect float64, do func(packersdk.Communicator, string, int)) float64 {
	b.t.Helper()
	f := figure{Way: way, RoundTrip: rtt, Files: files, Runs: runs}
	var seconds []float64
	for range runs {
		p := newProxy(b.t, b.m.addr, time.Duration(rtt)*time.Millisecond/2, 0)
		channels := b.m.channels(b.t)
		started := time.Now()
		comm, err := b.m.connect(p.addr(), sshUser{name: "ops"})
		require.NoError(b.t, err)
		do(comm, p.addr(), files)
		seconds = append(seconds, time.Since(started).Seconds())
		f.Bytes, f.Channels = p.passed.Load(), b.m.channels(b.t)-channels
	}
	slices.Sort(seconds)
	f.Seconds = seconds[len(seconds)/2]
	if files > 0 {
		f.Adds = f.Seconds - connect
	}
	b.figures = append(b.figures, f)
	return f.Seconds
}

func (b *bench) ours(comm packersdk.Communicator, _ string, files int) {
	c, q := b.fresh(files)
	out, err := Remote(comm, RemoteOptions{}).Apply(context.Background(), c, q)
	require.NoError(b.t, err)
	require.Equal(b.t, wayStdin, out.Way)
	require.Len(b.t, out.Node.Entries(), files+7)
}

// bare sends the bytes that the plugin sends, unpacks them and sends them back.
func (b *bench) bare(comm packersdk.Communicator, _ string, files int) {
	c, q := b.fresh(files)
	archive, _, err := newJob(&c, q, RemoteOptions{}).archive()
	require.NoError(b.t, err)
	var out bytes.Buffer
	cmd := &packersdk.RemoteCmd{
		Command: fmt.Sprintf("sudo -n sh -c 'mkdir -p /etc/bench/%[1]d; cd /etc/bench/%[1]d; tar -xpf -; tar -cf - w'", b.serial),
		Stdin:   bytes.NewReader(archive), Stdout: &out,
	}
	require.NoError(b.t, comm.Start(context.Background(), cmd))
	require.Zero(b.t, cmd.Wait())
	_, err = tar.NewReader(&out).Next()
	require.NoError(b.t, err)
}

// fileAndShell does what Packer's provisioners of those names do: one upload a
// file, then a script that is uploaded, made executable, run and removed.
func (b *bench) fileAndShell(comm packersdk.Communicator, _ string, files int) {
	c, _ := b.fresh(files)
	put := func(name string, data []byte) {
		fi := fs.FileInfo(upload{path.Base(name), int64(len(data))})
		require.NoError(b.t, comm.Upload(name, bytes.NewReader(data), &fi))
	}
	run := func(command string) {
		var out, errOut bytes.Buffer
		cmd := &packersdk.RemoteCmd{Command: command, Stdout: &out, Stderr: &errOut}
		require.NoError(b.t, comm.Start(context.Background(), cmd))
		require.Zero(b.t, cmd.Wait(), "%s: %s", command, &errOut)
	}
	script := "set -e\n"
	for i, e := range c.Write {
		if e.Kind == KindDirectory {
			script += fmt.Sprintf("install -d -m %o %s\n", e.Mode.Perm(), e.Path)
			continue
		}
		at := fmt.Sprintf("/tmp/bench-%d", i)
		put(at, e.Data)
		script += fmt.Sprintf("install -D -o root -g root -m %o %s %s\nstat -c '%%a %%U' %[3]s\nsha256sum %[3]s\nrm %[2]s\n", e.Mode.Perm(), at, e.Path)
	}
	put("/tmp/bench.sh", []byte(script))
	run("chmod 0755 /tmp/bench.sh")
	run("sudo -n sh /tmp/bench.sh")
	run("rm -f /tmp/bench.sh")
}

// ansible does the same with Ansible: directories, files with modes, and
// reading back.
func (b *bench) ansible(_ packersdk.Communicator, addr string, files int) {
	c, _ := b.fresh(files)
	dir := b.t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		require.NoError(b.t, os.WriteFile(p, []byte(text), 0o600))
		return p
	}
	key, err := ssh.MarshalPrivateKey(b.m.private, "")
	require.NoError(b.t, err)
	keyFile := write("key", string(pem.EncodeToMemory(key)))
	host, port, _ := strings.Cut(addr, ":")
	var play strings.Builder
	play.WriteString("- hosts: all\n  become: true\n  gather_facts: false\n  tasks:\n")
	parents := map[string]bool{}
	for i, e := range c.Write {
		if e.Kind == KindDirectory {
			fmt.Fprintf(&play, "    - file: {path: %s, state: directory, mode: '0%o'}\n", e.Path, e.Mode.Perm())
			continue
		}
		if parent := path.Dir(e.Path); !parents[parent] {
			parents[parent] = true
			fmt.Fprintf(&play, "    - file: {path: %s, state: directory, mode: '0755'}\n", parent)
		}
		fmt.Fprintf(&play, "    - copy: {src: %s, dest: %s, mode: '0%o', owner: root, group: root}\n", write(fmt.Sprint(i), string(e.Data)), e.Path, e.Mode.Perm())
		fmt.Fprintf(&play, "    - stat: {path: %s, checksum_algorithm: sha256}\n", e.Path)
	}
	cmd := exec.Command("ansible-playbook", "-i", fmt.Sprintf("%s:%s,", host, port), "-u", "ops", "--private-key", keyFile, write("play.yml", play.String()))
	cmd.Env = append(os.Environ(), "ANSIBLE_HOST_KEY_CHECKING=False", "ANSIBLE_PIPELINING=True", "ANSIBLE_LOCAL_TEMP="+dir, "HOME="+dir, "LC_ALL=C.UTF-8",
		"ANSIBLE_SSH_ARGS=-C -o ControlMaster=auto -o ControlPersist=5s -o UserKnownHostsFile=/dev/null -o ControlPath="+dir+"/c")
	out, err := cmd.CombinedOutput()
	require.NoError(b.t, err, "%s", out)
}

func (b *bench) table() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%-34s %6s %6s %8s %8s %9s %9s\n", "way", "rtt ms", "files", "seconds", "adds", "bytes", "channels")
	for _, f := range b.figures {
		fmt.Fprintf(&s, "%-34s %6d %6d %8.2f %8.2f %9d %9d\n", f.Way, f.RoundTrip, f.Files, f.Seconds, f.Adds, f.Bytes, f.Channels)
	}
	return s.String()
}
