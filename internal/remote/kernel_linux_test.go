package remote

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

// hostComm runs commands on this host, if enter is set in a mount namespace that
// it changes.
type hostComm struct{ enter string }

// enterHost looks to a command as if the first process had its mounts too.
const enterHost = `mount --bind /proc/$$/mountinfo /proc/1/mountinfo && eval "$1" && cd / && eval "$2"`

func (c hostComm) Start(_ context.Context, cmd *packersdk.RemoteCmd) error {
	p := exec.Command("sh", "-c", cmd.Command)
	if c.enter != "" {
		p = exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", enterHost, "sh", c.enter, cmd.Command)
	}
	p.Stdin, p.Stdout, p.Stderr = cmd.Stdin, cmd.Stdout, cmd.Stderr
	if err := p.Start(); err != nil {
		return err
	}
	go func() {
		var exit *exec.ExitError
		if errors.As(p.Wait(), &exit) {
			cmd.SetExited(exit.ExitCode())
			return
		}
		cmd.SetExited(0)
	}()
	return nil
}

func (hostComm) Upload(string, io.Reader, *os.FileInfo) error { return errNotHere }
func (hostComm) UploadDir(string, string, []string) error     { return errNotHere }
func (hostComm) Download(string, io.Writer) error             { return errNotHere }
func (hostComm) DownloadDir(string, string, []string) error   { return errNotHere }

// TestRunningKernel moves one harmless parameter of this host's kernel and
// puts it back. No file of this host is changed.
func TestRunningKernel(t *testing.T) {
	needAcc(t)
	nodetest.NeedRoot(t)
	if ns, err := os.Readlink("/proc/self/ns/pid"); err != nil || ns != "pid:[4026531836]" {
		t.Skip("this is a container, whose kernel is not its own")
	}
	const name, at = "vm.page-cluster", "/proc/sys/vm/page-cluster"
	read := func() string {
		data, err := os.ReadFile(at)
		require.NoError(t, err)
		return strings.TrimSpace(string(data))
	}
	was := read()
	t.Cleanup(func() { require.NoError(t, os.WriteFile(at, []byte(was+"\n"), 0o644)) })
	n, err := strconv.Atoi(was)
	require.NoError(t, err)
	want := strconv.Itoa(n + 1)
	machine := New(hostComm{}, Options{KernelRead: []string{name, "net.ipv4.tcp_rmem", "vm.no_such_thing"}})
	ctx := context.Background()

	out, err := machine.Apply(ctx, node.Change{Kernel: map[string]string{name: want}}, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{name}, out.KernelSet)
	assert.Equal(t, want, out.Node.Kernel[name])
	assert.NotContains(t, out.Node.Kernel, "vm.no_such_thing")
	assert.Len(t, strings.Fields(out.Node.Kernel["net.ipv4.tcp_rmem"]), 3)
	assert.Equal(t, want, read())
	assert.Empty(t, out.Changed)

	out, err = machine.Apply(ctx, node.Change{Kernel: map[string]string{name: want}}, nil)
	require.NoError(t, err)
	assert.Empty(t, out.KernelSet, "the second time nothing is set")

	_, err = machine.Apply(ctx, node.Change{Kernel: map[string]string{name: was, "vm.no_such_thing": "1"}}, nil)
	require.ErrorContains(t, err, "kernel parameter vm.no_such_thing cannot be set: the running kernel has none of that name")
	assert.Equal(t, want, read(), "nothing was set")

	_, err = machine.Apply(ctx, node.Change{Kernel: map[string]string{name: was, "vm.swappiness": "100000"}}, nil)
	require.ErrorContains(t, err, "kernel parameter vm.swappiness cannot be set to 100000")
	assert.Equal(t, want, read(), "what was set before is set back")
}
