package benchmark_test

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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

// TestAuditLogBelowLogs: a directory that is baked for the audit log is no log, and
// what is in it is one.
func TestAuditLogBelowLogs(t *testing.T) {
	const logs = k3s.DefaultDataDir + "/server/logs"
	for name, c := range map[string]struct {
		entries []node.Entry
		want    benchmark.Status
		found   string
	}{
		"a directory":       {[]node.Entry{{Path: logs + "/audit"}}, benchmark.Pass, ""},
		"one below another": {[]node.Entry{{Path: logs + "/audit"}, {Path: logs + "/audit/kube"}}, benchmark.Pass, ""},
		"a log in it":       {[]node.Entry{{Path: logs + "/audit"}, {Path: logs + "/audit/audit.log", Kind: node.KindFile}}, benchmark.Fail, logs + "/audit/audit.log"},
		"a link in it":      {[]node.Entry{{Path: logs + "/audit"}, {Path: logs + "/audit/old", Kind: node.KindLink, Target: "/srv/old"}}, benchmark.Fail, logs + "/audit/old"},
		"not to be listed":  {[]node.Entry{{Path: logs + "/audit", Unread: "permission denied"}}, benchmark.Error, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := server(t)
			for _, e := range c.entries {
				if e.Kind == "" {
					e.Kind, e.Mode = node.KindDirectory, 0o700
				}
				tr.put(e)
			}
			r := tr.result(t, "node.hygiene.logs")
			assert.Equal(t, c.want, r.Status, "%s; %s", r.Found, r.Reason)
			assert.Contains(t, r.Found, c.found)
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

// TestConfigurationElsewhere: what the node's configuration names is collected,
// however far that leads.
func TestConfigurationElsewhere(t *testing.T) {
	const config, podSecurity = "/etc/k3s/config.yaml", "/etc/rancher/k3s/podsecurity.yaml"
	elsewhere := func(t *testing.T, tr *tree) {
		tr.file(config, 0o600, string(tr.entries[k3s.ConfigFile].Data))
		delete(tr.entries, k3s.ConfigFile)
		tr.file("/etc/systemd/system/k3s.service", 0o644, "[Service]\nEnvironment=K3S_CONFIG_FILE="+config+"\nExecStart=/usr/local/bin/k3s server\n")
	}
	byPath := func(named, at, data string) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			tr.file(psaFile, 0o600, "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: PodSecurity\n  path: "+named+"\n")
			if at != "" {
				tr.file(at, 0o600, data)
			}
		}
	}
	const restricted = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\ndefaults: {enforce: restricted}\n"
	for _, c := range []struct {
		name   string
		change func(*testing.T, *tree)
		key    string
		want   benchmark.Status
	}{
		{"a configuration file of one's own", elsewhere, "apiserver.audit-log-maxage", benchmark.Pass},
		{"with a drop-in that appends", func(t *testing.T, tr *tree) {
			elsewhere(t, tr)
			tr.file(config+".d/10.yaml", 0o600, "node-label+: [a=b]\n")
		}, "apiserver.audit-log-maxage", benchmark.Pass},
		{"with a drop-in that takes the hardening away", func(t *testing.T, tr *tree) {
			elsewhere(t, tr)
			tr.file(config+".d/10.yaml", 0o600, "kube-apiserver-arg: [v=2]\n")
		}, "apiserver.audit-log-maxage", benchmark.Fail},
		{"Pod Security beside the file that names it", byPath("podsecurity.yaml", podSecurity, restricted), "podsec.privileged", benchmark.Pass},
		{"Pod Security anywhere", byPath("/srv/ps.yaml", "/srv/ps.yaml", restricted), "podsec.privileged", benchmark.Pass},
		{"Pod Security that lets everything in", byPath("podsecurity.yaml", podSecurity, "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\ndefaults: {enforce: privileged}\n"), "podsec.privileged", benchmark.Fail},
		{"Pod Security in a file that is missing", byPath("podsecurity.yaml", "", ""), "podsec.privileged", benchmark.Fail},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := server(t)
			c.change(t, tr)
			r := tr.followed(t, c.key)
			assert.Equal(t, c.want, r.Status, "%s; %s", r.Found, r.Reason)
		})
	}
}

