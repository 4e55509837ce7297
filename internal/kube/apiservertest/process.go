package apiservertest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
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
	cancel context.CancelFunc
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
	ctx, cancel := context.WithCancel(t.Context())
	p := &process{cmd: exec.CommandContext(ctx, binary, args...), cancel: cancel, output: &output{}, done: make(chan struct{})}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 10 * time.Second
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

// stop asks the program to end, after ten seconds makes it, and waits.
func (p *process) stop() {
	p.cancel()
	<-p.done
}

// freePort returns a port of the loopback address that nothing listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	address, ok := l.Addr().(*net.TCPAddr)
	require.True(t, ok)
	return address.Port
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
			return fmt.Errorf("%s ended: %w", p.cmd.Path, cmp.Or(p.err, errors.New("exit status 0")))
		case <-deadline:
			return fmt.Errorf("%s was not ready within %v", p.cmd.Path, within)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
