package install

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/k3stest"
)

func container(t *testing.T, architecture string) v1.Image {
	return k3stest.Image(t, architecture, 4096)
}

func saved(t *testing.T, images map[string]v1.Image) []byte { return k3stest.Save(t, images) }

// laidOut is an archive with an OCI layout.
func laidOut(t *testing.T, add func(layout.Path)) []byte {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	add(p)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.AddFS(os.DirFS(dir)))
	require.NoError(t, w.Close())
	return b.Bytes()
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zstandard(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return w.EncodeAll(data, nil)
}

func laid(t *testing.T, called string, data []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), called)
	require.NoError(t, os.WriteFile(p, data, 0o600))
	return p
}

// without is an archive that lacks the files that drop says.
func without(t *testing.T, archive []byte, drop func(string) bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w, r := tar.NewWriter(&b), tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF { //nolint:errorlint // as it is documented
			break
		}
		require.NoError(t, err)
		if drop(h.Name) {
			continue
		}
		require.NoError(t, w.WriteHeader(h))
		_, err = io.Copy(w, r)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// What is in an archive is read however it was written and packed.
func TestReadArchive(t *testing.T) {
	amd64, arm64 := container(t, "amd64"), container(t, "arm64")
	docker := saved(t, map[string]v1.Image{"rancher/mirrored-pause:3.6": amd64, "quay.io/own/app:v1": amd64})
	oci := laidOut(t, func(p layout.Path) {
		require.NoError(t, p.AppendImage(amd64, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "3.6", "io.containerd.image.name": "docker.io/rancher/mirrored-pause:3.6"})))
		both := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: amd64}, mutate.IndexAddendum{Add: arm64})
		require.NoError(t, p.AppendIndex(both, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "quay.io/own/app:v1"})))
	})
	one := []Image{{"docker.io/rancher/mirrored-pause:3.6", []string{"amd64"}}, {"quay.io/own/app:v1", []string{"amd64"}}}
	two := []Image{{"docker.io/rancher/mirrored-pause:3.6", []string{"amd64"}}, {"quay.io/own/app:v1", []string{"amd64", "arm64"}}}
	for called, c := range map[string]struct {
		data []byte
		want []Image
	}{
		"images.tar": {docker, one}, "images.tar.gz": {gzipped(t, docker), one}, "images.tgz": {gzipped(t, docker), one},
		"images.tar.zst": {zstandard(t, docker), one}, "images.tzst": {zstandard(t, docker), one},
		"oci.tar": {oci, two}, "oci.tar.zst": {zstandard(t, oci), two},
		"images.tar.lz4": {[]byte("packed"), nil},
	} {
		t.Run(called, func(t *testing.T) {
			a, err := ReadArchive(laid(t, "file", c.data), called)
			require.NoError(t, err)
			assert.Equal(t, c.want, a.Images)
			assert.Equal(t, c.want == nil, a.Unread != "")
			assert.Equal(t, called, a.Name)
			assert.Equal(t, sha256.Sum256(c.data), a.SHA256)
			assert.EqualValues(t, len(c.data), a.Size)
		})
	}
}

