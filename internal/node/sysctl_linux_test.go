package node

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSystemdSysctlAgrees lets the real systemd-sysctl apply random sets of
// files to a tree whose /proc/sys is made of plain files, and compares what it
// wrote with what KernelParameters foretells.
func TestSystemdSysctlAgrees(t *testing.T) {
	const program = "/usr/lib/systemd/systemd-sysctl"
	libraries, err := exec.Command("ldd", program).Output()
	if os.Getuid() != 0 || err != nil {
		t.Skip("needs root, and systemd-sysctl on this machine")
	}
	root := t.TempDir()
	for _, file := range append(regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1), program) {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		to := filepath.Join(root, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(t, os.WriteFile(to, data, 0o755))
	}
	parameters := []string{"kernel.panic", "kernel.panic_on_oops", "vm.overcommit_memory", "net.ipv4.conf.eth0.forwarding", "net.ipv4.conf.eth0/1.forwarding"}
	lines := []string{
		"%s=%d", "%s = %d", " %s =%d", "-%s=%d", "-%s", "%s", "#%s=%d", ";%s=%d",
		"kernel.*=%[2]d", "kernel/panic=%[2]d", "-kernel.panic*=%[2]d", "net.ipv4.conf.*.forwarding=%[2]d", "-net/ipv4/conf/eth0*", "kernel.pani[c]=%[2]d", "",
	}
	dirs := []string{"/etc/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"}
	names := []string{"10-a.conf", "50-b.conf", "9-c.conf", "99-d.conf", "x.txt"}
	random := rand.New(rand.NewSource(1))
	for round := range 60 {
		for _, dir := range append(dirs, "/proc") {
			require.NoError(t, os.RemoveAll(filepath.Join(root, dir)))
		}
		for _, p := range parameters {
			file := filepath.Join(root, "/proc/sys", sysctlPath(p))
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(t, os.WriteFile(file, nil, 0o644))
		}
		var described []string
		for range 1 + random.Intn(6) {
			file := filepath.Join(root, dirs[random.Intn(len(dirs))], names[random.Intn(len(names))])
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
			_ = os.Remove(file)
			if random.Intn(8) == 0 {
				require.NoError(t, os.Symlink("/dev/null", file))
				described = append(described, file+" -> /dev/null")
				continue
			}
			var text strings.Builder
			for range random.Intn(4) {
				line := lines[random.Intn(len(lines))]
				args := []any{parameters[random.Intn(len(parameters))], random.Intn(10)}
				s := fmt.Sprintf(line, args...)
				s, _, _ = strings.Cut(s, "%!(EXTRA") // a form that leaves arguments out
				text.WriteString(s + "\n")
			}
			require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o644))
			described = append(described, file+":\n"+text.String())
		}
		cmd := exec.Command(program)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		cmd.Dir = "/"
		output, _ := cmd.CombinedOutput() // it exits with an error on lines that are no assignment

		n, err := Root(root).Read(context.Background(), SysctlQuery())
		require.NoError(t, err)
		b, err := KernelParameters(n)
		require.NoError(t, err)
		for _, p := range parameters {
			data, err := os.ReadFile(filepath.Join(root, "/proc/sys", sysctlPath(p)))
			require.NoError(t, err)
			want := strings.TrimSpace(string(data))
			got := ""
			if k, set := b.Lookup(p); set {
				got = k.Setting.Value
			}
			require.Equal(t, want, got, "round %d, %s\n%s\n%s", round, p, strings.Join(described, "\n"), output)
		}
	}
}
