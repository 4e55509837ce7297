package tree

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
)

// stageName is what this program is called when it is the first process of a
// rehearsal.
const stageName = "packer-k3s-rehearsal"

// Dispatch is what a program that rehearses calls before anything else. It does
// not return in the first process of a rehearsal.
func Dispatch() {
	if os.Args[0] == stageName {
		os.Exit(onStage())
	}
}

// order is what the first process is told on its standard input.
type order struct {
	Root    string
	Request *rehearsal.Request
}

// grace is how much longer than the timeout of a request its first process may
// take: to lay the files out, and to look at them.
const grace = 30 * time.Second

// Run rehearses the first start of the node in the directory root. Where this
// host cannot do it the error is a rehearsal.Unavailable that says what is
// missing. When Run returns, nothing of the rehearsal is left.
func Run(ctx context.Context, root string, r *rehearsal.Request) (*rehearsal.Observation, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	lacks := unavailable(root, r)
	if r.Agent {
		lacks = append(lacks, "the image's own kernel: the agent is rehearsed on a machine alone (rehearsal { agent = false } in a tree)")
	}
	if len(lacks) > 0 {
		return nil, &rehearsal.Unavailable{Lacks: lacks}
	}
	before, err := traces(root, r.Traces)
	if err != nil {
		return nil, err
	}
	ctx, alone := whileOrdered(ctx)
	defer alone()
	limited, cancel := context.WithTimeout(ctx, r.Timeout+grace)
	defer cancel()
	var transcript []byte
	done := make(chan struct{})
	go func() { // with a thread of its own, which may have to leave this program's mounts
		defer close(done)
		transcript, err = play(limited, order{Root: root, Request: r})
	}()
	<-done
	if err != nil {
		return nil, err
	}
	seen, err := rehearsal.Read(bytes.NewReader(transcript), r)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && limited.Err() != nil:
		return nil, fmt.Errorf("%w within %s", err, r.Timeout+grace)
	case err != nil:
		return nil, err
	}
	after, err := traces(root, r.Traces)
	if err != nil {
		return nil, err
	}
	seen.Traces = append(seen.Traces, changed(before, after)...)
	return seen, nil
}

// errOrphaned is why a rehearsal ends that nobody waits for any more.
var errOrphaned = errors.New("the program that ordered the rehearsal is gone")

// watching is how often it is looked whether that program is there.
const watching = 200 * time.Millisecond

// whileOrdered returns a context that ends with the program that started this one: a
// plugin whose Packer was killed is told of it only when it has done what it was asked.
func whileOrdered(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	parent := os.Getppid()
	go func() {
		look := time.NewTicker(watching)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
				if os.Getppid() != parent {
					cancel(errOrphaned)
					return
				}
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// play starts the first process and returns what it wrote.
func play(ctx context.Context, o order) ([]byte, error) {
	// The kernel ends the process with the thread that started it, so that it dies
	// with this process; the thread must not end before.
	runtime.LockOSThread()
	var err error
	if o.Root, err = joinMounts(o.Root); err != nil {
		return nil, err // the thread is not what it was: it ends with this goroutine
	}
	told, err := json.Marshal(o) // with the tree's path as the first process sees it
	if err != nil {
		return nil, fmt.Errorf("the order of a rehearsal: %w", err)
	}
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{stageName}
	cmd.Env = []string{"GOGC=off", "GOMEMLIMIT=256MiB"}
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET | syscall.CLONE_NEWCGROUP,
		Setsid:     true, Pdeathsig: syscall.SIGKILL,
	}
	// It stays open as long as this process lives: its end ends the rehearsal too.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, cannotStart(err)
	}
	go func() { _, _ = stdin.Write(append(told, '\n')) }()
	err = cmd.Wait()
	if out.Len() == 0 && err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("the rehearsal ended at once: %w %s", err, strings.TrimSpace(errOut.String()))
	}
	return out.Bytes(), nil
}

// ofProcess matches the path of a tree that is mounted for another process alone.
var ofProcess = regexp.MustCompile(`^/proc/([0-9]+)/root(/.*)$`)

