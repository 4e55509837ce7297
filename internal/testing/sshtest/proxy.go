package sshtest

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proxy forwards TCP connections on the loopback interface and holds back what
// passes, half a round trip each way. Bandwidth is not limited, nothing is lost
// and windows of TCP are not simulated: what grows with the round trip is the
// number of times that one side waits for the other.
type Proxy struct {
	// Port is where it listens, on 127.0.0.1.
	Port int

	target string
	trip   time.Duration
	conns  sync.WaitGroup
	in     atomic.Int64
	out    atomic.Int64

	mu       sync.Mutex
	spoke    time.Time // when the client last sent something
	answered bool      // the server has sent something since
	waits    int
}

// NewProxy starts a proxy to an address, with a round trip's duration. It ends
// with the test.
func NewProxy(t testing.TB, target string, trip time.Duration) *Proxy {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p := &Proxy{Port: port(l.Addr()), target: target, trip: trip}
	p.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.conns.Go(func() { p.forward(ctx, c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		p.conns.Wait()
	})
	return p
}

// Bytes returns how many bytes have gone to the server and come from it since
// the proxy started, encryption and handshakes included.
func (p *Proxy) Bytes() (in, out int64) { return p.in.Load(), p.out.Load() }

// RoundTrips returns how often the client has waited for the server: it was
// silent for a round trip, got something, and spoke again. What streams one way
// waits for nothing and counts once; now and then an acknowledgement in the middle
// of a stream counts too, so that the figure is an upper bound. Without a delay
// nothing can be told from silence and nothing is counted.
func (p *Proxy) RoundTrips() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waits
}

func (p *Proxy) clientSpeaks() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	// Timers may be late, never early: nine tenths leave room for the clock.
	if p.trip > 0 && p.answered && now.Sub(p.spoke) >= p.trip*9/10 {
		p.waits++
	}
	p.spoke, p.answered = now, false
}

func (p *Proxy) serverAnswered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered = true
}

func (p *Proxy) forward(ctx context.Context, client net.Conn) {
	// A connection is made in one round trip; the kernel's own took none.
	select {
	case <-time.After(p.trip):
	case <-ctx.Done():
	}
	var dialer net.Dialer
	server, err := dialer.DialContext(ctx, "tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { p.carry(server, client, &p.in, p.clientSpeaks, func() {}) })
	both.Go(func() { p.carry(client, server, &p.out, func() {}, p.serverAnswered) })
	both.Wait()
	_ = client.Close()
	_ = server.Close()
}

// chunk is what one read gave, and when it is due at the other side.
type chunk struct {
	data []byte
	due  time.Time
}

// carry copies from one side to the other, late, and calls taken as something
// comes and given as it leaves. What cannot be delivered closes
// the side it came from.
func (p *Proxy) carry(to, from net.Conn, count *atomic.Int64, taken, given func()) {
	const flying = 1 << 14 // chunks on their way
	chunks := make(chan chunk, flying)
	go func() {
		defer close(chunks)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				taken()
				chunks <- chunk{buf[:n], time.Now().Add(p.trip / 2)}
			}
			if err != nil {
				return
			}
		}
	}()
	for c := range chunks {
		time.Sleep(time.Until(c.due))
		if _, err := to.Write(c.data); err != nil {
			_ = from.Close()
			for range chunks {
				// The reader ends now that its connection is closed.
			}
			return
		}
		given()
		count.Add(int64(len(c.data)))
	}
	time.Sleep(p.trip / 2)
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

func port(a net.Addr) int {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}
