package cis

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// loadReport reads the report that a build left.
func loadReport(t *testing.T, path string) report.Report {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	r, err := report.LoadReport(data)
	require.NoError(t, err)
	return r
}

// TestAccExamples: what an example makes is judged the same by the example that
// judges images, and every example whose plugins can be had here is valid.
func TestAccExamples(t *testing.T) {
	packer := packertest.New(t, map[string]string{"github.com/hashicorp/qemu": packertest.Tool(t, "packer-plugin-qemu")})
	dir := filepath.Join(t.TempDir(), "example")
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(packertest.Root(), "example"))))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "output")))
	base := packertest.Base(t)
	sum, err := os.ReadFile(filepath.Join(base, "rootfs.tar.zst.sha256"))
	require.NoError(t, err)
	fromBase := []string{"-var", "base=" + filepath.Join(base, "rootfs.tar.zst"), "-var", "base_checksum=sha256:" + strings.Fields(string(sum))[0]}
	variables := map[string][]string{
		"node.pkr.hcl": fromBase,
		"first-boot":   fromBase,
		"check":        {"-var", "image=" + filepath.Join(dir, "output", "node.qcow2"), "-var", "k3s_version=v1.36.3+k3s1"},
		"qemu":         {"-var", "image=cloud.qcow2", "-var", "image_checksum=none"},
	}
	run := func(t *testing.T, command, template string) {
		r := packer.Run(t, dir, append(append([]string{command}, variables[template]...), template)...)
		require.Zero(t, r.ExitCode, r.Output)
	}
	run(t, "validate", "qemu")
	run(t, "build", "node.pkr.hcl")
	run(t, "build", "check")
	run(t, "build", "first-boot")
	assert.Equal(t, "both", loadReport(t, filepath.Join(dir, "first-boot", "output", "report", "report.json")).Role)
	made := loadReport(t, filepath.Join(dir, "output", "report", "report.json"))
	judged := loadReport(t, filepath.Join(dir, "report", "report.json"))
	assert.Positive(t, made.Summary["pass"])
	verdicts := func(r report.Report) string {
		out := map[string]string{}
		for _, res := range r.Results {
			out[res.Key] = string(res.Status)
		}
		text, err := json.MarshalIndent(out, "", "  ")
		require.NoError(t, err)
		return string(text)
	}
	assert.Equal(t, verdicts(made), verdicts(judged))
}
