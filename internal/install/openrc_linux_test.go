package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// A service of OpenRC's in a tree: OpenRC's own programs run its script and its
// settings. Its shell is the tree's /bin/sh.
const openRCRun = `
mount -t proc proc /proc
for d in starting started stopping inactive wasinactive failed hotplugged daemons options exclusive scheduled tmp init.d; do
	mkdir -p /run/openrc/$d
done
: >/run/openrc/softlevel
/sbin/openrc-run /etc/init.d/k3s --nodeps start || exit
for turn in $(seq 200); do
	[ "$(stat -c %a /var/lib/rancher/k3s/server/tls/a.crt 2>/dev/null)" != 600 ] || break
	sleep 0.1
done
stat -c 'certificate %a' /var/lib/rancher/k3s/server/tls/a.crt
tr '\000' ' ' </proc/$(cat /run/k3s.pid)/cmdline
echo
cat /arguments
/sbin/openrc-run /etc/init.d/k3s --nodeps stop || exit
for turn in $(seq 300); do
	pgrep -f 'openrc-run.sh|supervise-daemon|/usr/local/bin/k3s' >/dev/null || break
	sleep 0.1
done
echo "left: $(pgrep -f 'openrc-run.sh|supervise-daemon|/usr/local/bin/k3s')"
`

// openRCTree is a tree with OpenRC as Debian packages it, which no machine need run.
func openRCTree(t *testing.T, shell string) string {
	t.Helper()
	dir, packages := t.TempDir(), t.TempDir()
	download := exec.Command("apt-get", "download", "openrc", "librc1", "libeinfo1")
	download.Dir = packages
	if out, err := download.CombinedOutput(); err != nil {
		t.Skipf("no package of OpenRC to be had: %v: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(packages, "*.deb"))
	require.NoError(t, err)
	for _, f := range files {
		nodetest.Run(t, "dpkg-deb", "-x", f, dir)
	}
	nodetest.Lay(t, dir, "dir /proc 0755", "dir /run 0755", "dir /tmp 1777", "dir /var/log 0755", "dir /usr/bin 0755", "dir /bin 0755", "dir /dev 0755")
	nodetest.Run(t, "mknod", filepath.Join(dir, "dev/null"), "c", "1", "3")
	busybox, err := exec.LookPath("busybox")
	require.NoError(t, err)
	nodetest.Run(t, "cp", "-L", busybox, filepath.Join(dir, "bin/busybox"))
	applets, err := exec.Command(busybox, "--list").Output()
	require.NoError(t, err)
	for _, name := range strings.Fields(string(applets)) {
		for _, bin := range []string{"bin", "usr/bin"} {
			if at := filepath.Join(dir, bin, name); name != "busybox" {
				require.NoError(t, os.Symlink("/bin/busybox", at))
			}
		}
	}
	if shell != "busybox" {
		found, err := exec.LookPath(shell)
		require.NoError(t, err)
		require.NoError(t, os.Remove(filepath.Join(dir, "bin/sh")))
		nodetest.Run(t, "cp", "-L", found, filepath.Join(dir, "bin/sh"))
	}
	libraries(t, dir)
	return dir
}

var library = regexp.MustCompile(`/\S+`)

// libraries copies into the tree what its programs load and it lacks.
func libraries(t *testing.T, dir string) {
	t.Helper()
	programs, err := filepath.Glob(filepath.Join(dir, "lib/rc/bin/*"))
	require.NoError(t, err)
	for _, p := range append(programs, filepath.Join(dir, "sbin/openrc-run"), filepath.Join(dir, "sbin/supervise-daemon"), filepath.Join(dir, "bin/busybox"), filepath.Join(dir, "bin/sh")) {
		ldd := exec.Command("ldd", p)
		own, err := filepath.Glob(filepath.Join(dir, "lib/*-linux-gnu*"))
		require.NoError(t, err)
		ldd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(own, ":"))
		out, _ := ldd.Output() // which fails for a program that loads nothing
		for line := range strings.Lines(string(out)) {
			_, line, found := strings.Cut(line, "=>")
			if !found {
				_, line, _ = strings.Cut(string(out), "\t/")
				line = "/" + line
			}
			from := library.FindString(line)
			if from == "" || strings.HasPrefix(from, dir) {
				continue
			}
			to := filepath.Join(dir, from)
			if _, err := os.Stat(to); err == nil {
				continue
			}
			require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
			nodetest.Run(t, "cp", "-L", from, to)
		}
	}
}

// TestAccOpenRCService: OpenRC itself starts the service, tightens what K3s makes
// for as long as it runs, and stops all of it, with either shell that it is run by.
func TestAccOpenRCService(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("needs Debian's package of OpenRC: set PACKER_ACC=1")
	}
	nodetest.NeedRoot(t)
	for _, shell := range []string{"busybox", "dash"} {
		t.Run(shell, func(t *testing.T) {
			dir := openRCTree(t, shell)
			o := Options{BinDir: "/usr/local/bin", Roles: []k3s.Role{k3s.Server}}
			put := func(name string, mode os.FileMode, text string) {
				at := filepath.Join(dir, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
				require.NoError(t, os.WriteFile(at, []byte(text), mode))
			}
			for _, e := range o.service(service.OpenRCManager, k3s.Server) {
				put(e.Path, e.Mode, string(e.Data))
			}
			put("/etc/conf.d/k3s", 0o644, k3s.TightenScript(k3s.LayoutOf("")))
			put("/etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\n")
			put("/etc/group", 0o644, "root:x:0:\n")
			// It makes its certificate later than it starts, for everybody to read.
			put("/usr/local/bin/k3s", 0o755, "#!/bin/sh\necho \"arguments: $*\" >/arguments\nsleep 1\numask 022\nmkdir -p /var/lib/rancher/k3s/server/tls\n"+
				"echo x >/var/lib/rancher/k3s/server/tls/a.crt\nexec sleep 1000\n")
			put("/run.sh", 0o755, openRCRun)
			out, err := exec.Command("unshare", "-m", "-p", "-f", "chroot", dir, "/bin/sh", "/run.sh").CombinedOutput()
			require.NoError(t, err, "%s", out)
			assert.Contains(t, string(out), "certificate 600\n")
			assert.Contains(t, string(out), "arguments: server\n")
			assert.Contains(t, string(out), "supervise-daemon k3s --start")
			assert.NotRegexp(t, "too many arguments|[Ii]llegal option|bad option", string(out), "the shell takes all that the script says")
			assert.Contains(t, string(out), "left: \n", "what was started ends with the service")
		})
	}
}
