package remote

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

// chrootComm is a communicator whose machine is a directory with the tools of
// this host, or those of busybox, mounted into it for the length of each
// command. Nothing outside the directory can be changed through it.
type chrootComm struct {
	dir    string
	flavor string // "dash", "bash", "busybox" or "notar"
	// enter is run in the mount namespace before the command, for faults.
	enter string
	// isolate gives each command its own process identifiers, so that all of
	// its processes can be killed at once.
	isolate bool
	// noStdin drops standard input; lie ends with status 0 having done nothing.
	noStdin, lie bool
	commands     []string
	uploads      []string
	// tamper changes what comes back on standard output.
	tamper func(io.Writer) io.Writer
}

// mounts lists what a machine of each flavor is made of.
const enterScript = `set -e
cd "$1"
mount --bind /dev dev
mount --bind /dev/pts dev/pts
mount --bind /proc proc
case $2 in
busybox)
	mount -t tmpfs tmpfs usr
	mkdir usr/bin
	cp /bin/busybox usr/bin/busybox
	chroot . /usr/bin/busybox --install -s /usr/bin
	;;
*)
	mount --bind /usr usr
	mount -o remount,bind,ro usr
	[ "$2" != bash ] || mount --bind /bin/bash usr/bin/sh
	[ "$2" != notar ] || mount --bind /dev/null usr/bin/tar
	;;
esac
eval "$3"
shift 3
exec chroot . /bin/sh -c "$1"
`

// newChroot makes dir a machine.
func newChroot(t *testing.T, dir, flavor string) *chrootComm {
	t.Helper()
	nodetest.NeedRoot(t)
	if flavor == "busybox" {
		if _, err := exec.LookPath("/bin/busybox"); err != nil {
			t.Skip("needs busybox, linked statically")
		}
	}
	for _, name := range []string{"usr", "dev", "proc", "tmp"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	require.NoError(t, os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky))
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			require.NoError(t, os.Symlink("usr/"+name, filepath.Join(dir, name)))
		}
	}
	return &chrootComm{dir: dir, flavor: flavor}
}

func (c *chrootComm) Start(_ context.Context, cmd *packersdk.RemoteCmd) error {
	c.commands = append(c.commands, cmd.Command)
	if c.lie {
		cmd.SetExited(0)
		return nil
	}
	args := []string{"-m", "--propagation", "private"}
	if c.isolate {
		args = append(args, "-p", "-f", "--mount-proc")
	}
	p := exec.Command("unshare", append(args, "sh", "-c", enterScript, "sh", c.dir, c.flavor, c.enter, cmd.Command)...)
	p.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if !c.noStdin {
		p.Stdin = cmd.Stdin
	}
	p.Stdout, p.Stderr = cmd.Stdout, cmd.Stderr
	if c.tamper != nil {
		p.Stdout = c.tamper(cmd.Stdout)
	}
	if err := p.Start(); err != nil {
		return err
	}
	go func() {
		err := p.Wait()
		var exit *exec.ExitError
		status := 0
		if errors.As(err, &exit) {
			if status = exit.ExitCode(); status < 0 {
				status = 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
			}
		}
		cmd.SetExited(status)
	}()
	return nil
}

func (c *chrootComm) Upload(name string, r io.Reader, fi *os.FileInfo) error {
	c.uploads = append(c.uploads, name)
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, name), data, (*fi).Mode().Perm())
}

var errNotHere = errors.New("not used")

func (*chrootComm) UploadDir(string, string, []string) error   { return errNotHere }
func (*chrootComm) Download(string, io.Writer) error           { return errNotHere }
func (*chrootComm) DownloadDir(string, string, []string) error { return errNotHere }
