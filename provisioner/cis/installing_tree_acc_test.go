package cis_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/k3stest"
)

// tellOfService has the machine tell of the service too.
const tellOfService = `
	cd "$1"
	cat >etc/tell-k3s <<-'EOF'
		printf 'tell k3s-enabled %s\n' "$(systemctl is-enabled k3s)"
		printf 'tell k3s-active %s\n' "$(systemctl is-active k3s)"
		printf 'tell k3s-restarts %s\n' "$(systemctl show -P NRestarts k3s)"
		printf 'tell k3s-started %s\n' "$(cat /run/k3s-started)"
		printf 'tell k3s-made %s\n' "$(cd /var/lib/rancher/k3s/server && stat -c '%a %n' tls/server-ca.crt tls/etcd/peer-ca.crt tls/server-ca.key cred/admin.kubeconfig | tr '\n' ' ')"
		printf 'tell k3s-verify %s\n' "$(systemd-analyze verify --man=no k3s.service 2>&1 | tr '\n' ' ')"
		printf 'tell k3s-limits %s\n' "$(systemctl show -P Delegate -P KillMode -P LimitNOFILE -P Type k3s | tr '\n' ' ')"
		printf 'tell k3s-kubectl %s\n' "$(kubectl --version)"
		systemctl restart k3s
		printf 'tell k3s-again %s\n' "$(stat -c '%a' /var/lib/rancher/k3s/server/tls/server-ca.crt)"
	EOF
	sed -i "s|^printf 'tell end|. /etc/tell-k3s\n&|" etc/tell
	grep -q tell-k3s etc/tell
`

const installInTree = `
  provisioner "k3s-cis" {
    report_dir = "report"
    install {
      binary        = %q
      airgap_images = [%q]
    }
  }
`

var toldOfService = regexp.MustCompile(`tell k3s-(\w+) ([^\r\n]*)`)

// K3s is installed into the tree of a machine, which is sealed. What boots from two
// copies of it is two machines, each of which starts K3s as it should.
func TestAccInstalledMachineTree(t *testing.T) {
	p := packerAndQEMU(t)
	files := t.TempDir()
	binary, archive := filepath.Join(files, "k3s"), filepath.Join(files, "images.tar")
	require.NoError(t, os.WriteFile(binary, k3stest.Binary(t, "amd64"), 0o600))
	require.NoError(t, os.WriteFile(archive, k3stest.Archive(t, "amd64", 1<<20, "own/app:v1"), 0o600))
	m := newMachine(t, p, made{prepare: func(tree string) {
		sh(t, tree, sealBase+tellOfService, tree)
	}, provisioners: fmt.Sprintf(installInTree, binary, archive)})
	m.tellApart(t, m.disk)
	said := map[string]string{}
	for _, found := range toldOfService.FindAllStringSubmatch(m.boot(t, m.disk), -1) {
		said[found[1]] = strings.TrimSpace(found[2])
	}
	assert.Equal(t, map[string]string{
		"enabled": "enabled", "active": "active", "restarts": "0",
		"started": "/usr/local/bin/k3s server",
		"made":    "600 tls/server-ca.crt 600 tls/etcd/peer-ca.crt 600 tls/server-ca.key 600 cred/admin.kubeconfig",
		"verify":  "",
		"limits":  said["limits"],
		"kubectl": "k3s version " + k3stest.Release + " (abcdef01)",
		"again":   "600",
	}, said)
	assert.ElementsMatch(t, []string{"yes", "process", "1048576", "notify"}, strings.Fields(said["limits"]))
}
