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
	"strings"
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
// A command runs in namespaces of its own and sees and changes nothing of
// this host but its network. Where this process may not make namespaces, as in
// a container, what the container lets out is what the command can reach.
func startCommand(ctx, running context.Context, root string, cmd *packersdk.RemoteCmd) (<-chan int, error) {
	c := &command{root: root, started: make(chan error, 1), exited: make(chan int, 1), done: make(chan struct{})}
	if err := c.prepare(cmd); err != nil {
		return nil, err
	}
	go c.run()
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
	stdin   io.WriteCloser
	input   io.Reader
	outputs []*os.File // our ends of the pipes
	ends    []*os.File // the command's ends
	copies  sync.WaitGroup
	control *os.File // closed to ask a confined command to end; else nil
	status  *os.File // why a confined command did not start; else nil
	started chan error
	exited  chan int
	done    chan struct{}
}

// prepare makes the process description and its pipes.
func (c *command) prepare(cmd *packersdk.RemoteCmd) error {
	var err error
	if mayConfine() {
		err = c.confine(cmd.Command)
	} else {
		c.onlyChroot(cmd.Command)
	}
	if err != nil {
		return err
	}
	// Also without input it is a pipe: this host's /dev/null would be the
	// command's to change.
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return err
	}
	c.input = cmd.Stdin
	if c.input == nil {
		c.input = strings.NewReader("")
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

// confine describes a process that is the first of namespaces of its own.
func (c *command) confine(line string) error {
	control, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	status, theirs, err := os.Pipe()
	if err != nil {
		return errors.Join(err, control.Close(), ours.Close())
	}
	c.control, c.status, c.ends = ours, status, []*os.File{control, theirs}
	c.cmd = &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{confinedName, c.root, line},
		Env:        commandEnvironment,
		ExtraFiles: []*os.File{control, theirs},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
			Setsid:     true, Pdeathsig: syscall.SIGKILL,
		},
	}
	return nil
}

// onlyChroot describes a process that has this host's namespaces.
func (c *command) onlyChroot(line string) {
	c.spare = disk.ProcessesIn(c.root)
	c.cmd = &exec.Cmd{
		Path:        "/bin/sh",
		Args:        []string{"/bin/sh", "-c", line},
		Env:         commandEnvironment,
		Dir:         "/",
		SysProcAttr: &syscall.SysProcAttr{Chroot: c.root, Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
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
	// The kernel ends the command with the thread that started it, so that it
	// dies with this process; the thread must not end before.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	leave := func() {}
	if c.control != nil {
		leave = placeForResolver(c.root)
	}
	err := c.start()
	if err != nil {
		c.copies.Wait()
		leave()
		c.started <- err
		return
	}
	go func() {
		_, _ = io.Copy(c.stdin, c.input)
		_ = c.stdin.Close()
	}()
	c.started <- nil
	_ = c.cmd.Wait()
	close(c.done)
	if c.control == nil {
		disk.EndProcesses(c.root, c.spare)
	}
	c.copies.Wait()
	for _, r := range c.outputs {
		_ = r.Close()
	}
	leave()
	c.exited <- shellStatus(c.waitStatus())
}

// start starts the process and returns once the command itself runs.
func (c *command) start() error {
	err := c.cmd.Start()
	for _, end := range c.ends {
		_ = end.Close()
	}
	switch {
	case err != nil && c.control == nil:
		return explainStart(c.root, err)
	case err != nil:
		return errors.Join(fmt.Errorf("namespaces for commands: %w", err), c.control.Close(), c.status.Close())
	case c.control == nil:
		return nil
	}
	why, err := io.ReadAll(c.status)
	if len(why) > 0 {
		err = errors.New(string(why))
	}
	if err = errors.Join(err, c.status.Close()); err != nil {
		_ = c.cmd.Wait()
		return errors.Join(err, c.control.Close())
	}
	return nil
}

// watch asks the command to end when a context ends, and then makes it.
func (c *command) watch(ctx, running context.Context) {
	defer c.control.Close() // without effect on nil
	select {
	case <-c.done:
		return
	case <-ctx.Done():
	case <-running.Done():
	}
	if c.control != nil {
		_ = c.control.Close()
	} else {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGTERM)
	}
	select {
	case <-c.done:
	case <-time.After(stopGrace):
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// waitStatus is how the process ended.
func (c *command) waitStatus() syscall.WaitStatus {
	status, _ := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status
}

// shellStatus is the status as a shell would give it.
func shellStatus(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// explainStart says why a command could not be started in a tree.
func explainStart(root string, err error) error {
	if odd := disk.CheckShell(root); odd != nil {
		return fmt.Errorf("commands cannot run in this tree: %w", odd)
	}
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
