package cis

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostileTree names the tree that a child of the test provisions.
const hostileTree = "K3S_CIS_HOSTILE_TREE"

// Limits of one provision, whatever the tree holds.
const (
	hostileTime   = 10 * time.Second
	hostileMemory = 300 << 20
)

// TestHostileTrees provisions trees made to exhaust or mislead, each in a
// process of its own, so that its memory can be told.
func TestHostileTrees(t *testing.T) {
	if tree := os.Getenv(hostileTree); tree != "" {
		provisionHostile(t, tree)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: the files of a node belong to root")
	}
	const manifests, config = "var/lib/rancher/k3s/server/manifests", "etc/rancher/k3s/config.yaml"
	for _, c := range []struct {
		name string
		says string
		make func(t *testing.T, tree string)
	}{
		{"config.yaml of 1 GB", config, func(t *testing.T, tree string) {
			write(t, tree, config, "")
			require.NoError(t, os.Truncate(filepath.Join(tree, config), 1<<30))
		}},
		{"100,000 manifests", "entries", func(t *testing.T, tree string) {
			write(t, tree, manifests+"/0.yaml", "")
			for i := range 100_000 {
				require.NoError(t, os.WriteFile(filepath.Join(tree, manifests, fmt.Sprintf("m%d.yaml", i)), []byte("kind: X\n"), 0o600))
			}
		}},
		{"a loop of links", config, func(t *testing.T, tree string) {
			write(t, tree, "etc/rancher/k3s/x", "")
			require.NoError(t, os.Symlink("config.yaml", filepath.Join(tree, "etc/rancher/k3s/other")))
			require.NoError(t, os.Symlink("other", filepath.Join(tree, config)))
		}},
		{"a link out of the tree", config, func(t *testing.T, tree string) {
			write(t, tree, "etc/rancher/k3s/x", "")
			require.NoError(t, os.Symlink("../../../../../../../../etc/hostname", filepath.Join(tree, config)))
		}},
		{"a pipe that nobody writes to", config, func(t *testing.T, tree string) {
			write(t, tree, "etc/rancher/k3s/x", "")
			require.NoError(t, syscall.Mkfifo(filepath.Join(tree, config), 0o600))
		}},
		{"an endless device", config, func(t *testing.T, tree string) {
			write(t, tree, "etc/rancher/k3s/x", "")
			if err := syscall.Mknod(filepath.Join(tree, config), syscall.S_IFCHR|0o600, 1<<8|5); err != nil {
				t.Skip("devices cannot be made here")
			}
		}},
		{"a YAML bomb", config, func(t *testing.T, tree string) {
			bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
			for c := 'b'; c <= 'k'; c++ {
				bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
			}
			write(t, tree, config, bomb)
		}},
		{"NUL bytes", config, func(t *testing.T, tree string) { write(t, tree, config, "token-file: a\x00b\n") }},
		{"bytes that are no UTF-8", config, func(t *testing.T, tree string) { write(t, tree, config, "token-file: \xff\xfe\n") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := treeInMemory(t)
			require.NoError(t, os.MkdirAll(filepath.Join(tree, "etc/sysctl.d"), 0o755))
			c.make(t, tree)
			child := exec.Command(os.Args[0], "-test.run", "^TestHostileTrees$", "-test.v")
			child.Env = append(os.Environ(), hostileTree+"="+tree)
			child.Dir = t.TempDir()
			start := time.Now()
			out, err := child.CombinedOutput()
			took := time.Since(start)
			peak := child.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
			t.Logf("%s, %d MB", took.Round(time.Millisecond), peak>>20)
			require.NoError(t, err, string(out))
			assert.Contains(t, string(out), c.says, "the message must name what is wrong")
			if !raceDetector {
				assert.Less(t, took, hostileTime)
				assert.Less(t, peak, int64(hostileMemory))
			}
		})
	}
}

// treeInMemory is a tree that many files are made in quickly.
func treeInMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hostile") //nolint:usetesting // 100,000 files take minutes on a busy disk
	if err != nil {
		return newTree(t)
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// provisionHostile checks tree and fails when that succeeds: none of the trees
// may be judged as if it could be read.
func provisionHostile(t *testing.T, tree string) {
	var p Provisioner
	require.NoError(t, p.Prepare(map[string]any{"k3s_version": release, "mode": modeCheck}))
	ui := new(packersdk.MockUi)
	err := p.Provision(t.Context(), ui, nil, map[string]any{rootDirectoryKey: tree})
	require.Error(t, err)
	t.Log(err, ui.ErrorMessage)
}
