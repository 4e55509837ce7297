package example

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// base writes a root file system that nearly nothing is in, with its checksum beside
// it as `run bake` looks for it.
func base(t *testing.T, file string, files map[string]string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"etc", "etc/sysctl.d", "usr", "usr/bin", "usr/local", "usr/local/bin", "var", "var/lib"} {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}))
	}
	for name, text := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}))
		_, err := w.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
	sum := fmt.Sprintf("%x  %s\n", sha256.Sum256(b.Bytes()), filepath.Base(file))
	require.NoError(t, os.WriteFile(file+".sha256", []byte(sum), 0o600))
}

// TestAccPipeline takes the steps that the engines take, in their order, for two nodes
// of which one is no good.
func TestAccPipeline(t *testing.T) {
	p := packertest.New(t, nil)
	room := t.TempDir()
	base(t, filepath.Join(room, "base-amd64.tar"), nil)
	base(t, filepath.Join(room, "base-arm64.tar"), map[string]string{"etc/sysctl.d/99-tuning.conf": "vm.overcommit_memory = 0\n"})
	step := func(name string, env ...string) (code int, said string) {
		t.Helper()
		cmd := p.Command(t.Context(), room)
		cmd.Path, cmd.Args = filepath.Join(packertest.Root(), "example/pipelines/run"), []string{"run", name}
		cmd.Env = append(cmd.Env, "PATH="+p.Programs(t)+":"+os.Getenv("PATH"), "RELEASES=v1.36.3+k3s1", "ROLES=server", "ARCHITECTURES=amd64 arm64",
			"PKR_VAR_base="+filepath.Join(room, "base-{architecture}.tar"))
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			require.NoError(t, err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}

	code, said := step("matrix")
	require.Zero(t, code, said)
	var nodes []map[string]string
	require.NoError(t, json.Unmarshal([]byte(said), &nodes))
	require.Len(t, nodes, 2)
	old := filepath.Join(room, "reports", nodes[0]["name"], "old")
	require.NoError(t, os.MkdirAll(old, 0o755))
	for i, want := range []int{0, 1} {
		n := nodes[i]
		code, said := step("bake", "RELEASE="+n["release"], "ROLE="+n["role"], "ARCHITECTURE="+n["architecture"])
		assert.Equal(t, want, code, said)
		assert.FileExists(t, filepath.Join(room, "reports", n["name"], "report.json"), said)
	}
	assert.NoDirExists(t, old, "of an earlier run")
	good, bad := nodes[0]["name"], nodes[1]["name"]
	assert.FileExists(t, filepath.Join(room, "images", good, good+".qcow2"))
	assert.NoDirExists(t, filepath.Join(room, "images", bad))

	code, said = step("gather")
	assert.Equal(t, 2, code, said)
	assert.Contains(t, said, bad+": packer build ended with: 1")
	assert.Contains(t, said, "images: 2, of which 1 fail; kinds: 1;")
	assert.FileExists(t, filepath.Join(room, "site/fleet.html"))

	require.NoError(t, os.RemoveAll(filepath.Join(room, "reports", bad)))
	code, said = step("gather")
	assert.Equal(t, 1, code, "a node without a report: %s", said)
	assert.Contains(t, said, bad+": no report")
	code, said = step("gather", "ARCHITECTURES=amd64")
	assert.Zero(t, code, said)

	// A build that failed after its image was judged.
	require.NoError(t, os.WriteFile(filepath.Join(room, "reports", good, "ended"), []byte("1\n"), 0o600))
	code, said = step("gather", "ARCHITECTURES=amd64")
	assert.Equal(t, 1, code, said)
	for _, wrong := range [][]string{{"matrix", `ROLES=server" agent`}, {"bake", "RELEASE=../..", "ROLE=/server", "ARCHITECTURE=amd64"}} {
		code, said = step(wrong[0], wrong[1:]...)
		assert.Equal(t, 1, code, said)
		assert.Contains(t, said, "letters, digits and . + _ - only")
	}
}
