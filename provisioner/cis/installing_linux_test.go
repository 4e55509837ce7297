package cis

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/k3stest"
)

func k3sBinary(t *testing.T, arch string) []byte { return k3stest.Binary(t, arch) }

func imageArchive(t *testing.T, arch string, size int64, names ...string) []byte {
	return k3stest.Archive(t, arch, size, names...)
}

func zstandard(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return w.EncodeAll(data, nil)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func localFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(p, data, 0o600))
	return p
}

// systemdTree has systemd and a program that shows its architecture.
func systemdTree(t *testing.T, arch string) string {
	t.Helper()
	tree := newTree(t)
	write(t, tree, "usr/lib/systemd/systemd", string(k3sBinary(t, arch)))
	write(t, tree, "usr/bin/find", "find")
	return tree
}

func modeOf(t *testing.T, name string) os.FileMode {
	t.Helper()
	info, err := os.Stat(name)
	require.NoError(t, err)
	return info.Mode()
}

// K3s is put into a tree for any architecture, judged there, and a second run has
// nothing to do.
func TestInstalled(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			tree := systemdTree(t, arch)
			// More than what can be read back.
			images := zstandard(t, imageArchive(t, arch, 6<<20, "rancher/mirrored-pause:3.6", "quay.io/own/app:v1"))
			options := map[string]any{"install": map[string]any{
				"binary":        localFile(t, "k3s", k3sBinary(t, arch)),
				"airgap_images": []string{localFile(t, "k3s-airgap-images-"+arch+".tar.zst", images)},
			}}
			write(t, tree, "root/.bash_history", "secret\n")
			options["mode"] = "plan"
			before := files(t, tree)
			x := try(t, tree, options, nil)
			require.NoError(t, x.err, x.log)
			assert.Contains(t, x.log, "Installing would write:")
			assert.Equal(t, before, files(t, tree))

			options["mode"] = "apply"
			x = try(t, tree, options, nil)
			require.NoError(t, x.err, x.log)
			assert.Equal(t, release, x.report.K3sVersion)
			installed, err := os.ReadFile(filepath.Join(tree, "usr/local/bin/k3s"))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(k3sBinary(t, arch), installed))
			assert.Equal(t, os.FileMode(0o755), modeOf(t, filepath.Join(tree, "usr/local/bin/k3s")))
			assert.Equal(t, os.FileMode(0o644), modeOf(t, filepath.Join(tree, "etc/systemd/system/k3s.service")))
			assert.Equal(t, os.FileMode(0o600), modeOf(t, filepath.Join(tree, "etc/systemd/system/k3s.service.env")))
			for link, to := range map[string]string{
				"usr/local/bin/kubectl": "k3s", "usr/local/bin/crictl": "k3s", "usr/local/bin/ctr": "k3s",
				"etc/systemd/system/multi-user.target.wants/k3s.service": "/etc/systemd/system/k3s.service",
			} {
				found, err := os.Readlink(filepath.Join(tree, link))
				require.NoError(t, err)
				assert.Equal(t, to, found)
			}
			assert.Equal(t, os.FileMode(0o644), modeOf(t, filepath.Join(tree, "etc/systemd/system/k3s.service.d/60-k3s-cis.conf")))
			archive, err := os.ReadFile(filepath.Join(tree, "var/lib/rancher/k3s/agent/images/k3s-airgap-images-"+arch+".tar.zst"))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(images, archive))
			assert.Equal(t, os.ModeDir|0o700, modeOf(t, filepath.Join(tree, "var/lib/rancher/k3s/agent")))
			assert.FileExists(t, filepath.Join(tree, "var/lib/rancher/k3s/agent/images/.cache.json"))
			assert.Contains(t, x.log, "Warning: no archive of install.airgap_images has rancher/klipper-helm, rancher/klipper-lb")
			assert.NotContains(t, x.log, "rancher/mirrored-pause, which")
			assert.Equal(t, &report.Installed{
				Binary: report.InstalledFile{Path: "/usr/local/bin/k3s", SHA256: strings.TrimPrefix(digest(k3sBinary(t, arch)), "sha256:")}, Release: release, Architecture: arch,
				Archives: []report.InstalledArchive{{
					InstalledFile: report.InstalledFile{Path: "/var/lib/rancher/k3s/agent/images/k3s-airgap-images-" + arch + ".tar.zst", SHA256: strings.TrimPrefix(digest(images), "sha256:")},
					Images:        []string{"docker.io/rancher/mirrored-pause:3.6", "quay.io/own/app:v1"},
				}},
			}, x.report.Installed)
			for _, key := range []string{"node.binary.mode", "node.unit.mode", "node.k3s-starts"} {
				assert.Equal(t, benchmark.Pass, status(t, x.report, key).Status, key)
			}
			assert.NoFileExists(t, filepath.Join(tree, "root/.bash_history"), "what is installed is sealed")
			assert.Contains(t, x.log, "Sealed:")

			before = files(t, tree)
			x = try(t, tree, options, nil)
			require.NoError(t, x.err, x.log)
			assert.Contains(t, x.log, "Nothing changed")
			assert.Equal(t, before, files(t, tree))
		})
	}
}

