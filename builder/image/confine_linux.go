package image

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/k3s-cis/packer-plugin-k3s/internal/confine"
)

// A command runs in PID, mount, UTS and IPC namespaces of its own. What has to
// be done from inside them is done by this program itself, started once more
// by this name: it is the first process of the namespaces, with which all
// others end.
const confinedName = "packer-k3s-command"

// Files that the first process inherits, beyond the standard three.
const (
	controlFD = 3 + iota // at its end the command is asked to end
	statusFD             // takes the error that kept the command from starting
)

// Dispatch is what a program that has the builder calls before anything else.
// It does not return where the process was started as a part of a build that
// needs a process of its own; one that is to be the builder goes on in a mount
// namespace of its own.
func Dispatch() {
	if len(os.Args) > 2 && os.Args[1] == "start" && os.Args[2] == "builder" {
		ownMounts()
	}
	if os.Args[0] != confinedName {
		return
	}
	status, err := runConfined(os.Args[1], os.Args[2])
	if err != nil {
		_, _ = io.WriteString(os.NewFile(statusFD, "status"), err.Error())
	}
	os.Exit(status)
}

// stageTree is where the tree is in the namespace. That the first process has
// another root than the command tells tools such as systemctl that they run in
// a chroot, in which nothing is to be started.
const stageTree = "tree"

// stage is where the namespace's own root is made: a directory that every
// system has and that nothing else here needs.
const stage = "/sys"

// confineTo makes the namespaces, of which this is the first process, a place
// that holds the tree at root and nothing else, and gives up what could change
// this host all the same.
func confineTo(root string) error {
	// Slave: what is unmounted outside goes away inside, and nothing that is
	// mounted inside is seen outside.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keeping mounts inside: %w", err)
	}
	tree, err := makeStage(root)
	if err != nil {
		return err
	}
	keep := kept
	// A command may make device nodes, for they belong to many packages, but
	// open none of them: they would be this host's devices.
	if err := unix.MountSetattr(unix.AT_FDCWD, tree, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV}); err != nil {
		keep = slices.DeleteFunc(slices.Clone(kept), func(c cap.Value) bool { return c == cap.MKNOD }) // a kernel before 5.12
	}
	if err := furnish(tree); err != nil {
		return err
	}
	if err := confine.LeaveHost(stage); err != nil {
		return err
	}
	return confine.KeepCapabilities(keep...)
}

// mayConfine says whether this process may make namespaces and mounts. In an
// ordinary container it may not.
func mayConfine() bool {
	may, err := cap.GetProc().GetFlag(cap.Effective, cap.SYS_ADMIN)
	return err == nil && may
}

// makeStage makes the namespace's root, with nothing but the tree and a /proc
// in it, and returns where the tree is.
func makeStage(root string) (tree string, err error) {
	if err := unix.Mount("tmpfs", stage, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=1m"); err != nil {
		return "", fmt.Errorf("a root for the namespace: %w", err)
	}
	tree = filepath.Join(stage, stageTree)
	if err := errors.Join(os.Mkdir(tree, 0o755), os.Mkdir(filepath.Join(stage, "proc"), 0o755)); err != nil {
		return "", err
	}
	// The first process needs one too, to give up its capabilities.
	if err := mountProc(stage); err != nil && !errors.Is(err, errGoWithout) {
		return "", fmt.Errorf("a /proc for the namespace: %w", err)
	}
	if err := unix.Mount(root, tree, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("the tree in the namespace: %w", err)
	}
	return tree, readOnly(stage)
}

// kept are the capabilities that commands have: those with which packages are
// installed in containers, and the one for chattr. Whoever has only these can
// change neither the host's devices, mounts, network, modules and time nor
// restart it.
var kept = []cap.Value{
	cap.AUDIT_WRITE, cap.CHOWN, cap.DAC_OVERRIDE, cap.FOWNER, cap.FSETID, cap.KILL, cap.LINUX_IMMUTABLE, cap.MKNOD,
	cap.NET_BIND_SERVICE, cap.NET_RAW, cap.SETFCAP, cap.SETGID, cap.SETPCAP, cap.SETUID, cap.SYS_CHROOT,
}

// runConfined runs the command in the tree at root and returns its exit
// status.
func runConfined(root, command string) (int, error) {
	unix.CloseOnExec(controlFD)
	unix.CloseOnExec(statusFD)
	if err := confineTo(root); err != nil {
		return cannotRun, err
	}
	// Nothing that the command sends here may end it.
	signal.Notify(make(chan os.Signal, 1))
	cmd := exec.Cmd{
		Path: "/bin/sh", Args: []string{"/bin/sh", "-c", command}, Env: commandEnvironment, Dir: "/",
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Chroot: "/" + stageTree, Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return cannotRun, explainStart("/"+stageTree, err)
	}
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		_ = f.Close() // only the command's own count
	}
	if err := unix.Close(statusFD); err != nil {
		return cannotRun, err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.NewFile(controlFD, "control"))
		_ = unix.Kill(-1, unix.SIGTERM)
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return cannotRun, err
		case pid == cmd.Process.Pid:
			return shellStatus(status), nil
		}
	}
}
