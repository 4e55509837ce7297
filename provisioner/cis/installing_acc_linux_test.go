package cis

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
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

// Packer itself installs K3s over SSH: what is large is never in memory as a whole,
// and a second run finds all of it there.
func TestAccInstallOverSSH(t *testing.T) {
	p := packertest.New(t, nil)
	m, end := sshtest.Start(t, sshtest.Base(t))
	defer end()
	// As large as what K3s releases.
	binary := append(k3sBinary(t, runtime.GOARCH), make([]byte, 70<<20)...)
	images := localFile(t, "images.tar", imageArchive(t, runtime.GOARCH, 200<<20, "own/app:v1"))
	dir := packertest.Write(t, fmt.Sprintf(`
source "null" "node" {
  communicator         = "ssh"
  ssh_host             = "127.0.0.1"
  ssh_port             = %d
  ssh_username         = %q
  ssh_private_key_file = %q
}
build {
  sources = ["source.null.node"]
  provisioner "k3s-cis" {
    report_dir = "report"
    install {
      binary        = %q
      checksum      = %q
      bin_dir       = "/opt/bin"
      service       = "systemd"
      airgap_images = [%q]
    }
    seal {
      enabled = false
    }
    waiver {
      control = "node.hygiene.access"
      reason  = "the machine of the test keeps its user"
      owner   = "tests"
      expires = "2099-12-31"
    }
  }
}
`, m.Port, sshtest.User, m.Key, localFile(t, "k3s", binary), digest(binary), images))
	for _, changed := range []string{"/opt/bin/k3s\n", "Nothing changed"} {
		r := p.Run(t, dir, "build", ".")
		require.Zero(t, r.ExitCode, r.Output)
		assert.Contains(t, r.Output, changed)
		assert.Contains(t, r.Output, "K3s "+release+" for "+runtime.GOARCH)
	}
	assert.Equal(t, 4, m.Channels(), "a look and a change each time")
	for file, want := range map[string]string{m.Path("opt/bin/k3s"): digest(binary), m.Path("var/lib/rancher/k3s/agent/images/images.tar"): fileDigest(t, images)} {
		assert.Equal(t, want, fileDigest(t, file), file)
	}

	// What is installed is compared where it is.
	template := filepath.Join(dir, "test.pkr.hcl")
	text, err := os.ReadFile(template)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(template, []byte(strings.Replace(string(text), "report_dir", "mode = \"check\"\n    report_dir", 1)), 0o600))
	r := p.Run(t, dir, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	require.NoError(t, os.WriteFile(m.Path("opt/bin/k3s"), binary[:len(binary)-1], 0o755))
	r = p.Run(t, dir, "build", ".")
	require.NotZero(t, r.ExitCode)
	assert.Contains(t, r.Output, "/opt/bin/k3s is not the file of install.binary")
}

func fileDigest(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return digest(data)
}
