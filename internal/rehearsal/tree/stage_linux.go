package tree

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/k3s-cis/packer-plugin-k3s/internal/confine"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
)

// scratchPlace is where the scratch is mounted until it becomes the namespace's
// root: a directory that every host has and that nothing here needs. The tree is
// held by file descriptors, so that it may lie below.
const scratchPlace = "/tmp"

// onStage is the first process of a rehearsal, and returns its exit status.
func onStage() int {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return 1
	}
	go func() { // whoever ordered it is gone, and nobody reads what is written
		_, _ = io.Copy(io.Discard, in)
		os.Exit(1)
	}()
	w := newWriter(os.Stdout)
	defer w.flush()
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		w.line("failed", err.Error())
		return 1
	}
	scratch, err := lay(o)
	var lack lacking
	switch {
	case errors.As(err, &lack):
		w.line("lacks", string(lack))
		return 1
	case err != nil:
		w.line("refused", err.Error())
		return 1
	}
	p := &performance{request: o.Request, w: w}
	p.perform()
	if full(scratch) {
		w.line("full", "")
	}
	w.line("end", "")
	return 0
}

// lacking is what this host lacks for a rehearsal.
type lacking string

func (l lacking) Error() string { return string(l) }

// lay makes the namespaces, of which this is the first process, a place with the
// tree below a scratch, and gives up what could change the host. It returns a
// directory on the scratch.
func lay(o order) (scratch *os.File, err error) {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return nil, fmt.Errorf("keeping mounts inside: %w", err)
	}
	layers, err := layersOf(o.Root)
	if err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", scratchPlace, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=0700,size=%d", o.Request.Scratch)); err != nil {
		return nil, fmt.Errorf("a scratch in memory: %w", err)
	}
	stage := filepath.Join(scratchPlace, "root")
	if err := os.Mkdir(stage, 0o755); err != nil {
		return nil, err
	}
	for i, l := range layers {
		if err := l.mount(stage, i, o.Request); err != nil {
			return nil, err
		}
		_ = unix.Close(l.fd)
	}
	if err := furnish(stage, o.Request.Over); err != nil {
		return nil, err
	}
	if scratch, err = os.Open(scratchPlace); err != nil {
		return nil, err
	}
	if err := confine.LeaveHost(stage); err != nil {
		return nil, err
	}
	if err := network(); err != nil {
		return nil, fmt.Errorf("an address in the namespace: %w", err)
	}
	if err := unix.Sethostname([]byte(rehearsal.HostName)); err != nil {
		return nil, fmt.Errorf("the host name in the namespace: %w", err)
	}
	return scratch, confine.KeepCapabilities(kept...)
}

// layer is one file system of the tree.
type layer struct {
	fd    int
	below string // where it is mounted in the tree, with a slash before it, or ""
}

// layersOf holds every file system that is mounted at or below root, from the
// root down. What the kernel makes up itself, such as /proc, is left out.
func layersOf(root string) ([]layer, error) {
	below, err := mountsBelow(root)
	if err != nil {
		return nil, err
	}
	var out []layer
	for _, p := range append([]string{root}, below...) {
		fd, err := unix.Open(p, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOTDIR) {
			continue // a file that is mounted over another
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		out = append(out, layer{fd, strings.TrimPrefix(p, strings.TrimSuffix(root, "/"))})
	}
	out[0].below = ""
	return out, nil
}

// mountsBelow are the places below root where a file system is mounted that holds
// a part of the node, in the order in which they were mounted. What is mounted in
// one that is left out is left out with it.
func mountsBelow(root string) ([]string, error) {
	var left []string
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		if !strings.HasPrefix(m.Mountpoint, strings.TrimSuffix(root, "/")+"/") {
			return true, false
		}
		skip = slices.Contains(rehearsal.MadeByKernel(), m.FSType) || slices.ContainsFunc(left, func(dir string) bool { return node.Within(dir, m.Mountpoint) })
		if skip {
			left = append(left, m.Mountpoint)
		}
		return skip, false
	})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range mounts {
		out = append(out, m.Mountpoint)
	}
	return out, nil
}

// mount lays the layer below the scratch. What is deleted or changed in it is
// so on the scratch alone. What cannot be laid so, such as the firmware's file
// system, is read-only where K3s writes nothing.
func (l layer) mount(stage string, number int, r *rehearsal.Request) error {
	upper, work := filepath.Join(scratchPlace, "upper"+strconv.Itoa(number)), filepath.Join(scratchPlace, "work"+strconv.Itoa(number))
	var st unix.Stat_t
	if err := unix.Fstat(l.fd, &st); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
		return err
	}
	// The root of what lies above is the root of all.
	if err := errors.Join(unix.Chmod(upper, st.Mode&0o7777), unix.Chown(upper, int(st.Uid), int(st.Gid))); err != nil {
		return err
	}
	data := fmt.Sprintf("lowerdir=/proc/self/fd/%d,upperdir=%s,workdir=%s", l.fd, upper, work)
	err := unix.Mount("overlay", stage+l.below, "overlay", unix.MS_NODEV, data)
	if errors.Is(err, unix.ENODEV) {
		return lacking("a kernel with the overlay file system (modprobe overlay)")
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("laying %s below a scratch: %w", cmp.Or(l.below, "/"), err)
	if l.below == "" || r.Writes(l.below) {
		return err
	}
	at := stage + l.below
	if bound := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", l.fd), at, "", unix.MS_BIND, ""); bound != nil {
		return errors.Join(err, bound)
	}
	return unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NODEV, "")
}

// kept are the capabilities that K3s's control plane has: none that changes the
// host's mounts, devices, modules or time.
var kept = []cap.Value{
	cap.CHOWN, cap.DAC_OVERRIDE, cap.FOWNER, cap.FSETID, cap.KILL, cap.IPC_LOCK, cap.NET_ADMIN, cap.NET_BIND_SERVICE, cap.NET_RAW, cap.SETGID, cap.SETUID,
}

// full says whether a file system has no room left.
func full(f *os.File) bool {
	var st unix.Statfs_t
	return f != nil && unix.Fstatfs(int(f.Fd()), &st) == nil && (st.Bavail == 0 || st.Files > 0 && st.Ffree == 0)
}
