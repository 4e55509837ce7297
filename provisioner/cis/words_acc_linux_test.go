package cis_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

// TestAccBrokenBinaryOverSSH: a K3s binary that does not tell its release is not
// said to be missing.
func TestAccBrokenBinaryOverSSH(t *testing.T) {
	p := packertest.New(t, nil)
	tree := sshtest.Base(t)
	put(t, tree, "opt/bin/k3s", "\x7fELF broken", 0o755)
	m, _ := sshtest.Start(t, tree)
	dir := packertest.Write(t, fmt.Sprintf(`
source "null" "node" {
  ssh_host             = "127.0.0.1"
  ssh_port             = %d
  ssh_username         = %q
  ssh_private_key_file = %q
}
build {
  sources = ["source.null.node"]
  provisioner "k3s-cis" {}
}
`, m.Port, sshtest.User, m.Key))
	r := p.Run(t, dir, "build", ".")
	assert.NotZero(t, r.ExitCode)
	assert.Contains(t, r.Output, "k3s_version is not set, and /opt/bin/k3s --version tells no release: the binary is damaged, not executable or of another architecture")
	assert.NotContains(t, r.Output, "no K3s binary")
	_, err := os.Stat(m.Path("/etc/rancher"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}
