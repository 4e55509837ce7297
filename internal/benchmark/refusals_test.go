package benchmark_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// TestAuditLogDirectory: the directory of the log is looked at wherever a flag
// puts it, and one that others use too need not be root's alone.
func TestAuditLogDirectory(t *testing.T) {
	for _, c := range []struct {
		name, log string
		dir       *node.Entry
		want      benchmark.Status
	}{
		{"of its own", "/var/log/k3s/audit.log", &node.Entry{Path: "/var/log/k3s", Mode: 0o700}, benchmark.Pass},
		{"of its own, open", "/var/log/k3s/audit.log", &node.Entry{Path: "/var/log/k3s", Mode: 0o755}, benchmark.Fail},
		{"not there yet", "/srv/log/audit.log", nil, benchmark.Deferred},
		{"the system's", "/var/log/audit.log", &node.Entry{Path: "/var/log", Mode: 0o755}, benchmark.NotApplicable},
		{"the system's, with a group", "/var/log/audit.log", &node.Entry{Path: "/var/log", Mode: 0o775, GID: 104}, benchmark.NotApplicable},
		{"K3s's own above it", "/var/lib/rancher/k3s/audit.log", &node.Entry{Path: "/var/lib/rancher/k3s", Mode: 0o755}, benchmark.NotApplicable},
		{"the system's, another user's", "/var/log/audit.log", &node.Entry{Path: "/var/log", Mode: 0o755, UID: 1000}, benchmark.Fail},
		{"where everyone may put one", "/tmp/audit.log", &node.Entry{Path: "/tmp", Mode: 0o777}, benchmark.Fail},
		{"relative to the server's directory", "logs2/audit.log", &node.Entry{Path: "/var/lib/rancher/k3s/server/logs2", Mode: 0o755}, benchmark.Fail},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := server(t)
			tr.arg(t, k3s.APIServer, "audit-log-path="+c.log)
			if c.dir != nil {
				c.dir.Kind = node.KindDirectory
				tr.put(*c.dir)
			}
			r := tr.result(t, "node.audit-log-dir.mode")
			assert.Equal(t, c.want, r.Status, "%s; %s", r.Found, r.Reason)
		})
	}
}

// TestKernelDefaults: what no file sets is the kernel's own value, where it is
// known which kernels the node may boot.
func TestKernelDefaults(t *testing.T) {
	const keys = "kernel.keys.root_maxkeys"
	without := func(name string) func(*tree) {
		return func(tr *tree) { tr.edit(t, "/etc/sysctl.d/90-kubelet.conf", name+"=", "# "+name+"=") }
	}
	kernel := func(release string) func(*tree) {
		return func(tr *tree) { tr.dir("/usr/lib/modules/"+release, 0o755) }
	}
	for _, c := range []struct {
		name    string
		changes []func(*tree)
		want    benchmark.Status
	}{
		{"the guide's four lines", []func(*tree){without(keys), without("kernel.keys.root_maxbytes"), kernel("6.1.0-13-amd64")}, benchmark.Pass},
		{"several kernels", []func(*tree){without(keys), kernel("6.1.0-13-amd64"), kernel("5.14.0-427.el9.x86_64")}, benchmark.Pass},
		{"one that is too old among them", []func(*tree){without(keys), kernel("6.1.0-13-amd64"), kernel("3.10.0-1160.el7.x86_64")}, benchmark.Fail},
		{"no kernel to ask", []func(*tree){without(keys)}, benchmark.Fail},
		{"not a kernel's name", []func(*tree){without(keys), kernel("kabi-current")}, benchmark.Fail},
		{"whose default is another", []func(*tree){without("vm.overcommit_memory"), kernel("6.1.0-13-amd64")}, benchmark.Fail},
		{"that depends on how it was built", []func(*tree){without("kernel.panic_on_oops"), kernel("6.1.0-13-amd64")}, benchmark.Fail},
		{"set to something else", []func(*tree){
			func(tr *tree) { tr.edit(t, "/etc/sysctl.d/90-kubelet.conf", keys+"=1000000", keys+"=200") }, kernel("6.1.0-13-amd64"),
		}, benchmark.Fail},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := server(t)
			for _, change := range c.changes {
				change(tr)
			}
			r := tr.result(t, "node.kernel-parameters")
			assert.Equal(t, c.want, r.Status, r.Found)
		})
	}
}

// TestOwnNetworkPlugin: a plugin of one's own is for a person to look at;
// flannel without K3s's policy controller enforces nothing.
func TestOwnNetworkPlugin(t *testing.T) {
	for _, c := range []struct {
		name string
		set  map[string]any
		want benchmark.Status
	}{
		{"K3s's own", nil, benchmark.Pass},
		{"another backend of flannel", map[string]any{"flannel-backend": "wireguard-native"}, benchmark.Pass},
		{"no flannel", map[string]any{"flannel-backend": "none"}, benchmark.Manual},
		{"neither flannel nor controller", map[string]any{"flannel-backend": "none", "disable-network-policy": true}, benchmark.Manual},
		{"flannel alone", map[string]any{"disable-network-policy": true}, benchmark.Fail},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := server(t)
			tr.config(t, func(m map[string]any) {
				for k, v := range c.set {
					m[k] = v
				}
			})
			r := tr.result(t, "netpol.cni-support")
			assert.Equal(t, c.want, r.Status, r.Found)
		})
	}
}
