package example

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/k3stest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
	"github.com/k3s-cis/packer-plugin-k3s/version"
)

// standIn is GitHub's release pages on this host's loopback: a proxy that takes every
// connection to them for itself, under a certificate of the test's own.
type standIn struct {
	// files are what is there, by host and path.
	files map[string][]byte
	// proxy is the proxy's URL, ca the file with the certificate to trust.
	proxy, ca string

	mu sync.Mutex
	// asked are the hosts and paths that were asked for.
	asked []string
}

// startStandIn starts it; it ends with the test.
func startStandIn(t *testing.T, files map[string][]byte) *standIn {
	t.Helper()
	s := &standIn{files: files, ca: filepath.Join(t.TempDir(), "ca.pem")}
	// It makes its certificates anew for each name, under an authority that is
	// among those of the test alone.
	authority := newAuthority(t)
	require.NoError(t, os.WriteFile(s.ca, authority.pem, 0o600))
	pages := httptest.NewUnstartedServer(s)
	pages.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: authority.certificate}
	pages.StartTLS()
	t.Cleanup(pages.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || !slices.Contains([]string{"api.github.com:443", "github.com:443"}, r.Host) {
			http.Error(w, "no such host here", http.StatusBadGateway)
			return
		}
		s.join(w, pages.Listener.Addr().String())
	}))
	t.Cleanup(proxy.Close)
	s.proxy = proxy.URL
	return s
}

// join joins the connection of a CONNECT to another.
func (s *standIn) join(w http.ResponseWriter, address string) {
	to, err := net.Dial("tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	fmt.Fprint(from, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		io.Copy(to, buffered)
		to.Close()
	}()
	io.Copy(from, to)
}

// ServeHTTP answers as GitHub does.
func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.Host + r.URL.Path
	s.mu.Lock()
	s.asked = append(s.asked, name)
	s.mu.Unlock()
	data, there := s.files[name]
	if !there {
		http.NotFound(w, r)
		return
	}
	w.Write(data)
}

// inside runs a command in a directory and fails the test where it fails.
func inside(t *testing.T, dir string, env []string, name string, arguments ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, arguments...)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, arguments, out)
	return string(out)
}

// snapshot makes the release archives of a fresh checkout for this host, as `make
// release` makes them for all but without signatures, and returns the version.
func snapshot(t *testing.T, checkout string) string {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(checkout, ".goreleaser.yml"))
	require.NoError(t, err)
	for what, only := range map[string]string{"goos": "linux", "goarch": runtime.GOARCH} {
		config = regexp.MustCompile(`(?m)^    `+what+`: .*`).ReplaceAll(config, fmt.Appendf(nil, "    %s: [%s]", what, only))
	}
	file := filepath.Join(t.TempDir(), "goreleaser.yml")
	require.NoError(t, os.WriteFile(file, config, 0o600))
	inside(t, checkout, nil, "git", "tag", "v"+version.Version)
	inside(t, checkout, nil, "make", "snapshot", "GORELEASER_CONFIG="+file)
	sums, err := filepath.Glob(filepath.Join(checkout, "dist", "*_SHA256SUMS"))
	require.NoError(t, err)
	require.Len(t, sums, 1)
	return regexp.MustCompile(`_v([0-9.]+)_SHA256SUMS$`).FindStringSubmatch(sums[0])[1]
}

