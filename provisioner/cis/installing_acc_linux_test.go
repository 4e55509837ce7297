package cis

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// Packer itself installs K3s into a tree of k3s-image, and the image has it.
func TestAccInstall(t *testing.T) {
	p := packertest.New(t, nil)
	tree := systemdTree(t, "arm64")
	write(t, tree, "etc/passwd", "root:x:0:0::/root:/bin/sh\n")
	write(t, tree, "bin/sh", string(k3sBinary(t, "arm64")))
	require.NoError(t, os.Chmod(filepath.Join(tree, "bin/sh"), 0o755))
	dir := packertest.Write(t, fmt.Sprintf(`
source "k3s-image" "node" {
  rootfs_directory = %q
  output_directory = "image"
  vm_name          = "node"
  format           = "tar"
}
build {
  sources = ["source.k3s-image.node"]
  provisioner "k3s-cis" {
    report_dir = "report"
    install {
      binary        = %q
      checksum      = %q
      airgap_images = [%q]
    }
  }
}
`, tree, localFile(t, "k3s-arm64", k3sBinary(t, "arm64")), digest(k3sBinary(t, "arm64")), localFile(t, "images.tar", imageArchive(t, "arm64", 1000, "own/app:v1"))))
	r := p.Run(t, dir, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "K3s "+release+" for arm64")
	images, err := filepath.Glob(filepath.Join(dir, "image", "node*tar*"))
	require.NoError(t, err)
	require.NotEmpty(t, images)
	out, err := exec.Command("tar", "-tvf", images[0]).CombinedOutput()
	require.NoError(t, err, string(out))
	for _, want := range []string{"usr/local/bin/k3s\n", "etc/systemd/system/k3s.service\n", "var/lib/rancher/k3s/agent/images/images.tar\n"} {
		assert.Contains(t, string(out), want)
	}
}