// followed judges a tree as a build does: collected again as long as more is
// asked for.
func (tr *tree) followed(t *testing.T, key string) benchmark.Result {
	t.Helper()
	n := tr.node(benchmark.Query(tr.role, ""))
	for range 4 {
		e, err := k3s.Resolve(n, tr.release, tr.role)
		require.NoError(t, err)
		more := benchmark.FollowUp(benchmark.Input{Node: n, Effective: e})
		if len(more) == 0 {
			for _, r := range benchmark.Evaluate(benchmark.Input{Node: n, Effective: e, Benchmark: "cis-2.1", Role: tr.role, Now: now}) {
				if r.Key == key {
					return r
				}
			}
			require.Fail(t, "no such control", key)
		}
		n = tr.node(append(n.Query(), more...))
	}
	require.Fail(t, "asked for more again and again")
	return benchmark.Result{}
}

// TestNotesAndUnknownKeys: ordinary use passes and is told; what only a newer
// K3s knows is never proven.
func TestNotesAndUnknownKeys(t *testing.T) {
	for _, c := range []struct {
		name, release, key string
		role               k3s.Role
		file, text         string
		want               benchmark.Status
		found              string
	}{
		{"a backup", "v1.36.3+k3s1", "node.k3s-config-keys", k3s.Server, "50-a.yaml.bak", "x", benchmark.Pass, "to be noted: K3s reads only"},
		{"another maximum", "v1.36.3+k3s1", "node.k3s-config-keys", k3s.Server, "50-a.yaml", "kube-apiserver-arg+: [audit-log-maxage=90]\n", benchmark.Pass, "is set to 30 here and to 90 at"},
		{"a list replaced", "v1.36.3+k3s1", "node.k3s-config-keys", k3s.Server, "50-a.yaml", "kube-apiserver-arg: [audit-log-maxage=90]\n", benchmark.Fail, "replaced whole"},
		{"an unknown key", "v1.36.3+k3s1", "node.k3s-config-keys", k3s.Server, "50-a.yaml", "brand-new-key: 1\n", benchmark.Fail, "has no key"},
		{"a key of a newer patch", "v1.36.9+k3s1", "node.k3s-config-keys", k3s.Server, "50-a.yaml", "brand-new-key: 1\n", benchmark.Deferred, "is newer than the keys known here"},
		{"which a server survives", "v1.36.9+k3s1", "node.k3s-starts", k3s.Server, "50-a.yaml", "brand-new-key: 1\n", benchmark.Pass, ""},
		{"and an agent may not", "v1.36.9+k3s1", "node.k3s-starts", k3s.Agent, "50-a.yaml", "brand-new-key: 1\n", benchmark.Deferred, "is newer than the keys known here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := hardened(t, c.release, c.role, "cis-2.1")
			tr.file(k3s.ConfigFile+".d/"+c.file, 0o600, c.text)
			r := tr.result(t, c.key)
			assert.Equal(t, c.want, r.Status, r.Found)
			assert.Contains(t, r.Found, c.found)
		})
	}
}

// TestServiceFilesByNature: a script is run and the system's environment is
// read by everyone; that others can change them is wrong all the same.
func TestServiceFilesByNature(t *testing.T) {
	const script = "command=/usr/local/bin/k3s\ncommand_args=\"server\"\n. /etc/environment\n"
	openRC := func(mode, environment fs.FileMode) func(*tree) {
		return func(tr *tree) {
			tr.file("/etc/init.d/k3s", mode, script)
			tr.file("/etc/environment", environment, "PATH=/usr/bin\n")
		}
	}
	systemd := func(file string, mode fs.FileMode) func(*tree) {
		return func(tr *tree) {
			tr.file("/etc/systemd/system/k3s.service", 0o644, "[Service]\nEnvironmentFile=-"+file+"\nExecStart=/usr/local/bin/k3s server\n")
			tr.file(file, mode, "GODEBUG=x=1\n")
		}
	}
	for _, c := range []struct {
		name   string
		change func(*tree)
		want   benchmark.Status
	}{
		{"OpenRC as K3s's installer makes it", openRC(0o755, 0o644), benchmark.Pass},
		{"a script that a group may write", openRC(0o775, 0o644), benchmark.Fail},
		{"an environment that everyone may write", openRC(0o755, 0o646), benchmark.Fail},
		{"a unit with the system's environment", systemd("/etc/environment", 0o644), benchmark.Pass},
		{"a unit with the system's locale", systemd("/etc/default/locale", 0o644), benchmark.Pass},
		{"a unit with K3s's own, readable", systemd("/etc/default/k3s", 0o644), benchmark.Fail},
		{"a unit to be run", func(tr *tree) {
			tr.file("/etc/systemd/system/k3s.service", 0o755, "[Service]\nExecStart=/usr/local/bin/k3s server\n")
		}, benchmark.Fail},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := server(t)
			c.change(tr)
			r := tr.followed(t, "node.unit.mode")
			assert.Equal(t, c.want, r.Status, r.Found)
		})
	}
}
