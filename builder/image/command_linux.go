package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// commandEnvironment is all that a command finds in its environment; what
// this host's has is none of the image's business.
var commandEnvironment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root",
	"USER=root",
	"LOGNAME=root",
	"SHELL=/bin/sh",
}

// stopGrace is how long a command that is cancelled has to end by itself.
const stopGrace = 5 * time.Second

// startCommand runs cmd in the tree at root and returns once it runs. The
// channel delivers its exit status, 128 and the signal's number if one ended
// it. When ctx or running ends, so do the command and all its children.
// Processes that a command leaves behind are ended with it.
//
// The command has a /proc, /sys and /dev of its own where this process may
// mount; they exist in the command's mount namespace only, so that the tree
// as others see it never has anything mounted in it.
func startCommand(ctx, running context.Context, root string, cmd *packersdk.RemoteCmd) (<-chan int, error) {
	c := &command{root: root, spare: disk.ProcessesIn(root), started: make(chan error, 1), exited: make(chan int, 1)}
	if err := c.prepare(cmd); err != nil {
		return nil, err
	}
	go onOwnThread(c.run)
	if err := <-c.started; err != nil {
		return nil, err
	}
	go c.watch(ctx, running)
	return c.exited, nil
}

// command is one run of a command.
type command struct {
	root    string
	spare   map[int]bool // processes that were in the tree before
	cmd     *exec.Cmd
	stdin   io.WriteCloser // nil without input
	input   io.Reader
	outputs []*os.File // our ends of the pipes
	ends    []*os.File // the command's ends
	copies  sync.WaitGroup
	started chan error
	exited  chan int
	done    chan struct{}
}

// prepare makes the process description and its pipes.
func (c *command) prepare(cmd *packersdk.RemoteCmd) error {
	c.done = make(chan struct{})
	c.cmd = &exec.Cmd{
		Path: "/bin/sh",
		Args: []string{"/bin/sh", "-c", cmd.Command},
		Env:  commandEnvironment,
		Dir:  "/",
		// The thread lives as long as the command, so that a command dies
		// with this process and never before.
		SysProcAttr: &syscall.SysProcAttr{Chroot: c.root, Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if cmd.Stdin != nil {
		stdin, err := c.cmd.StdinPipe()
		if err != nil {
			return err
		}
		c.stdin, c.input = stdin, cmd.Stdin
	}
	out, err := c.pipe(cmd.Stdout)
	if err != nil {
		return err
	}
	errOut, err := c.pipe(cmd.Stderr)
	if err != nil {
		return err
	}
	c.cmd.Stdout, c.cmd.Stderr = out, errOut
	return nil
}

// pipe returns a file whose bytes go to w. Pipes of our own, unlike those of
// os/exec, let leftover processes be ended before the output is awaited.
func (c *command) pipe(w io.Writer) (*os.File, error) {
	if w == nil {
		w = io.Discard
	}
	r, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.outputs, c.ends = append(c.outputs, r), append(c.ends, end)
	c.copies.Add(1)
	go func() {
		defer c.copies.Done()
		_, err := io.Copy(w, r)
		if err != nil {
			// Nobody listens any more; the command must not block on it.
			_, _ = io.Copy(io.Discard, r)
		}
	}()
	return end, nil
}

// run starts the command and sees it to its end.
func (c *command) run() {
	leave := furnish(c.root)
	err := c.cmd.Start()
	for _, end := range c.ends {
		_ = end.Close()
	}
	if err != nil {
		c.copies.Wait()
		leave()
		c.started <- explainStart(c.root, err)
		return
	}
	if c.stdin != nil {
		go func() {
			_, _ = io.Copy(c.stdin, c.input)
			_ = c.stdin.Close()
		}()
	}
	c.started <- nil
	_ = c.cmd.Wait()
	close(c.done)
	disk.EndProcesses(c.root, c.spare)
	c.copies.Wait()
	for _, r := range c.outputs {
		_ = r.Close()
	}
	leave()
	c.exited <- exitStatus(c.cmd.ProcessState)
}

// watch ends the command's process group when a context ends.
func (c *command) watch(ctx, running context.Context) {
	select {
	case <-c.done:
		return
	case <-ctx.Done():
	case <-running.Done():
	}
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(stopGrace):
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// exitStatus is the status as a shell would give it.
func exitStatus(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// explainStart says why a command could not be started in a tree.
func explainStart(root string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		arch, _ := disk.Architecture(root)
		if arch == "" {
			arch = "unknown"
		}
		return fmt.Errorf("commands cannot run in this tree: its /bin/sh is for %s and this host is %s; build on a host of that architecture or register qemu-user for it (package qemu-user-static): %w",
			arch, runtime.GOARCH, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("commands cannot run in this tree: it has no usable /bin/sh: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("commands cannot run in this tree: not permitted (chroot needs CAP_SYS_CHROOT): %w", err)
	default:
		return fmt.Errorf("running a command in the tree: %w", err)
	}
}

// onOwnThread runs f on an operating system thread that is thrown away
// afterwards, never on the process's first one, whose namespaces are what
// /proc/self shows.
func onOwnThread(f func()) {
	runtime.LockOSThread()
	if syscall.Gettid() != syscall.Getpid() {
		f()
		return // still locked: the runtime ends the thread
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onOwnThread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}

// keepOwner gives f the owner of the file it is to replace, if any.
func keepOwner(f *os.File, old fs.FileInfo) error {
	if old == nil {
		return nil
	}
	st, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return f.Chown(int(st.Uid), int(st.Gid))
}
