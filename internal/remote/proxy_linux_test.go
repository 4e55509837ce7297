package remote

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// proxy stands between a client and a server on this host. It cuts the
// connection after so many bytes of both directions.
type proxy struct {
	listener net.Listener
	server   string
	cut      int64 // 0 for never
	once     bool  // whether later connections hold
	passed   atomic.Int64
	broken   atomic.Bool
	// bytes per second, 0 for any
	speed int64
}

func newProxy(t testing.TB, server string, cut int64) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, server: server, cut: cut}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.join(client)
		}
	}()
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) join(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	var once sync.Once
	end := func() {
		once.Do(func() {
			if p.cuts(p.passed.Load()) {
				p.broken.Store(true)
				// As a cable that is pulled out: no goodbye.
				_ = client.(*net.TCPConn).SetLinger(0)
				_ = server.(*net.TCPConn).SetLinger(0)
			}
			_ = client.Close()
			_ = server.Close()
		})
	}
	go p.pass(server, client, end)
	go p.pass(client, server, end)
}

func (p *proxy) cuts(passed int64) bool {
	return p.cut > 0 && passed >= p.cut && (!p.once || !p.broken.Load())
}

// pass moves bytes one way.
func (p *proxy) pass(to, from net.Conn, end func()) {
	defer end()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		data, last := buf[:n], err != nil
		if p.speed > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(p.speed))
		}
		if total := p.passed.Add(int64(n)); p.cuts(total) {
			data, last = data[:max(0, int64(n)-(total-p.cut))], true
		}
		if _, err := to.Write(data); err != nil || last {
			return
		}
	}
}

// TestConnectionCut pulls the cable after every kilobyte of the whole
// exchange.
func TestConnectionCut(t *testing.T) {
	needAcc(t)
	dir := t.TempDir()
	nodetest.Lay(t, dir, nodetest.FaultTree...)
	m := newMachine(t, dir, "", "")
	apply := func(addr string) error {
		comm, err := m.connect(addr, sshUser{name: "ops"})
		if err != nil {
			return err
		}
		_, err = New(comm, Options{}).Apply(context.Background(), nodetest.FaultChange, cutQuery)
		return err
	}
	whole := newProxy(t, m.addr, 0)
	require.NoError(t, apply(whole.addr()))
	require.Equal(t, "hardened", nodetest.State(t, rootfs.At(dir)))
	takeBack(t, dir)

	const step = 1024
	counts := map[string]int{}
	for cut := int64(step); cut < whole.passed.Load(); cut += step {
		err := apply(newProxy(t, m.addr, cut).addr())
		// The machine may need a moment to notice.
		assert.Eventually(t, func() bool { return !staged(t, dir) }, 10*time.Second, 20*time.Millisecond, "something is left after a cut at %d bytes", cut)
		found := nodetest.State(t, rootfs.At(dir))
		counts[strings.SplitN(found, ":", 2)[0]]++
		require.Contains(t, []string{"as before", "hardened"}, found, "cut after %d bytes", cut)
		if err == nil {
			// Only the goodbye was cut off.
			require.Equal(t, "hardened", found, "cut after %d bytes", cut)
			require.Greater(t, cut, whole.passed.Load()*9/10)
		}

		require.NoError(t, apply(m.addr), "the next run ends; cut after %d bytes", cut)
		nodetest.Hardened(t, dir, rootfs.At(dir))
		takeBack(t, dir)
	}
	t.Logf("%d bytes, cut after every %d: %v", whole.passed.Load(), step, counts)
}

// takeBack makes the tree at dir FaultTree again.
func takeBack(t *testing.T, dir string) {
	t.Helper()
	_, err := rootfs.At(dir).Apply(context.Background(), node.Change{Write: nodetest.Undoing.Write}, nil)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "etc/rancher/k3s/new")))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "var/lib/rancher/k3s/server/logs")))
	require.NoError(t, os.Remove(filepath.Join(dir, "etc/rancher/k3s/config.yaml.orig")))
	require.Equal(t, "as before", nodetest.State(t, rootfs.At(dir)))
}

var cutQuery = node.Query{{Path: "/etc/rancher", Depth: node.Deep, Content: true}, {Path: "/var/lib", Depth: node.Deep}, {Path: "/z", Depth: node.Deep, Content: true}}

// staged says whether a staging directory is in one of the places for them.
func staged(t *testing.T, dir string) bool {
	t.Helper()
	for _, at := range []string{"var/lib", "run", "etc", "", "etc/rancher/k3s", "etc/sysctl.d", "z", "var/lib/rancher/k3s/server"} {
		if found, err := filepath.Glob(filepath.Join(dir, at, node.StagingPrefix+"*")); err != nil || len(found) > 0 {
			return true
		}
	}
	return false
}