func TestInstalledElsewhere(t *testing.T) {
	tree := newTree(t)
	write(t, tree, "sbin/openrc-run", "openrc")
	write(t, tree, "usr/bin/find", "find")
	write(t, tree, "opt/bin/kubectl-1.36", "kubectl")
	require.NoError(t, os.Symlink("kubectl-1.36", filepath.Join(tree, "opt/bin/kubectl")))
	write(t, tree, "usr/bin/ctr", "ctr")
	write(t, tree, "etc/init.d/k3s", "#!/sbin/openrc-run\ncommand=\"/usr/bin/k3s\"\ncommand_args=\"server --snapshotter native\"\n")
	write(t, tree, "etc/rancher/k3s/k3s.env", "K3S_DEBUG=true\n")
	write(t, tree, "etc/rancher/k3s/config.yaml", "data-dir: /data/k3s\n")
	x := try(t, tree, map[string]any{"seal": map[string]any{"enabled": false}, "install": map[string]any{
		"binary": localFile(t, "k3s", k3sBinary(t, "amd64")), "bin_dir": "/opt/bin",
		"airgap_images": []string{localFile(t, "images.tar", imageArchive(t, "amd64", 1000, "own/app:v1"))},
	}}, nil)
	require.NoError(t, x.err, x.log)
	assert.NotContains(t, x.log, "Seal")
	assert.Contains(t, x.log, "/etc/init.d/k3s is replaced, and kept as it was in /etc/rancher/k3s/k3s.init.before-k3s-cis")
	kept, err := os.ReadFile(filepath.Join(tree, "etc/rancher/k3s/k3s.init.before-k3s-cis"))
	require.NoError(t, err)
	assert.Contains(t, string(kept), "--snapshotter native")
	script, err := os.ReadFile(filepath.Join(tree, "etc/init.d/k3s"))
	require.NoError(t, err)
	assert.Contains(t, string(script), `command="/opt/bin/k3s"`)
	out, err := exec.Command("sh", "-n", filepath.Join(tree, "etc/init.d/k3s")).CombinedOutput()
	require.NoError(t, err, string(out))
	env, err := os.ReadFile(filepath.Join(tree, "etc/rancher/k3s/k3s.env"))
	require.NoError(t, err)
	assert.Equal(t, "K3S_DEBUG=true\n", string(env), "an environment of the image's own stays")
	runlevel, err := os.Readlink(filepath.Join(tree, "etc/runlevels/default/k3s"))
	require.NoError(t, err)
	assert.Equal(t, "/etc/init.d/k3s", runlevel)
	own, err := os.Readlink(filepath.Join(tree, "opt/bin/kubectl"))
	require.NoError(t, err)
	assert.Equal(t, "kubectl-1.36", own)
	assert.NoFileExists(t, filepath.Join(tree, "opt/bin/ctr"))
	assert.Contains(t, x.log, "/opt/bin/kubectl is the image's own and stays")
	assert.Contains(t, x.log, "/usr/bin/ctr is the image's own and stays: no link /opt/bin/ctr to k3s is made")
	settings, err := os.ReadFile(filepath.Join(tree, "etc/conf.d/k3s"))
	require.NoError(t, err)
	assert.Contains(t, string(settings), "find /data/k3s/server/tls -type f -name '*.crt' -exec chmod 0600 '{}' +")
	assert.FileExists(t, filepath.Join(tree, "data/k3s/agent/images/images.tar"))
	assert.Equal(t, benchmark.Pass, status(t, x.report, "node.unit.mode").Status)
}

