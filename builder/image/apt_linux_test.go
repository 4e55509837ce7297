package image

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// resolvedLink is what systemd-resolved has as resolv.conf. It leads nowhere
// while the system does not run.
const resolvedLink = "../run/systemd/resolve/stub-resolv.conf"

// repositoryHost is a name that only the test's own name server knows.
const repositoryHost = "packages.k3s-image.test"

// debian unpacks the base root file system that the example uses.
func debian(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	out, err := exec.Command("tar", "--zstd", "--numeric-owner", "-xpf", filepath.Join(packertest.Base(t), "rootfs.tar.zst"), "-C", root).CombinedOutput()
	require.NoError(t, err, string(out))
	return root
}

// ownNetwork gives this goroutine, and what it starts, a network of its own
// that has only a loopback, and a name server in it.
func ownNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	require.NoError(t, unix.Unshare(unix.CLONE_NEWNET|unix.CLONE_NEWNS))
	require.NoError(t, unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""))
	out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput()
	require.NoError(t, err, string(out))
	servers := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(servers, []byte("nameserver 127.0.0.1\n"), 0o644))
	place, err := filepath.EvalSymlinks(resolverPath)
	require.NoError(t, err)
	require.NoError(t, unix.Mount(servers, place, "", unix.MS_BIND, ""))
	conn, err := net.ListenPacket("udp", "127.0.0.1:53")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	go answerNames(conn)
}

// answerNames says of repositoryHost that it is 127.0.0.1, and of every other
// name that there is none (RFC 1035, section 4.1).
func answerNames(conn net.PacketConn) {
	var name []byte
	for _, label := range strings.Split(repositoryHost, ".") {
		name = append(append(name, byte(len(label))), label...)
	}
	name = append(name, 0)
	query := make([]byte, 512)
	for {
		n, from, err := conn.ReadFrom(query)
		if err != nil {
			return
		}
		const header = 12
		end := header + strings.IndexByte(string(query[header:n]), 0) + 5 // the name, its type and class
		if end > n || end < header+5 {
			continue
		}
		answer := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[header:end]...)
		known := strings.EqualFold(string(query[header:end-4]), string(name))
		switch kind := query[end-3]; {
		case !known:
			answer[3] |= 3
		case kind == 1: // an address of version 4
			answer[7] = 1
			answer = append(answer, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1)
		}
		_, _ = conn.WriteTo(answer, from)
	}
}

// serveRepository makes a repository of one package and serves it by HTTP.
func serveRepository(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	tree := filepath.Join(t.TempDir(), "proof")
	control := "Package: k3s-image-proof\nVersion: 1.0\nArchitecture: all\nMaintainer: test <test@" + repositoryHost + ">\nDescription: proof\n"
	for path, content := range map[string]string{"DEBIAN/control": control, "usr/share/k3s-image-proof": "installed\n"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(tree, path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(tree, path), []byte(content), 0o644))
	}
	require.NoError(t, os.Chmod(filepath.Dir(tree), 0o755))
	out, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", tree, filepath.Join(dir, "proof.deb")).CombinedOutput()
	require.NoError(t, err, string(out))
	deb, err := os.ReadFile(filepath.Join(dir, "proof.deb"))
	require.NoError(t, err)
	packages := fmt.Sprintf("%sFilename: ./proof.deb\nSize: %d\nSHA256: %x\n", control, len(deb), sha256.Sum256(deb))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Packages"), []byte(packages), 0o644))
	release := fmt.Sprintf("Date: %s\nSHA256:\n %x %d Packages\n", time.Now().UTC().Format(time.RFC1123), sha256.Sum256([]byte(packages)), len(packages))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Release"), []byte(release), 0o644))
	listener, err := net.Listen("tcp", "127.0.0.1:80")
	require.NoError(t, err)
	server := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: time.Minute}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
}

// Packages are installed in an image whose resolv.conf is systemd-resolved's
// link, by a name that has to be resolved; the link is as before.
func TestAccInstallPackage(t *testing.T) {
	packer := packertest.New(t, nil)
	b := newBench(t)
	root := debian(t)
	resolver := filepath.Join(root, resolverPath)
	require.NoError(t, os.RemoveAll(resolver))
	require.NoError(t, os.Symlink(resolvedLink, resolver))
	require.NoError(t, os.RemoveAll(filepath.Join(root, "etc/apt/sources.list.d")))
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/apt/sources.list"), []byte("deb [trusted=yes] http://"+repositoryHost+"/ ./\n"), 0o644))
	before, err := os.Lstat(resolver)
	require.NoError(t, err)

	ownNetwork(t)
	serveRepository(t)
	dir := packertest.Write(t, acc(fmt.Sprintf("rootfs_directory = %q\nformat = \"tar\"\nvm_name = \"node\"\noutput_directory = %q\n", root, b.out), `
  provisioner "shell" {
    inline = [
      "set -e",
      "getent hosts `+repositoryHost+`",
      "apt-get -q update",
      "DEBIAN_FRONTEND=noninteractive apt-get -qy install k3s-image-proof",
    ]
  }
`))
	r := packer.Run(t, dir, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	assert.Equal(t, "installed\n", b.content(filepath.Join(b.out, "node.tar"), "tar", "/usr/share/k3s-image-proof"))
	after, err := os.Lstat(resolver)
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after))
	assert.Equal(t, before.ModTime(), after.ModTime())
	target, err := os.Readlink(resolver)
	require.NoError(t, err)
	assert.Equal(t, resolvedLink, target)
	list, err := exec.Command("tar", "-tvf", filepath.Join(b.out, "node.tar"), "."+resolverPath).Output()
	require.NoError(t, err)
	assert.Contains(t, string(list), "./etc/resolv.conf -> "+resolvedLink)
	left, err := os.ReadDir(filepath.Join(root, "run"))
	require.NoError(t, err)
	for _, e := range left {
		assert.NotEqual(t, "systemd", e.Name())
	}
}