// joinMounts makes the calling thread see what another process has mounted, where
// the tree is named as that process sees it, and returns its path there: only
// what is mounted here can lie below a scratch.
func joinMounts(root string) (string, error) {
	named := ofProcess.FindStringSubmatch(root)
	if named == nil {
		return root, nil
	}
	f, err := os.Open("/proc/" + named[1] + "/ns/mnt")
	if err != nil {
		return "", fmt.Errorf("the mounts of the tree: %w", err)
	}
	defer f.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return "", fmt.Errorf("the mounts of the tree: %w", err)
	}
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNS); err != nil {
		return "", fmt.Errorf("the mounts of the tree: %w", err)
	}
	return named[2], nil
}

// cannotStart says why there can be no namespaces.
func cannotStart(err error) error {
	lack := fmt.Sprintf("namespaces of its own: %v", err)
	switch {
	case errors.Is(err, syscall.EPERM):
		lack = "the right to make namespaces (CAP_SYS_ADMIN): an ordinary container does not have it"
	case errors.Is(err, syscall.EINVAL):
		lack = "a kernel with mount, network, process, host name, IPC and cgroup namespaces (Linux 4.6)"
	case errors.Is(err, syscall.ENOSPC):
		lack = "one namespace more: the limits in /proc/sys/user are reached"
	}
	return &rehearsal.Unavailable{Lacks: []string{lack}}
}

// unavailable says what this host lacks, as far as it can be told beforehand.
func unavailable(root string, r *rehearsal.Request) []string {
	var lacks []string
	if may, err := cap.GetProc().GetFlag(cap.Effective, cap.SYS_ADMIN); err != nil || !may {
		lacks = append(lacks, "the right to make namespaces (CAP_SYS_ADMIN): root has it, in an ordinary container it does not")
	}
	if why := otherArchitecture(root, r.Command[0]); why != "" {
		lacks = append(lacks, why)
	}
	if available, known := availableMemory("/proc/meminfo"); known && available < r.Memory {
		lacks = append(lacks, fmt.Sprintf("memory: %d MiB are available, and K3s takes %d MiB", available>>20, r.Memory>>20))
	}
	return lacks
}

// machines are the architectures of ELF files that a host of Go's name runs.
var machines = map[string][]elf.Machine{
	"amd64": {elf.EM_X86_64}, "arm64": {elf.EM_AARCH64}, "arm": {elf.EM_ARM}, "s390x": {elf.EM_S390}, "riscv64": {elf.EM_RISCV},
}

// otherArchitecture says that a program of the tree is not for this host, or "".
// What is no ELF file, such as a script, is left to the kernel.
func otherArchitecture(root, program string) string {
	p, err := securejoin.SecureJoin(root, program)
	if err != nil {
		return ""
	}
	f, err := elf.Open(p)
	if err != nil {
		return ""
	}
	defer f.Close()
	if fits := machines[runtime.GOARCH]; len(fits) > 0 && !slices.Contains(fits, f.Machine) {
		return fmt.Sprintf("a host of the image's architecture: %s is for %s, and this host is %s", program, strings.ToLower(strings.TrimPrefix(f.Machine.String(), "EM_")), runtime.GOARCH)
	}
	return ""
}

// availableMemory reads how much memory is available, in bytes.
func availableMemory(meminfo string) (int64, bool) {
	data, err := os.ReadFile(meminfo)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) >= 2 && words[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}

// trace is what would tell that a path was touched.
type trace struct {
	mode     fs.FileMode
	size     int64
	modified time.Time
}

// traces remembers everything below directories of the tree.
func traces(root string, dirs []string) (map[string]trace, error) {
	out := map[string]trace{}
	for _, dir := range dirs {
		at, err := securejoin.SecureJoin(root, dir)
		if err != nil {
			return nil, err
		}
		err = filepath.WalkDir(at, func(p string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			out[filepath.Join(dir, strings.TrimPrefix(p, at))] = trace{info.Mode(), info.Size(), info.ModTime()}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("looking for traces: %w", err)
		}
	}
	return out, nil
}

// changed are the paths that are not as they were.
func changed(before, after map[string]trace) []string {
	var out []string
	for p, was := range before {
		if is, there := after[p]; !there || is != was {
			out = append(out, p)
		}
	}
	for p := range after {
		if _, there := before[p]; !there {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}
