package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// laidScripts are the scripts as they are put into an image whose programs are in dir.
func laidScripts(t *testing.T, dir string, dataDirs ...string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	o := Options{BinDir: dir, Roles: []k3s.Role{k3s.Server, k3s.Agent}}
	for _, e := range o.scripts(dataDirs) {
		require.NoError(t, os.WriteFile(e.Path, e.Data, 0o755))
	}
}

// The shells of this host, and shellcheck, find nothing wrong with the scripts.
func TestScriptsAreSound(t *testing.T) {
	dir := t.TempDir()
	laidScripts(t, dir, "/var/lib/rancher/k3s", "/srv/a 'b'/k3s")
	files, err := filepath.Glob(filepath.Join(dir, "*.sh"))
	require.NoError(t, err)
	require.Len(t, files, 3)
	checks := [][]string{{"sh", "-n"}, {"bash", "--posix", "-n"}, {"busybox", "sh", "-n"}, {"shellcheck", "--shell=sh"}}
	for _, check := range checks {
		if _, err := exec.LookPath(check[0]); err != nil {
			continue // CI has them all
		}
		for _, file := range files {
			out, err := exec.CommandContext(t.Context(), check[0], append(check[1:], file)...).CombinedOutput()
			require.NoError(t, err, string(out))
		}
	}
}

// scene is run in namespaces of its own: what K3s leaves on a host, and the scripts
// at work.
const scene = `set -eu
mount -t tmpfs tmpfs /run
cp -a /etc /run/etc
mount --bind /run/etc /etc
mkdir -p /run/k3s/containerd/rootfs /run/systemd/system /etc/rancher/k3s
mount -t tmpfs tmpfs /run/k3s/containerd/rootfs
mkdir "/run/k3s/containerd/rootfs/a b"
mount -t tmpfs tmpfs "/run/k3s/containerd/rootfs/a b"
mount -t tmpfs tmpfs /var/lib
mkdir -p /var/lib/cni/networks /var/lib/kubelet/pods/x/volumes
mount -t tmpfs tmpfs /var/lib/kubelet/pods/x/volumes
shim="$DATA/data/0123/bin/containerd-shim-runc-v2"
mkdir -p "${shim%/*}" "$DATA/server/db"
cp "$(readlink -f "$(command -v bash)")" "$shim"
"$shim" -c 'bash -c "sleep 1000; :" & sleep 1000; :' &
bash -c 'sleep 1000; :' & # nothing of K3s's
other=$!
sleep 0.5
ip link add cni0 type dummy && ip link add flannel.1 type dummy && ip link add own0 type dummy || echo "no links"
echo before: $(pgrep -c sleep)
"$BIN/k3s-killall.sh"
echo mounts: $(grep -c -e ' /run/k3s' -e ' /var/lib/kubelet' /proc/mounts)
echo after: $(pgrep -c sleep) $(kill -0 "$other" && echo other)
echo links: $(ip -o link show | sed 's/^[0-9]*: //; s/:.*//')
[ ! -e /var/lib/cni ] && [ -d "$DATA/server/db" ] && echo "the disk stays"
mount -t tmpfs tmpfs "$DATA/server/db"
if "$BIN/k3s-uninstall.sh"; then echo "removed below a mount"; fi
umount "$DATA/server/db"
[ ! -e "$BIN/k3s" ] && [ ! -e /etc/rancher/k3s ] && echo "the program went"
`

// The scripts end what K3s started and nothing else, and leave alone what is mounted.
func TestScriptsWork(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the script makes namespaces and mounts")
	}
	bin, dir := filepath.Join(t.TempDir(), "bin"), t.TempDir()
	data := filepath.Join(dir, "k3s")
	laidScripts(t, bin, data)
	for name, text := range map[string]string{"k3s": "", "systemctl": "#!/bin/sh\necho systemctl \"$@\"\n", "kubectl-own": ""} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755))
	}
	require.NoError(t, os.Symlink("k3s", filepath.Join(bin, "crictl")))
	require.NoError(t, os.Symlink("kubectl-own", filepath.Join(bin, "kubectl")))
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", scene)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "DATA="+data, "BIN="+bin)
	out, err := cmd.CombinedOutput()
	text := string(out)
	require.NoError(t, err, text)
	assert.Contains(t, text, "systemctl stop k3s\nsystemctl stop k3s-agent\n")
	assert.Contains(t, text, "before: 3\n")
	assert.Contains(t, text, "mounts: 0\n")
	assert.Contains(t, text, "after: 1 other\n")
	if !strings.Contains(text, "no links") {
		assert.Contains(t, text, "links: lo own0\n")
	}
	assert.Contains(t, text, "the disk stays\n")
	assert.Contains(t, text, data+" stays, as something is mounted below it\n")
	assert.NotContains(t, text, "removed below a mount")
	assert.Contains(t, text, "systemctl disable k3s-agent\n")
	assert.Contains(t, text, "systemctl daemon-reload\n")
	assert.Contains(t, text, "the program went\n")
	_, err = os.Lstat(filepath.Join(bin, "crictl"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = os.Lstat(filepath.Join(bin, "kubectl"))
	require.NoError(t, err, "a link of one's own stays")
	assert.DirExists(t, filepath.Join(data, "server/db"))
}