// What K3s could not import, or only in part, is an error.
func TestReadArchiveRefused(t *testing.T) {
	image := container(t, "amd64")
	docker := saved(t, map[string]v1.Image{"own/app:v1": image})
	oci := laidOut(t, func(p layout.Path) {
		require.NoError(t, p.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "own/app:v1"})))
	})
	manifest, err := image.Digest()
	require.NoError(t, err)
	config, err := image.ConfigName()
	require.NoError(t, err)
	changed := bytes.Replace(bytes.Clone(docker), []byte(`"architecture":"amd64"`), []byte(`"architecture":"arm64"`), 1)
	require.NotEqual(t, docker, changed)
	for name, c := range map[string]struct {
		called string
		data   []byte
		want   string
	}{
		"no image":              {"a.tar", []byte(strings.Repeat("images", 1000)), "cannot be read as an archive"},
		"empty":                 {"a.tar", nil, "it is empty"},
		"of something else":     {"a.tar", without(t, docker, func(n string) bool { return n == "manifest.json" }), "neither manifest.json nor index.json"},
		"truncated":             {"a.tar", docker[:len(docker)/2], "cannot be read as an archive"},
		"packed and truncated":  {"a.tar.gz", gzipped(t, docker)[:2000], "cannot be read as an archive"},
		"zstd, truncated":       {"a.tar.zst", zstandard(t, docker)[:2000], "cannot be read as an archive"},
		"cut at its end":        {"a.tar.gz", func() []byte { z := gzipped(t, docker); return z[:len(z)-4] }(), "cannot be read as an archive"},
		"packed otherwise":      {"a.tar.zst", gzipped(t, docker), "cannot be read as an archive"},
		"packed, by its name":   {"a.tar", gzipped(t, docker), "cannot be read as an archive"},
		"a layer missing":       {"a.tar", without(t, docker, func(n string) bool { return strings.HasSuffix(n, ".tar.gz") }), "is missing"},
		"its configuration":     {"a.tar", without(t, docker, func(n string) bool { return strings.Contains(n, config.Hex) }), "the configuration"},
		"another digest":        {"a.tar", changed, "another digest than its name says"},
		"an OCI manifest":       {"a.tar", without(t, oci, func(n string) bool { return strings.Contains(n, manifest.Hex) }), "the manifest"},
		"an OCI configuration":  {"a.tar", without(t, oci, func(n string) bool { return strings.Contains(n, config.Hex) }), "the configuration"},
		"an OCI layout, a name": {"a.tar", laidOut(t, func(p layout.Path) { require.NoError(t, p.AppendImage(image)) }), "no image in it has a name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadArchive(laid(t, "file", c.data), c.called)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err = ReadArchive(t.TempDir(), "a.tar")
	require.ErrorContains(t, err, "is not a regular file")
}

func FuzzReadArchive(f *testing.F) {
	f.Add([]byte(`[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}]`), []byte(`{}`))
	f.Add([]byte(`{"manifests":[{"digest":"sha256:00","annotations":{"io.containerd.image.name":"a:1"}}]}`), []byte(`{"config":{}}`))
	f.Fuzz(func(_ *testing.T, top, other []byte) {
		for _, called := range []string{"manifest.json", "index.json"} {
			c := contents{names: map[string]bool{"l.tar": true}, documents: map[string][]byte{called: top, "c.json": other, "blobs/sha256/00": other}}
			_, _ = c.images()
		}
	})
}

// Images that K3s runs by itself and that no archive has are named, as far as they
// are needed and known.
func TestWarnMissing(t *testing.T) {
	release := func(text string) k3s.Release {
		r, err := k3s.ParseRelease(text)
		require.NoError(t, err)
		return r
	}
	all := []Image{
		{Name: "docker.io/rancher/klipper-helm:v0.9.12"},
		{Name: "docker.io/rancher/klipper-lb:v0.4.13"},
		{Name: "docker.io/rancher/local-path-provisioner:v0.0.32"},
		{Name: "docker.io/rancher/mirrored-coredns-coredns:1.13.1"},
		{Name: "docker.io/rancher/mirrored-library-busybox:1.37.0"},
		{Name: "registry.example/rancher/mirrored-library-traefik:3.5.1"},
		{Name: "docker.io/rancher/mirrored-metrics-server:v0.8.0"},
		{Name: "docker.io/rancher/pause:3.6"},
	}
	for name, c := range map[string]struct {
		release  string
		images   []Image
		unread   string
		disabled []string
		warning  string
		note     string
	}{
		"all":     {release: "v1.36.3+k3s1", images: all},
		"none":    {release: "v1.36.3+k3s1", images: []Image{{Name: "quay.io/own/app:v1"}}, warning: "rancher/klipper-helm, rancher/klipper-lb, rancher/local-path-provisioner, rancher/mirrored-coredns-coredns, rancher/mirrored-library-busybox, rancher/mirrored-library-traefik, rancher/mirrored-metrics-server, rancher/mirrored-pause"},
		"one":     {release: "v1.36.3+k3s1", images: all[:7], warning: "has rancher/mirrored-pause, which"},
		"like it": {release: "v1.36.3+k3s1", images: append(all[:7:7], Image{Name: "docker.io/rancher/mirrored-pause-own:3.6"}), warning: "has rancher/mirrored-pause, which"},
		"by its digest": {
			release: "v1.36.3+k3s1", images: append(all[:7:7], Image{Name: "docker.io/rancher/mirrored-pause@sha256:" + strings.Repeat("0", 64)}),
			warning: "has rancher/mirrored-pause by the tag of a release (only docker.io/rancher/mirrored-pause@sha256:000",
		},
		"without a tag": {
			release: "v1.36.3+k3s1", images: append(all[:7:7], Image{Name: "docker.io/rancher/mirrored-pause:latest"}),
			warning: "has rancher/mirrored-pause by the tag of a release (only docker.io/rancher/mirrored-pause:latest), which",
		},
		"both ways": {release: "v1.36.3+k3s1", images: append(all[:8:8], Image{Name: "docker.io/rancher/pause@sha256:" + strings.Repeat("0", 64)})},
		"a port":    {release: "v1.36.3+k3s1", images: append(all[:7:7], Image{Name: "registry.example:5000/rancher/mirrored-pause:3.6"})},
		"unwanted":  {release: "v1.36.3+k3s1", images: all[7:], disabled: []string{"traefik", "servicelb", "metrics-server", "coredns", "local-storage"}, warning: "has rancher/klipper-helm, which"},
		"not known": {release: "v1.99.0+k3s1", images: all, note: "is not known here"},
		"unread":    {release: "v1.36.3+k3s1", unread: "lz4"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Plan{}
			o := Options{Binary: Binary{Release: release(c.release)}, Images: []Archive{{Images: c.images, Unread: c.unread}}}
			p.WarnMissing(o, c.disabled)
			assert.Contains(t, strings.Join(p.Warnings, "\n"), c.warning)
			assert.Equal(t, c.warning != "", len(p.Warnings) > 0)
			assert.Contains(t, strings.Join(p.Notes, "\n"), c.note)
		})
	}
}

