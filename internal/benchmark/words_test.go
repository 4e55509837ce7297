package benchmark_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// deadConfig makes the configuration file a link that leads nowhere.
func deadConfig(tr *tree) {
	tr.put(node.Entry{Path: k3s.ConfigFile, Kind: node.KindLink, Target: "/gone"})
	tr.file("/usr/local/bin/k3s", 0o755, "")
}

// TestCauses: what makes several controls fail is named.
func TestCauses(t *testing.T) {
	for _, c := range []struct {
		name, key   string
		change      func(*tree)
		want        benchmark.Status
		found       string
		remediation string
	}{
		{"no K3s", "apiserver.profiling", func(tr *tree) { tr.entries = map[string]node.Entry{}; tr.dir("/etc", 0o755) }, benchmark.Error, "no K3s found on the node", "Install K3s's binary and its service before this provisioner"},
		{"a tree that is none", "node.binary.mode", func(tr *tree) { tr.entries = map[string]node.Entry{}; tr.dir("/srv", 0o755) }, benchmark.Error, "there is no directory /etc", "Give the root of a node"},
		{"a unit that cannot be read", "apiserver.profiling", func(tr *tree) {
			tr.put(node.Entry{Path: "/etc/systemd/system/k3s.service", Kind: node.KindFile, Unread: "input/output error"})
		}, benchmark.Error, "input/output error", "Correct what is named"},
		{"a file for a directory", "node.audit-log-dir.mode", func(tr *tree) { tr.file(k3s.DefaultDataDir+"/server/logs", 0o600, "") }, benchmark.Fail, "which is a file and not a directory", "Remove " + k3s.DefaultDataDir + "/server/logs: a directory belongs there."},
		{"a masked file", "node.kernel-parameters", func(tr *tree) {
			tr.put(node.Entry{Path: "/etc/sysctl.d/90-kubelet.conf", Kind: node.KindOther, Target: "/dev/null"})
		}, benchmark.Fail, "/etc/sysctl.d/90-kubelet.conf is masked by a link to /dev/null, vm.overcommit_memory is not set", "Remove the link to /dev/null"},
		{"a dead link", "node.k3s-config-keys", deadConfig, benchmark.Fail, "is a link that leads nowhere", ""},
		{"an argument in a dead link", "apiserver.audit-log-path", deadConfig, benchmark.Fail, "not set, since " + k3s.ConfigFile + " is a link that leads nowhere", "Correct what is named"},
		{"an admission file in a dead link", "podsec.hostports", deadConfig, benchmark.Fail, "not set, since " + k3s.ConfigFile + " is a link that leads nowhere", "Correct what is named"},
		{"a key in a dead link", "apiserver.encryption-config", deadConfig, benchmark.Fail, "not set, since " + k3s.ConfigFile + " is a link that leads nowhere", "Correct what is named"},
		{"what passes by default in a dead link", "apiserver.profiling", deadConfig, benchmark.Pass, "", ""},
		{"a list that is replaced", "podsec.hostports", func(tr *tree) {
			tr.file(k3s.ConfigFile+".d/50-x.yaml", 0o600, "kube-apiserver-arg: [v=2]\n")
		}, benchmark.Fail, "not set, since the list kube-apiserver-arg is replaced whole by " + k3s.ConfigFile + ".d/50-x.yaml:1", "Correct what is named"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := server(t)
			c.change(tr)
			r := tr.result(t, c.key)
			assert.Equal(t, c.want, r.Status)
			assert.Contains(t, r.Found, c.found)
			assert.Contains(t, r.Remediation, c.remediation)
		})
	}
}
