// Package k3stest makes what is installed of K3s: programs that are built as K3s is,
// and archives of container images.
package k3stest

import (
	"bytes"
	_ "embed" // for the program
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	ocname "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
)

//go:embed program/main.go.txt
var mainText string

// Release is what Binary says of itself.
const Release = "v1.36.3+k3s1"

// program answers --version as K3s does, which puts its release into
// pkg/version of its module when it is linked.
var program = map[string]string{
	"go.mod":                 "module github.com/k3s-io/k3s\n\ngo 1.24\n",
	"main.go":                mainText,
	"pkg/version/version.go": "package version\n\nvar Version = \"dev\"\n",
}

var binaries = sync.OnceValues(func() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "k3s-program")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for name, text := range program {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	out := map[string][]byte{}
	for _, arch := range []string{"amd64", "arm64"} {
		cmd := exec.Command("go", "build", "-o", arch, "-ldflags", "-s -w -X github.com/k3s-io/k3s/pkg/version.Version="+Release)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if message, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, message)
		}
		if out[arch], err = os.ReadFile(filepath.Join(dir, arch)); err != nil {
			return nil, err
		}
	}
	return out, nil
})

// Binary is a program for amd64 or arm64 that says that it is Release.
func Binary(t testing.TB, arch string) []byte {
	t.Helper()
	all, err := binaries()
	require.NoError(t, err)
	return all[arch]
}

// Archive is an archive of one container image under some names, as K3s imports it,
// of size bytes and more.
func Archive(t testing.TB, arch string, size int64, names ...string) []byte {
	t.Helper()
	image := Image(t, arch, size)
	all := map[string]v1.Image{}
	for _, called := range names {
		all[called] = image
	}
	return Save(t, all)
}

// Image is a container image for an architecture, with one layer of size bytes.
func Image(t testing.TB, arch string, size int64) v1.Image {
	t.Helper()
	image, err := random.Image(size, 1)
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	config = config.DeepCopy()
	config.Architecture, config.OS = arch, "linux"
	image, err = mutate.ConfigFile(image, config)
	require.NoError(t, err)
	return image
}

// Save is an archive of images by their names, as "docker save" writes it.
func Save(t testing.TB, images map[string]v1.Image) []byte {
	t.Helper()
	all := map[ocname.Tag]v1.Image{}
	for called, image := range images {
		tag, err := ocname.NewTag(called)
		require.NoError(t, err)
		all[tag] = image
	}
	var b bytes.Buffer
	require.NoError(t, tarball.MultiWrite(all, &b))
	return b.Bytes()
}