// pages are the release pages that packer init and the examples ask for.
func pages(t *testing.T, dist, release string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	archives := map[string][]byte{}
	for _, pattern := range []string{"*.zip", "*_SHA256SUMS"} {
		found, err := filepath.Glob(filepath.Join(dist, pattern))
		require.NoError(t, err)
		for _, file := range found {
			archives[filepath.Base(file)], err = os.ReadFile(file)
			require.NoError(t, err)
		}
	}
	publish(t, out, "k3s-cis/packer-plugin-k3s", "v"+release, archives)

	const qemu = "v1.0.9"
	name := fmt.Sprintf("packer-plugin-qemu_%s_x5.0_linux_%s", qemu, runtime.GOARCH)
	archive := zipped(t, name, packertest.Tool(t, "packer-plugin-qemu"))
	publish(t, out, "hashicorp/packer-plugin-qemu", qemu, map[string][]byte{
		name + ".zip": archive,
		"packer-plugin-qemu_" + qemu + "_SHA256SUMS": fmt.Appendf(nil, "%x  %s.zip\n", sha256.Sum256(archive), name),
	})

	program := k3stest.Binary(t, "amd64")
	publish(t, out, "k3s-io/k3s", k3stest.Release, map[string][]byte{
		"k3s":                 program,
		"sha256sum-amd64.txt": fmt.Appendf(nil, "%x  k3s\n", sha256.Sum256(program)),
	})
	return out
}

// publish puts a release of a project on its pages.
func publish(t *testing.T, on map[string][]byte, project, tag string, files map[string][]byte) {
	t.Helper()
	refs, err := json.Marshal([]map[string]string{{"ref": "refs/tags/" + tag}})
	require.NoError(t, err)
	on["api.github.com/repos/"+project+"/git/matching-refs/tags"] = refs
	for name, data := range files {
		on["github.com/"+project+"/releases/download/"+tag+"/"+name] = data
	}
}

// zipped is a zip of one file, under a name.
func zipped(t *testing.T, name, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

// commands are the shell commands of a page, in their order.
func commands(t *testing.T, page string) string {
	t.Helper()
	data, err := os.ReadFile(page)
	require.NoError(t, err)
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(data), -1) {
		out = append(out, m[1])
	}
	require.NotEmpty(t, out)
	return strings.Join(out, "")
}

// TestAccExamples: packer init takes a release of this tree from the release pages, and
// the commands of README.md build every example that needs no cloud with it, word for
// word on a fresh checkout.
func TestAccExamples(t *testing.T) {
	p := packertest.New(t, nil)
	checkout := filepath.Join(t.TempDir(), "packer-plugin-k3s")
	inside(t, packertest.Root(), nil, "git", "clone", "--quiet", ".", checkout)
	release := snapshot(t, checkout)
	github := startStandIn(t, pages(t, filepath.Join(checkout, "dist"), release))

	bin, home := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(p.Programs(t), "packer"), filepath.Join(bin, "packer"))) // and no plugin
	env := append(os.Environ(), "HTTPS_PROXY="+github.proxy, "SSL_CERT_FILE="+github.ca, "PATH="+bin+":"+os.Getenv("PATH"),
		"PACKER_CONFIG_DIR="+home, "PACKER_PLUGIN_PATH="+filepath.Join(home, "plugins"), "PACKER_CACHE_DIR="+filepath.Join(home, "cache"), "CHECKPOINT_DISABLE=1")
	said := inside(t, checkout, env, "sh", "-exc", commands(t, "README.md"))

	assert.Contains(t, said, "Installed plugin github.com/k3s-cis/k3s v"+release+" in ")
	installed := inside(t, checkout, env, filepath.Join(bin, "packer"), "plugins", "installed")
	assert.Contains(t, installed, fmt.Sprintf("packer-plugin-k3s_v%s_x5.0_linux_%s", release, runtime.GOARCH))
	assert.Contains(t, installed, "packer-plugin-qemu_v1.0.9_x5.0_linux_"+runtime.GOARCH)
	assert.Contains(t, github.asked, "api.github.com/repos/k3s-cis/packer-plugin-k3s/git/matching-refs/tags")
	for _, image := range []string{"output", "first-boot/output", "fleet/output/first-server", "fleet/output/server", "fleet/output/agent", "fleet/output/any"} {
		assert.FileExists(t, filepath.Join(checkout, "example", image, "node.qcow2"))
		assert.FileExists(t, filepath.Join(checkout, "example", image, "report/report.json"))
	}
}