// An image for both roles gets both services, and none is enabled.
func TestInstalledForBoth(t *testing.T) {
	tree := systemdTree(t, "amd64")
	x := try(t, tree, map[string]any{"role": "both", "install": map[string]any{"binary": localFile(t, "k3s", k3sBinary(t, "amd64"))}}, nil)
	require.NoError(t, x.err, x.log)
	assert.FileExists(t, filepath.Join(tree, "etc/systemd/system/k3s.service"))
	agent, err := os.ReadFile(filepath.Join(tree, "etc/systemd/system/k3s-agent.service"))
	require.NoError(t, err)
	assert.Contains(t, string(agent), "Type=exec\n")
	assert.Contains(t, string(agent), "ExecStart=/usr/local/bin/k3s agent\n")
	assert.NoDirExists(t, filepath.Join(tree, "etc/systemd/system/multi-user.target.wants"))
	assert.FileExists(t, filepath.Join(tree, "usr/local/bin/kubectl"))
	assert.Contains(t, x.log, "no service of K3s is enabled")
}

// What does not fit is refused before anything is touched.
func TestInstallRefused(t *testing.T) {
	amd64 := localFile(t, "k3s", k3sBinary(t, "amd64"))
	for name, c := range map[string]struct {
		tree func() string
		raw  map[string]any
		want string
	}{
		"another architecture": {raw: map[string]any{"install": map[string]any{"binary": localFile(t, "k3s", k3sBinary(t, "arm64"))}}, want: "it is for arm64, and the node's programs are for amd64"},
		"by the loader": {tree: func() string {
			tree := newTree(t)
			write(t, tree, "usr/lib/systemd/systemd", "systemd")
			write(t, tree, "lib/ld-linux-aarch64.so.1", "loader")
			return tree
		}, raw: map[string]any{"install": map[string]any{"binary": amd64}}, want: "it is for amd64, and the node's programs are for arm64"},
		"another release":    {raw: map[string]any{"k3s_version": "v1.35.1+k3s1", "install": map[string]any{"binary": amd64}}, want: "k3s_version is v1.35.1+k3s1 but install.binary is v1.36.3+k3s1"},
		"no service manager": {tree: func() string { return newTree(t) }, raw: map[string]any{"install": map[string]any{"binary": amd64}}, want: "neither systemd nor OpenRC"},
		"both managers": {tree: func() string {
			tree := systemdTree(t, "amd64")
			write(t, tree, "sbin/openrc-run", "openrc")
			return tree
		}, raw: map[string]any{"install": map[string]any{"binary": amd64}}, want: "both systemd and OpenRC"},
		"masked": {tree: func() string {
			tree := systemdTree(t, "amd64")
			require.NoError(t, os.MkdirAll(filepath.Join(tree, "etc/systemd/system"), 0o755))
			require.NoError(t, os.Symlink("/dev/null", filepath.Join(tree, "etc/systemd/system/k3s.service")))
			return tree
		}, raw: map[string]any{"install": map[string]any{"binary": amd64}}, want: "found a link to /dev/null where a file is to be put: remove it, as it masks the service"},
		"no program":     {raw: map[string]any{"install": map[string]any{"binary": localFile(t, "k3s", []byte("#!/bin/sh\n"))}}, want: "no program that Linux runs"},
		"a part":         {raw: map[string]any{"install": map[string]any{"binary": localFile(t, "k3s", k3sBinary(t, "amd64")[:1<<20])}}, want: "no program that Linux runs"},
		"another digest": {raw: map[string]any{"install": map[string]any{"binary": amd64, "checksum": digest([]byte("other"))}}, want: "Checksums did not match"},
		"images for another architecture": {raw: map[string]any{"install": map[string]any{
			"binary": amd64, "airgap_images": []string{localFile(t, "images.tar", imageArchive(t, "arm64", 1000, "own/app:v1"))},
		}}, want: "install.airgap_images[0]: docker.io/own/app:v1 is for arm64, and the binary is for amd64"},
		"half an archive": {raw: map[string]any{"install": map[string]any{
			"binary": amd64, "airgap_images": []string{localFile(t, "images.tar", imageArchive(t, "amd64", 1000, "own/app:v1")[:2000])},
		}}, want: "cannot be read as an archive of container images"},
		"another program": {raw: map[string]any{"install": map[string]any{"binary": "/bin/true"}}, want: "it is no K3s release binary"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PACKER_CACHE_DIR", t.TempDir())
			newTree := c.tree
			if newTree == nil {
				newTree = func() string { return systemdTree(t, "amd64") }
			}
			tree := newTree()
			before := files(t, tree)
			x := try(t, tree, c.raw, nil)
			require.ErrorContains(t, x.err, c.want)
			assert.Equal(t, before, files(t, tree), "nothing was touched")
		})
	}
}

