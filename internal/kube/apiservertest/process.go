package apiservertest

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is a program that runs beside a test and ends with it.
type process struct {
	cmd    *exec.Cmd
	output *output
	// done is closed when the program has ended.
	done chan struct{}
	err  error
}

// output collects what a program writes; it may be read meanwhile.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write appends to what String returns.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

// String returns everything written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

// start runs a program in directory dir until it ends or the test does.
func start(t testing.TB, dir, binary string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary, args...), output: &output{}, done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	require.NoError(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.stop)
	return p
}

// stop asks the program to end, and after ten seconds makes it.
func (p *process) stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// freePort returns a port of the loopback address that nothing listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().(*net.TCPAddr).Port
}

// await calls ready until it returns true, the program ends, or within passes.
func (p *process) await(within time.Duration, ready func() bool) error {
	deadline := time.After(within)
	for {
		if ready() {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %v", p.cmd.Path, p.err)
		case <-deadline:
			return fmt.Errorf("%s was not ready within %v", p.cmd.Path, within)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