// K3s is told to import archives once, where it knows how.
func TestImageCache(t *testing.T) {
	const file = k3s.DefaultDataDir + "/agent/images/.cache.json"
	for text, has := range map[string]bool{
		"v1.29.15+k3s1": false, "v1.30.12+k3s1": false, "v1.30.13+k3s1": true, "v1.31.8+k3s1": false, "v1.31.9+k3s1": true,
		"v1.32.4+k3s1": false, "v1.32.5+k3s1": true, "v1.33.0+k3s1": false, "v1.33.1+k3s1": true, "v1.34.0+k3s1": true, "v1.36.3+k3s1": true,
	} {
		t.Run(text, func(t *testing.T) {
			release, err := k3s.ParseRelease(text)
			require.NoError(t, err)
			o := Options{Binary: Binary{Release: release}, Images: []Archive{{Name: "a.tar"}}}
			query := node.Query{{Path: file}}
			p := &Plan{}
			add := func(p *Plan, have *node.Node, dirs ...string) node.Query {
				lacking, err := p.AddData(o, have, dirs...)
				require.NoError(t, err)
				return lacking
			}
			scripts := o.scripts(nil)
			for _, e := range scripts {
				query = append(query, node.Pick{Path: e.Path, Content: true})
			}
			assert.Empty(t, add(p, node.New(query, nil), k3s.DefaultDataDir, k3s.DefaultDataDir))
			want := 1
			if has {
				want = 2
			}
			want += len(scripts)
			assert.Len(t, p.Write, want)
			p = &Plan{}
			assert.Empty(t, add(p, node.New(query, []node.Entry{{Path: file, Kind: node.KindFile}}), k3s.DefaultDataDir))
			assert.Len(t, p.Write, 1+len(scripts), "one that is there stays")
			assert.Equal(t, has, len(add(&Plan{}, node.New(query[1:], nil), k3s.DefaultDataDir)) > 0)
		})
	}
}

// Images for another architecture than the node's are refused.
func TestImagesFit(t *testing.T) {
	o := Options{Binary: Binary{Architecture: "arm64"}, Images: []Archive{
		{Images: []Image{{"a:1", []string{"amd64", "arm64"}}, {"b:1", []string{""}}}}, {Images: []Image{{"c:1", []string{"amd64"}}, {"d:1", []string{"amd64"}}}},
	}}
	require.EqualError(t, o.ImagesFit(), "install.airgap_images[1]: c:1 is for amd64, and the binary is for arm64: take the archive of that architecture")
	o.Images = o.Images[:1]
	require.NoError(t, o.ImagesFit())
}

// A name without a tag is one with the tag latest, and a digest takes the tag's place.
func TestTagged(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	for image, want := range map[string][2]string{
		"rancher/mirrored-pause:3.6":                           {"rancher/mirrored-pause", "3.6"},
		"docker.io/rancher/mirrored-pause":                     {"rancher/mirrored-pause", "latest"},
		"docker.io/rancher/mirrored-pause@" + digest:           {"rancher/mirrored-pause", ""},
		"docker.io/rancher/mirrored-pause:3.6@" + digest:       {"rancher/mirrored-pause", ""},
		"registry.example:5000/rancher/mirrored-pause:3.6":     {"rancher/mirrored-pause", "3.6"},
		"registry.example/mirror/rancher/mirrored-pause:v1-s3": {"mirror/rancher/mirrored-pause", "v1-s3"},
	} {
		full, err := fullName(image)
		require.NoError(t, err)
		repository, tag := Image{Name: full}.tagged()
		assert.Equal(t, want, [2]string{repository, tag}, image)
	}
}
