// Package launchertest puts a program in K3s's place that starts as K3s does, as
// far as a first start shows: see testdata/launcher.
package launchertest

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Files are those of a first start, a line each: mode, owner and path.
//
//go:embed files.txt
var Files string

// etcdFiles are those that there are besides where K3s keeps its state in etcd.
//
//go:embed etcd-files.txt
var etcdFiles string

// Log is what K3s v1.36.3 logged at a first start of a node that was hardened.
//
//go:embed start.log
var Log string

// configz is what a kubelet says there of its configuration.
//
//go:embed configz.json
var configz string

// program is where the launcher is.
const program = "/usr/local/bin/k3s"

var build = sync.OnceValues(func() ([]byte, error) {
	_, file, _, _ := runtime.Caller(0)
	dir, err := os.MkdirTemp("", "launcher")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "k3s")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./testdata/launcher")
	cmd.Dir = filepath.Dir(file)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
})

// Install puts the launcher into the tree at root as /usr/local/bin/k3s, with all
// that it needs. misbehave are the ways in which it does not do as K3s does.
func Install(t testing.TB, root string, misbehave ...string) {
	t.Helper()
	binary, err := build()
	require.NoError(t, err)
	for name, f := range map[string]struct {
		data []byte
		mode os.FileMode
	}{
		program:                        {binary, 0o755},
		"/etc/launcher/files.txt":      {[]byte(Files), 0o644},
		"/etc/launcher/etcd-files.txt": {[]byte(etcdFiles), 0o644},
		"/etc/launcher/start.log":      {[]byte(Log), 0o644},
		"/etc/launcher/configz.json":   {[]byte(configz), 0o644},
		"/etc/launcher/misbehave":      {[]byte(strings.Join(misbehave, "\n")), 0o644},
	} {
		at := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, f.data, f.mode))
		require.NoError(t, os.Chmod(at, f.mode))
	}
}