// A release is served as GitHub serves one, well and badly.
func TestInstallFetches(t *testing.T) {
	binary, images := k3sBinary(t, "amd64"), zstandard(t, imageArchive(t, "amd64", 5000, "own/app:v1"))
	list := fmt.Sprintf("%s  k3s-airgap-images-amd64.tar.zst\n%s  k3s\n", digest(images)[len("sha256:"):], digest(binary)[len("sha256:"):])
	var short, wrong bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Base(r.URL.Path)
		if dir := filepath.Base(filepath.Dir(r.URL.Path)); dir == "moved" {
			http.Redirect(w, r, "/"+release+"/"+name, http.StatusFound)
			return
		}
		data, found := map[string][]byte{"k3s": binary, "k3s-airgap-images-amd64.tar.zst": images, "sha256sum-amd64.txt": []byte(list)}[name]
		switch {
		case !found:
			http.NotFound(w, r)
		case wrong && name == "k3s":
			http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(bytes.Repeat([]byte{'x'}, len(data))))
		case short && name == "k3s":
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:len(data)/2])
		default:
			http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
		}
	}))
	defer server.Close()
	t.Setenv("PACKER_CACHE_DIR", t.TempDir())
	options := func(dir, checksum string) map[string]any {
		return map[string]any{"install": map[string]any{
			"binary": server.URL + dir + "/k3s", "checksum": checksum,
			"airgap_images": []string{server.URL + dir + "/k3s-airgap-images-amd64.tar.zst?checksum=file:" + server.URL + dir + "/sha256sum-amd64.txt"},
		}}
	}
	byList := options("/moved", "file:"+server.URL+"/moved/sha256sum-amd64.txt")
	tree := systemdTree(t, "amd64")
	before := files(t, tree)

	short = true
	x := try(t, tree, byList, nil)
	require.Error(t, x.err)
	assert.ErrorContains(t, x.err, "install.binary: ")
	assert.Equal(t, before, files(t, tree), "half a file is not installed")

	short, wrong = false, true
	x = try(t, tree, options("/bad", digest(binary)), nil)
	require.ErrorContains(t, x.err, "Checksums did not match")
	assert.Equal(t, before, files(t, tree), "nor another one")

	wrong = false
	x = try(t, tree, byList, nil)
	require.NoError(t, x.err, x.log)
	assert.FileExists(t, filepath.Join(tree, "usr/local/bin/k3s"))
	assert.FileExists(t, filepath.Join(tree, "var/lib/rancher/k3s/agent/images/k3s-airgap-images-amd64.tar.zst"))
}

