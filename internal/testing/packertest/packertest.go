// Package packertest runs the real Packer with the plugin of this source tree,
// for acceptance tests. Nothing outside the test's temporary directories is
// written: plugins are installed to a directory of the test's own.
package packertest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// source is what templates call the plugin.
const source = "github.com/k3s-cis/k3s"

// Packer is a Packer with the plugin installed.
type Packer struct {
	binary  string
	plugins string
}

// Result is what one run of Packer gave.
type Result struct {
	// ExitCode is 0 for success.
	ExitCode int
	// Output is standard output and standard error as they came.
	Output string
	Took   time.Duration
}

// built is the plugin's binary, built once for all tests of a process.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "packertest")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "packer-plugin-k3s")
	cmd := exec.Command("make", "--silent", "build", "BINARY="+binary)
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return binary, nil
})

// Root is the top directory of the source tree.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

// Tool returns the path of a heavy tool, built into the user's cache where it
// is missing; tools/build knows how.
func Tool(t testing.TB, name string) string {
	t.Helper()
	cmd := exec.Command("sh", filepath.Join(Root(), "tools", "build"), name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err, "building %s", name)
	return strings.TrimSpace(string(out))
}

// New returns a Packer with the plugin of this tree installed, and skips the
// test unless PACKER_ACC is set. More plugins are binaries by the source that
// templates name.
func New(t testing.TB, more map[string]string) *Packer {
	t.Helper()
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("acceptance test: set PACKER_ACC=1 to run it with the real Packer")
	}
	plugin, err := built()
	require.NoError(t, err, "building the plugin")
	p := &Packer{binary: Tool(t, "packer"), plugins: t.TempDir()}
	p.install(t, plugin, source)
	for name, binary := range more {
		p.install(t, binary, name)
	}
	return p
}

func (p *Packer) install(t testing.TB, binary, name string) {
	t.Helper()
	r := p.Run(t, t.TempDir(), "plugins", "install", "--path", binary, name)
	require.Zero(t, r.ExitCode, r.Output)
}

// Run runs packer in dir and ends it after ten minutes at the latest.
func (p *Packer) Run(t testing.TB, dir string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := p.Command(ctx, dir, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return Result{ExitCode: cmd.ProcessState.ExitCode(), Output: out.String(), Took: time.Since(start)}
}

// Command is packer in dir, ready to start, for tests that interrupt it.
func (p *Packer) Command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"PACKER_PLUGIN_PATH="+p.plugins,
		"PACKER_CONFIG_DIR="+p.plugins,
		"PACKER_CACHE_DIR="+filepath.Join(p.plugins, "cache"),
		"CHECKPOINT_DISABLE=1",
		"PACKER_NO_COLOR=1",
	)
	return cmd
}

// Programs returns a new directory with the programs packer and packer-plugin-k3s, as
// they are on the PATH of those who use them.
func (p *Packer) Programs(t testing.TB) string {
	t.Helper()
	plugin, err := built()
	require.NoError(t, err, "building the plugin")
	dir := t.TempDir()
	require.NoError(t, os.Symlink(p.binary, filepath.Join(dir, "packer")))
	require.NoError(t, os.Symlink(plugin, filepath.Join(dir, "packer-plugin-k3s")))
	return dir
}

// Write puts a template into a new directory and returns that directory.
func Write(t testing.TB, template string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "test.pkr.hcl"), []byte(template), 0o600))
	return dir
}

// Base returns the directory of the base root file system that the example
// uses too, with rootfs.tar.zst, vmlinuz and initrd.img; tools/base/build makes
// it where the user's cache has none, and knows the products it is told of.
func Base(t testing.TB, product ...string) string {
	t.Helper()
	cmd := exec.Command("sh", append([]string{filepath.Join(Root(), "tools", "base", "build")}, product...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err, "making the base root file system")
	return strings.TrimSpace(string(out))
}

// setLabels runs the tree's own setfiles in a mount namespace that ends with
// it. The tree is shown to it once more, without the mounts that it needs.
const setLabels = `
. "$1/etc/selinux/config"
mount --bind "$1" "$1"
mount --bind "$1" "$1/mnt"
mount -t proc proc "$1/proc"
exec chroot "$1" setfiles -F -r /mnt "/etc/selinux/$SELINUXTYPE/contexts/files/file_contexts" /mnt
`

// Label gives every file of a tree the label that the tree's own SELinux policy
// has for it. It needs root.
func Label(t testing.TB, tree string) {
	t.Helper()
	out, err := exec.Command("unshare", "--mount", "sh", "-ec", setLabels, "sh", tree).CombinedOutput()
	require.NoError(t, err, string(out))
}
