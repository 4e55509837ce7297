package cis

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

const rehearsingOverSSH = `
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
    k3s_version = %q
    report_dir  = "report"
    rehearsal {
      agent    = false
      timeout  = "20s"
    }
    waiver {
      control = "node.hygiene.access"
      reason  = "the machine of the test keeps its user"
      owner   = "tests"
      expires = "2099-12-31"
    }
  }
}
`

// Packer itself rehearses the first start over SSH: what was deferred is seen, and
// what is seen to be wrong fails the build.
func TestAccRehearsalOverSSH(t *testing.T) {
	p := packertest.New(t, nil)
	root := sshtest.Base(t)
	launchertest.Install(t, root)
	bin := filepath.Join(root, "opt/bin")
	require.NoError(t, os.MkdirAll(bin, 0o755))
	require.NoError(t, os.Rename(filepath.Join(root, "usr/local/bin/k3s"), filepath.Join(bin, "k3s")))
	unit := "[Unit]\nDescription=k3s\n[Service]\nType=notify\nExecStart=/opt/bin/k3s server\n[Install]\nWantedBy=multi-user.target\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/systemd/system/k3s.service"), []byte(unit), 0o644))
	m, end := sshtest.Start(t, root)
	defer end()
	build := func() (packertest.Result, string) {
		dir := packertest.Write(t, fmt.Sprintf(rehearsingOverSSH, m.Port, sshtest.User, m.Key, release))
		r := p.Run(t, dir, "build", ".")
		report, _ := os.ReadFile(filepath.Join(dir, "report", "report.json"))
		return r, string(report)
	}

	r, report := build()
	require.Zero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "Rehearsed the first start: K3s was up after")
	assert.Contains(t, r.Output, "of them by a rehearsed first start")
	assert.Contains(t, report, `"phase": "`+benchmark.Rehearsed+`"`)
	for _, left := range []string{"var/lib/rancher/k3s/server/tls", "var/lib/rancher/k3s/server/token", "etc/rancher/node"} {
		assert.NoFileExists(t, m.Path(left))
	}

	require.NoError(t, os.WriteFile(m.Path("etc/launcher/misbehave"), []byte("admit"), 0o644))
	r, report = build()
	require.NotZero(t, r.ExitCode)
	assert.Contains(t, report, "a privileged pod was admitted")
}
