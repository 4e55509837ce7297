package cis

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// The images of a fleet are made by one template, and servers of one cluster can be
// made of them.
func TestAccFleet(t *testing.T) {
	packer := packertest.New(t, nil)
	dir := filepath.Join(t.TempDir(), "fleet")
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(packertest.Root(), "example", "fleet"))))
	base := packertest.Base(t)
	sum, err := os.ReadFile(filepath.Join(base, "rootfs.tar.zst.sha256"))
	require.NoError(t, err)
	binary := k3sBinary(t, runtime.GOARCH)
	variables := []string{
		"-var", "base=" + filepath.Join(base, "rootfs.tar.zst"), "-var", "base_checksum=sha256:" + strings.Fields(string(sum))[0],
		"-var", "k3s=" + localFile(t, "k3s", binary), "-var", "k3s_checksum=" + digest(binary),
	}
	for _, command := range []string{"validate", "build"} {
		r := packer.Run(t, dir, append(append([]string{command}, variables...), ".")...)
		require.Zero(t, r.ExitCode, r.Output)
	}
	clusters := map[string]map[string]string{}
	for image, role := range map[string]string{"first-server": "server", "server": "server", "agent": "agent", "any": "both"} {
		r := loadReport(t, filepath.Join(dir, "output", image, "report", "report.json"))
		assert.Equal(t, role, r.Role, image)
		assert.Empty(t, r.Failed(), image)
		assert.FileExists(t, filepath.Join(dir, "output", image, "node.qcow2"))
		clusters[image] = r.Cluster
	}
	assert.NotEmpty(t, clusters["server"])
	assert.Equal(t, clusters["first-server"], clusters["server"], "what servers of a cluster must share")
	assert.Equal(t, clusters["any"], clusters["server"], "what servers of a cluster must share")
}