// A tree that is only checked has what install says, by digests, or the build fails.
func TestInstalledIsCompared(t *testing.T) {
	tree := systemdTree(t, "amd64")
	binary, images := k3sBinary(t, "amd64"), imageArchive(t, "amd64", 5<<20, "own/app:v1")
	options := map[string]any{"install": map[string]any{
		"binary": localFile(t, "k3s", binary), "airgap_images": []string{localFile(t, "images.tar", images)},
	}}
	x := try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	options["mode"] = modeCheck
	x = try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	byDigest := map[string]any{"mode": modeCheck, "install": map[string]any{
		"binary": "https://nowhere.invalid/k3s", "checksum": digest(binary), "airgap_images": []string{"https://nowhere.invalid/images.tar?checksum=" + digest(images)},
	}}
	x = try(t, tree, byDigest, nil)
	require.NoError(t, x.err, x.log)

	write(t, tree, "usr/local/bin/k3s", string(binary)+"x")
	require.NoError(t, os.Chmod(filepath.Join(tree, "usr/local/bin/k3s"), 0o755))
	for _, options := range []map[string]any{options, byDigest} {
		x = try(t, tree, options, nil)
		require.ErrorContains(t, x.err, "/usr/local/bin/k3s is not the file of install.binary, whose SHA-256 is "+strings.TrimPrefix(digest(binary), "sha256:"))
		assert.NotContains(t, x.err.Error(), "images.tar")
	}
	require.NoError(t, os.Remove(filepath.Join(tree, "var/lib/rancher/k3s/agent/images/images.tar")))
	x = try(t, tree, options, nil)
	require.ErrorContains(t, x.err, "/var/lib/rancher/k3s/agent/images/images.tar is not there, and install.airgap_images[0] names it")
}

