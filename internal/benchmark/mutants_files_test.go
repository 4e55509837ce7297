package benchmark_test

import (
	"io/fs"
	"strconv"
	"strings"
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// fileMutants loosen files of K3s's own. They are there only once K3s has run,
// so each mutant starts from such a node; what hygiene says of it does not
// change by the mutation.
func fileMutants() []mutant {
	const server, agent = k3s.DefaultDataDir + "/server", k3s.DefaultDataDir + "/agent"
	var out []mutant
	for _, f := range []struct {
		control, path string
		given         func(*testing.T, *tree)
	}{
		{"files.cni", "/var/lib/cni/networks/cbr0/10.42.0.2", nil},
		{"files.etcd-datadir", server + "/db/etcd", withEtcd},
		{"files.admin-kubeconfig", server + "/cred/admin.kubeconfig", nil},
		{"files.scheduler-kubeconfig", server + "/cred/scheduler.kubeconfig", nil},
		{"files.kcm-kubeconfig", server + "/cred/controller.kubeconfig", nil},
		{"files.pki-cert", server + "/tls/etcd/client.crt", nil},
		{"files.pki-key", server + "/tls/etcd/client.key", nil},
		{"files.kubeproxy-kubeconfig", agent + "/kubeproxy.kubeconfig", nil},
		{"files.kubelet-kubeconfig", agent + "/kubelet.kubeconfig", nil},
		{"files.kubelet-client-ca", agent + "/client-ca.crt", nil},
	} {
		kind := node.KindFile
		if f.control == "files.etcd-datadir" {
			kind = node.KindDirectory
		}
		at := func(mode fs.FileMode, uid int) func(*testing.T, *tree) {
			return func(t *testing.T, tr *tree) {
				if f.given != nil {
					f.given(t, tr)
				}
				tr.dir(agent, 0o700)
				tr.put(node.Entry{Path: f.path, Kind: kind, Mode: mode, UID: uid})
			}
		}
		for _, b := range bases() {
			if c, ok := controlOf(b, f.control+".mode"); ok {
				// One bit more than this benchmark allows.
				allowed, _ := c.MaxMode(b.benchmark)
				m, _ := strconv.ParseUint(allowed, 8, 12)
				out = append(out, mutant{
					control: c.Key, given: at(fs.FileMode(m), 0), breaks: at(fs.FileMode(m)|0o020, 0),
					on: func(other base) bool { return other == b },
				})
			}
		}
		if !strings.HasPrefix(f.control, "files.pki-") && f.control != "files.etcd-datadir" { // no such controls
			out = append(out, mutant{control: f.control + ".owner", given: at(0o600, 0), breaks: at(0o600, 1000)})
		}
	}
	pki := func(uid int) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			tr.put(node.Entry{Path: server + "/tls/server-ca.crt", Kind: node.KindFile, Mode: 0o600, UID: uid})
		}
	}
	return append(append(out, mutant{control: "files.pki.owner", given: pki(0), breaks: pki(1000)},
		mutant{control: "files.admin-kubeconfig.mode", from: benchmark.Deferred, breaks: func(t *testing.T, tr *tree) {
			tr.config(t, func(m map[string]any) { m["write-kubeconfig-mode"] = "666" })
		}, on: func(b base) bool {
			// Before July 2023 K3s's own mode is too wide, which is for a person to tighten.
			r, _ := k3s.ParseRelease(b.release)
			return r.AtLeast(1, 24) || b.benchmark == "cis-1.6"
		}}), kubeletFileMutants()...)
}

// kubeletFileMutants concern the kubelet's configuration directory.
func kubeletFileMutants() []mutant {
	const dir = k3s.DefaultDataDir + "/agent/etc/kubelet.conf.d"
	dropIn := func(dirMode, mode fs.FileMode, uid int) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			tr.dir(k3s.DefaultDataDir+"/agent", 0o700)
			tr.dir(dir, dirMode)
			tr.put(node.Entry{
				Path: dir + "/50-own.conf", Kind: node.KindFile, Mode: mode, UID: uid,
				Data: []byte("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"),
			})
		}
	}
	named := func(mode, copyMode fs.FileMode, uid int) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) {
			const text = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
			tr.arg(t, k3s.Kubelet, "config=/etc/rancher/kubelet.yaml")
			tr.put(node.Entry{Path: "/etc/rancher/kubelet.yaml", Kind: node.KindFile, Mode: mode, UID: uid, Data: []byte(text)})
			tr.dir(k3s.DefaultDataDir+"/agent", 0o700)
			tr.dir(dir, 0o700)
			tr.put(node.Entry{Path: dir + "/10-cli-config.conf", Kind: node.KindFile, Mode: copyMode, Data: []byte(text)})
		}
	}
	return []mutant{
		{control: "files.kubelet-config.mode", given: named(0o600, 0o600, 0), breaks: named(0o640, 0o600, 0)},
		{control: "files.kubelet-config.mode", given: named(0o600, 0o600, 0), breaks: named(0o600, 0o644, 0), also: fails("files.kubelet-config-dropin.mode")},
		{control: "files.kubelet-config.owner", given: named(0o600, 0o600, 0), breaks: named(0o600, 0o600, 1000), also: fails("node.admission-files.mode")},
		{control: "files.kubelet-config.mode", given: dropIn(0o700, 0o600, 0), breaks: dropIn(0o700, 0o640, 0), also: fails("files.kubelet-config-dropin.mode")},
		{control: "files.kubelet-config.owner", given: dropIn(0o700, 0o600, 0), breaks: dropIn(0o700, 0o600, 1000), also: fails("node.admission-files.mode")},
		{control: "files.kubelet-config-dropin.mode", given: dropIn(0o700, 0o600, 0), breaks: dropIn(0o755, 0o600, 0)},
	}
}
