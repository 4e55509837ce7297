package k3s_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestReadVersionOfABinary builds programs the way K3s is built and reads
// their release back.
func TestReadVersionOfABinary(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                 "module github.com/k3s-io/k3s\n\ngo 1.24\n",
		"main.go":                "package main\n\nimport \"github.com/k3s-io/k3s/pkg/version\"\n\nfunc main() { println(version.Version) }\n",
		"pkg/version/version.go": "package version\n\nvar Version = \"dev\"\n",
	} {
		p := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(t, os.WriteFile(p, []byte(text), 0o644))
	}
	for name, c := range map[string]struct {
		arch string
		args []string
	}{
		"with build information": {"amd64", nil},
		"without build flags":    {"amd64", []string{"-trimpath"}},
		"for another machine":    {"arm64", []string{"-trimpath"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "k3s")
			args := append([]string{"build", "-o", out, "-ldflags", "-s -w -X github.com/k3s-io/k3s/pkg/version.Version=v1.36.3+k3s1"}, c.args...)
			cmd := exec.Command("go", args...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+c.arch, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
			message, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", message)
			f, err := os.Open(out)
			require.NoError(t, err)
			defer f.Close()
			info, err := f.Stat()
			require.NoError(t, err)
			r, err := k3s.ReadVersion(f, info.Size())
			require.NoError(t, err)
			assert.Equal(t, "v1.36.3+k3s1", r.String())
		})
	}
}

func TestReadVersionScan(t *testing.T) {
	padding := strings.Repeat("x", 1<<20-7)
	for name, c := range map[string]struct{ data, want, err string }{
		"across two chunks":       {data: padding + "v1.30.2+k3s2\x00" + padding, want: "v1.30.2+k3s2"},
		"a prerelease":            {data: "v1.37.0-rc1+k3s1\x00", want: "v1.37.0-rc1+k3s1"},
		"twice the same":          {data: "v1.30.2+k3s2\x00 v1.30.2+k3s2\x00", want: "v1.30.2+k3s2"},
		"a mention is no version": {data: "see v1.30.2+k3s2 for v1.36.3+k3s1\x00", want: "v1.36.3+k3s1"},
		"several":                 {data: "v1.30.2+k3s2\x00v1.30.3+k3s1\x00", err: "several K3s releases (v1.30.2+k3s2, v1.30.3+k3s1)"},
		"none":                    {data: "ELF", err: "holds no K3s release"},
		"empty":                   {data: "", err: "holds no K3s release"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := k3s.ReadVersion(bytes.NewReader([]byte(c.data)), int64(len(c.data)))
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, r.String())
		})
	}
}