// A release is fetched for the architecture of the tree, and is what it is called.
func TestInstallVersion(t *testing.T) {
	binary := k3sBinary(t, "arm64")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.EscapedPath() {
		case "/k3s/v1.36.3%2Bk3s1/k3s-arm64", "/k3s/v1.36.4%2Bk3s1/k3s-arm64":
			_, _ = w.Write(binary)
		case "/k3s/v1.36.3%2Bk3s1/sha256sum-arm64.txt", "/k3s/v1.36.4%2Bk3s1/sha256sum-arm64.txt":
			_, _ = fmt.Fprintf(w, "%s  k3s-arm64\n", strings.TrimPrefix(digest(binary), "sha256:"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	t.Setenv("PACKER_CACHE_DIR", t.TempDir())
	registries := "mirrors:\n  docker.io:\n    endpoint: [https://mirror.example]\n"
	options := map[string]any{"install": map[string]any{
		"version": release, "artifact_url": server.URL + "/k3s", "registries_file": localFile(t, "registries.yaml", []byte(registries)),
	}}
	tree := systemdTree(t, "arm64")
	write(t, tree, "etc/rancher/k3s/registries.yaml", "mirrors: {}\n")
	x := try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	assert.Equal(t, release, x.report.K3sVersion)
	assert.Equal(t, "arm64", x.report.Installed.Architecture)
	data, err := os.ReadFile(filepath.Join(tree, "etc/rancher/k3s/registries.yaml"))
	require.NoError(t, err)
	assert.Equal(t, registries, string(data))
	assert.Equal(t, os.FileMode(0o600), modeOf(t, filepath.Join(tree, "etc/rancher/k3s/registries.yaml")))
	data, err = os.ReadFile(filepath.Join(tree, "etc/rancher/k3s/registries.yaml.before-k3s-cis"))
	require.NoError(t, err)
	assert.Equal(t, "mirrors: {}\n", string(data))
	for _, name := range []string{"k3s-killall.sh", "k3s-uninstall.sh"} {
		assert.Equal(t, os.FileMode(0o755), modeOf(t, filepath.Join(tree, "usr/local/bin", name)))
	}
	before := files(t, tree)
	x = try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	assert.Equal(t, before, files(t, tree))

	for version, want := range map[string]string{
		"v1.36.4+k3s1": "install.version is v1.36.4+k3s1, and the binary that was fetched says that it is v1.36.3+k3s1",
		"v1.36.5+k3s1": "install.version: ",
	} {
		tree := systemdTree(t, "arm64")
		before := files(t, tree)
		x := try(t, tree, map[string]any{"install": map[string]any{"version": version, "artifact_url": server.URL + "/k3s"}}, nil)
		require.ErrorContains(t, x.err, want)
		assert.Equal(t, before, files(t, tree))
	}
	tree = newTree(t)
	x = try(t, tree, options, nil)
	require.ErrorContains(t, x.err, `do not say which of these they are for (found "")`)
	write(t, tree, "usr/lib/systemd/systemd", "systemd")
	write(t, tree, "lib/ld-linux-aarch64.so.1", "loader")
	x = try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
}

func TestInstallOptions(t *testing.T) {
	file := localFile(t, "k3s", []byte("k3s"))
	sum := digest(nil)
	for name, c := range map[string]struct {
		raw  map[string]any
		want string
	}{
		"no binary":           {map[string]any{}, "install.binary: is missing"},
		"no such file":        {map[string]any{"binary": "/nowhere/k3s"}, "is no file on the build host"},
		"URL unchecked":       {map[string]any{"binary": "https://a/k3s"}, "has no checksum"},
		"URL checked by none": {map[string]any{"binary": "https://a/k3s", "checksum": "none"}, "has no checksum"},
		"weak checksum":       {map[string]any{"binary": "https://a/k3s", "checksum": "md5:d41d8cd98f00b204e9800998ecf8427e"}, "neither sha256:"},
		"object store":        {map[string]any{"binary": "s3::https://a/k3s", "checksum": sum}, "needs a client of that store"},
		"bin_dir":             {map[string]any{"binary": file, "bin_dir": "/srv"}, `install.bin_dir: "/srv" is not one of`},
		"service":             {map[string]any{"binary": file, "service": "runit"}, `install.service: "runit" is not one of`},
		"no archive":          {map[string]any{"binary": file, "airgap_images": []string{file}}, "K3s imports no file named"},
		"archive unchecked":   {map[string]any{"binary": file, "airgap_images": []string{"https://a/i.tar"}}, "install.airgap_images[0]: \"https://a/i.tar\" has no checksum"},
		"version":             {map[string]any{"version": "1.36"}, "install.version: \"1.36\" is not a K3s release"},
		"version and binary":  {map[string]any{"version": release, "binary": file}, "install.version and install.binary exclude each other"},
		"a mirror of nothing": {map[string]any{"binary": file, "artifact_url": "https://a"}, "install.artifact_url: is for install.version alone"},
		"no registries":       {map[string]any{"binary": file, "registries_file": "/nowhere"}, "install.registries_file: \"/nowhere\" cannot be read"},
		"wrong registries":    {map[string]any{"binary": file, "registries_file": localFile(t, "r", []byte("mirror: {}\n"))}, "field mirror not found"},
		"a package":           {map[string]any{"binary": file, "selinux_policy": "https://a/k3s-selinux.rpm", "selinux_policy_checksum": sum}, "install.selinux_policy: \"k3s-selinux.rpm\" is a package"},
		"module unchecked":    {map[string]any{"binary": file, "selinux_policy": "https://a/k3s.pp"}, "install.selinux_policy: \"https://a/k3s.pp\" has no checksum"},
		"no module":           {map[string]any{"binary": file, "selinux_policy": file}, "is no module of a policy"},
		"checksum of nothing": {map[string]any{"binary": file, "selinux_policy_checksum": sum}, "install.selinux_policy_checksum: is for install.selinux_policy"},
		"OpenRC's module":     {map[string]any{"binary": file, "service": "openrc", "selinux_policy": "https://a/k3s.pp", "selinux_policy_checksum": sum}, "install.selinux_policy: a service of systemd"},
		"archives alike":      {map[string]any{"binary": file, "airgap_images": []string{"https://a/i.tar?checksum=" + sum, "https://b/i.tar?checksum=" + sum}}, `another archive is named "i.tar" too`},
	} {
		t.Run(name, func(t *testing.T) {
			var p Provisioner
			require.ErrorContains(t, p.Prepare(map[string]any{"install": c.raw}), c.want)
		})
	}
	for name, raw := range map[string]map[string]any{
		"file": {"binary": file}, "URL": {"binary": "https://a/k3s", "checksum": sum},
		"list": {"binary": "https://a/k3s", "checksum": "file:https://a/sums"}, "query": {"binary": "https://a/k3s?checksum=" + sum},
		"unknown": {"binary": unknown, "checksum": unknown}, "release": {"version": release}, "pinned": {"version": release, "checksum": sum}, "unknown release": {"version": unknown, "registries_file": unknown},
		"mirror": {"version": release, "artifact_url": "https://a/k3s/"},
	} {
		t.Run(name, func(t *testing.T) {
			var p Provisioner
			require.NoError(t, p.Prepare(map[string]any{"install": raw}))
		})
	}
	for want, raw := range map[string]map[string]any{
		"k3s_version is v1.35.1+k3s1 but install.version is " + release: {"k3s_version": "v1.35.1+k3s1", "install": map[string]any{"version": release}},
		"benchmark: ": {"benchmark": "cis-2.1", "install": map[string]any{"version": "v1.24.3+k3s1"}},
	} {
		var p Provisioner
		require.ErrorContains(t, p.Prepare(raw), want)
	}
	var p Provisioner
	require.ErrorContains(t, p.Prepare(map[string]any{"k3s_command": "server", "install": map[string]any{"binary": file}}), "k3s_command and install exclude each other")
}

// A module of the policy is laid with what loads it, compared, and refused where no
// SELinux would ever load it.
func TestInstalledSELinuxPolicy(t *testing.T) {
	module := []byte("(type k3s_own_t)\n")
	options := map[string]any{"install": map[string]any{
		"binary":         localFile(t, "k3s", k3sBinary(t, "amd64")),
		"selinux_policy": localFile(t, "k3s.cil", module), "selinux_policy_checksum": digest(module),
	}}
	tree := systemdTree(t, "amd64")
	before := files(t, tree)
	x := try(t, tree, options, nil)
	require.ErrorContains(t, x.err, "install.selinux_policy: the node has no /etc/selinux/config")
	assert.Equal(t, before, files(t, tree), "nothing was touched")

	write(t, tree, "etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n")
	write(t, tree, "usr/sbin/semodule", "semodule")
	write(t, tree, "usr/sbin/restorecon", "restorecon")
	x = try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	data, err := os.ReadFile(filepath.Join(tree, "usr/share/selinux/packages/k3s.cil"))
	require.NoError(t, err)
	assert.Equal(t, module, data)
	sum := strings.TrimPrefix(digest(module), "sha256:")
	unit, err := os.ReadFile(filepath.Join(tree, "etc/systemd/system/k3s-cis-selinux.service"))
	require.NoError(t, err)
	assert.Contains(t, string(unit), "ConditionPathExists=!/var/lib/k3s-cis-selinux/"+sum+"\n")
	assert.Contains(t, string(unit), `"/usr/local/bin/k3s" "/var/lib/rancher/k3s"`)
	link, err := os.Readlink(filepath.Join(tree, "etc/systemd/system/multi-user.target.wants/k3s-cis-selinux.service"))
	require.NoError(t, err)
	assert.Equal(t, "/etc/systemd/system/k3s-cis-selinux.service", link)
	assert.Contains(t, x.log, "/usr/share/selinux/packages/k3s.cil is not loaded yet")
	assert.Equal(t, &report.InstalledFile{Path: "/usr/share/selinux/packages/k3s.cil", SHA256: sum}, x.report.Installed.SELinuxPolicy)

	before = files(t, tree)
	x = try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	assert.Equal(t, before, files(t, tree))
	options["mode"] = modeCheck
	x = try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	write(t, tree, "usr/share/selinux/packages/k3s.cil", "(type other_t)\n")
	x = try(t, tree, options, nil)
	require.ErrorContains(t, x.err, "/usr/share/selinux/packages/k3s.cil is not the file of install.selinux_policy, whose SHA-256 is "+sum)
}
