package benchmark_test

import (
	"io/fs"
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// chmod changes what is there.
func chmod(p string, mode fs.FileMode, uid int) func(*testing.T, *tree) {
	return func(_ *testing.T, tr *tree) {
		e := tr.entries[p]
		e.Path, e.Mode, e.UID = p, mode, uid
		if e.Kind == "" {
			e.Kind = node.KindDirectory
		}
		tr.put(e)
	}
}

func lays(p string, mode fs.FileMode, text string) func(*testing.T, *tree) {
	return func(_ *testing.T, tr *tree) { tr.file(p, mode, text) }
}

const (
	unitText  = "[Service]\nExecStart=/usr/local/bin/k3s "
	laterFile = "/etc/sysctl.d/99-later.conf"
)

// ownService is a service of another name, with an environment file of its own.
func ownService(mode fs.FileMode) func(*testing.T, *tree) {
	return func(_ *testing.T, tr *tree) {
		tr.file("/etc/systemd/system/k3s-eu.service", 0o644, "[Service]\nEnvironmentFile=/etc/default/k3s-eu\nExecStart=/usr/local/bin/k3s "+string(tr.role)+"\n")
		tr.file("/etc/default/k3s-eu", mode, "GODEBUG=x=1\n")
	}
}

// nodeMutants break what our own controls on the node look at.
func nodeMutants() []mutant {
	const server, agent = k3s.DefaultDataDir + "/server", k3s.DefaultDataDir + "/agent"
	onAgent := func(b base) bool { return b.role == k3s.Agent }
	unit := func(mode fs.FileMode, uid int) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			p := "/etc/systemd/system/" + tr.role.ServiceName() + ".service"
			tr.put(node.Entry{Path: p, Kind: node.KindFile, Mode: mode, UID: uid, Data: []byte(unitText + string(tr.role) + "\n")})
		}
	}
	environment := func(mode fs.FileMode) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) {
			unit(0o644, 0)(t, tr)
			tr.file("/etc/systemd/system/"+tr.role.ServiceName()+".service.env", mode, "")
		}
	}
	return append([]mutant{
		{control: "node.config.mode", breaks: chmod(k3s.ConfigFile, 0o644, 0)},
		{control: "node.config.mode", breaks: chmod(k3s.ConfigFile, 0o600, 1000)},
		{control: "node.config.mode", breaks: lays(k3s.ConfigFile+".d/50-own.yaml", 0o640, "debug: true\n")},
		{control: "node.config.mode", breaks: lays(k3s.RegistriesFile, 0o644, "mirrors: {}\n")},
		{control: "node.directories.mode", breaks: chmod(k3s.ConfigDir, 0o775, 0)},
		{control: "node.directories.mode", breaks: chmod("/etc/rancher", 0o755, 1000)},
		{control: "node.directories.mode", given: chmod(k3s.DefaultDataDir, 0o755, 0), breaks: chmod(k3s.DefaultDataDir, 0o757, 0)},
		{control: "node.binary.mode", given: lays("/usr/local/bin/k3s", 0o755, ""), breaks: lays("/usr/local/bin/k3s", 0o775, "")},
		{control: "node.server-dir.mode", breaks: chmod(server, 0o755, 0)},
		{control: "node.agent-dir.mode", given: chmod(agent, 0o700, 0), breaks: chmod(agent, 0o755, 0)},
		{control: "node.audit-log-dir.mode", breaks: chmod(server+"/logs", 0o755, 0)},
		{control: "node.audit-log-dir.mode", breaks: chmod(server+"/logs", 0o700, 1000)},
		{control: "node.admission-files.mode", breaks: chmod(psaFile, 0o644, 0), on: func(b base) bool { return !b.psp() && b.role == k3s.Server }},
		{control: "node.admission-files.mode", breaks: chmod(auditFile, 0o644, 0), on: onServer},
		{control: "node.manifests.mode", breaks: chmod(server+"/manifests", 0o755, 0)},
		{control: "node.manifests.mode", breaks: chmod(netpolFile, 0o644, 0)},
		{control: "node.manifest-names", breaks: lays(manifests+"Own_Policy.yaml", 0o600, "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")},
		{control: "node.manifest-names", breaks: lays(manifests+"k3s-cis-service-accounts.own.yaml", 0o600, "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")},
		{control: "node.manifest-names", breaks: lays(manifests+"own.yaml", 0o600, "apiVersion: v1\nkind: [\n")},
		{control: "node.unit.mode", given: unit(0o644, 0), breaks: unit(0o664, 0)},
		{control: "node.unit.mode", given: unit(0o644, 0), breaks: unit(0o644, 1000)},
		{control: "node.unit.mode", given: environment(0o600), breaks: environment(0o644)},
		{control: "node.unit.mode", given: ownService(0o600), breaks: ownService(0o640)},
		{control: "node.k3s-starts", breaks: func(t *testing.T, tr *tree) { tr.arg(t, k3s.Kubelet, "no-such-flag=1") }},
		{control: "node.k3s-starts", on: onServer, given: unit(0o644, 0), breaks: lays("/etc/systemd/system/k3s-agent.service", 0o644, unitText+"agent\n")},
		{control: "node.k3s-starts", on: onAgent, breaks: func(t *testing.T, tr *tree) {
			tr.config(t, func(m map[string]any) { m["secrets-encryption"] = true })
		}},
		// Before late 2021 K3s did not start with an unknown key.
		{control: "node.k3s-config-keys", on: func(b base) bool { return b.role == k3s.Server && b.benchmark != "cis-1.6" }, breaks: func(t *testing.T, tr *tree) {
			tr.config(t, func(m map[string]any) { m["protect-kernel-default"] = true })
		}},
		{control: "node.k3s-config-keys", breaks: func(_ *testing.T, tr *tree) {
			e := tr.entries[k3s.ConfigFile]
			tr.file(k3s.ConfigFile, 0o600, string(e.Data)+"---\ndebug: true\n")
		}},
		{control: "node.kernel-parameters", breaks: lays(laterFile, 0o644, "vm.overcommit_memory=0\n"), also: fails("node.k3s-starts")},
		{control: "node.kernel-parameters", breaks: lays("/etc/tmpfiles.d/x.conf", 0o644, "w /proc/sys/vm/overcommit_memory - - - - 0\n"), also: fails("node.k3s-starts")},
		{control: "node.kernel-parameters", breaks: lays("/etc/rc.local", 0o755, "#!/bin/sh\nsysctl -w vm.overcommit_memory=0\n")},
		{control: "node.kernel-parameters", breaks: lays("/etc/rc.local", 0o755, "#!/bin/sh\nsysctl -w vm.overcommit_memory=$X\n"), turns: benchmark.Error},
		{control: "node.config.mode", breaks: lays("/etc/tmpfiles.d/x.conf", 0o644, "z /etc/rancher/k3s/config.yaml 0644\n")},
		{control: "node.config.mode", breaks: lays("/etc/cron.d/x", 0o644, "@reboot root chmod 644 /etc/rancher/k3s/config.yaml\n")},
		{control: "node.server-dir.mode", breaks: lays("/etc/tmpfiles.d/x.conf", 0o644, "d /var/lib/rancher/k3s/server 0755\n")},
		{control: "node.kernel-parameters", breaks: removes("/etc/sysctl.d/90-kubelet.conf")},
		{control: "node.kernel-parameters", given: running("10"), breaks: running("0")},
	}, rootOnlyMutants()...)
}

func onServer(b base) bool { return b.role == k3s.Server }

// rootOnlyMutants let somebody else change what K3s is started with.
func rootOnlyMutants() []mutant {
	unit := func(lines string) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			tr.file("/usr/local/bin/k3s", 0o755, "")
			tr.file("/etc/systemd/system/"+tr.role.ServiceName()+".service", 0o644, "[Service]\n"+lines+"ExecStart=/usr/local/bin/k3s "+string(tr.role)+"\n")
		}
	}
	dropIn := func(mode fs.FileMode, text string) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) {
			unit("")(t, tr)
			tr.file("/etc/systemd/system/"+tr.role.ServiceName()+".service.d/10.conf", mode, text)
		}
	}
	environment := func(mode fs.FileMode) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) {
			unit("EnvironmentFile=-/opt/empty\n")(t, tr)
			tr.file("/opt/empty", mode, "")
		}
	}
	manager := func(mode fs.FileMode) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) {
			unit("")(t, tr)
			tr.file("/etc/systemd/system.conf.d/10.conf", mode, "[Manager]\n")
		}
	}
	linked := func(mode fs.FileMode) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			tr.dir("/srv/bin", mode)
			tr.file("/srv/bin/k3s-v1", 0o755, "")
			tr.put(node.Entry{Path: "/usr/local/bin/k3s", Kind: node.KindFile, Mode: 0o755, Target: "/srv/bin/k3s-v1"})
		}
	}
	program := func(mode fs.FileMode, uid int) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			tr.file("/etc/systemd/system/"+tr.role.ServiceName()+".service", 0o644, "[Service]\nExecStart=/srv/k3s/k3s "+string(tr.role)+"\n")
			tr.put(node.Entry{Path: "/srv/k3s/k3s", Kind: node.KindFile, Mode: mode, UID: uid})
		}
	}
	argument := func(component k3s.Component, flag, text string, mode fs.FileMode) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) {
			tr.arg(t, component, flag+"=/srv/file")
			tr.file("/srv/file", mode, text)
		}
	}
	providers := func(mode fs.FileMode) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) {
			tr.config(t, func(m map[string]any) { m["image-credential-provider-bin-dir"] = "/srv/providers" })
			tr.dir("/srv/providers", mode)
		}
	}
	group := func(gid int) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			tr.put(node.Entry{Path: "/usr/local/bin", Kind: node.KindDirectory, Mode: 0o775, GID: gid})
		}
	}
	const authorization = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [{type: Node, name: node}, {type: RBAC, name: rbac}]\n"
	// K3s takes its own mode back for this file since April 2025.
	authorized := func(b base) bool {
		return b.role == k3s.Server && (b.benchmark == "cis-2.0" || b.benchmark == "cis-2.1")
	}
	return []mutant{
		{control: "node.unit.mode", given: dropIn(0o644, "[Service]\n"), breaks: dropIn(0o666, "[Service]\n")},
		{control: "node.unit.mode", given: dropIn(0o644, ""), breaks: dropIn(0o646, "")},
		{control: "node.unit.mode", given: environment(0o644), breaks: environment(0o666)},
		{control: "node.unit.mode", given: manager(0o644), breaks: manager(0o666)},
		{control: "node.directories.mode", breaks: chmod("/var/lib/rancher", 0o777, 0)},
		{control: "node.directories.mode", breaks: chmod("/var/lib", 0o755, 1000)},
		{control: "node.directories.mode", given: unit(""), breaks: chmod("/etc/systemd/system", 0o757, 0)},
		{control: "node.directories.mode", given: group(0), breaks: group(50)},
		{control: "node.directories.mode", given: linked(0o755), breaks: linked(0o777)},
		{control: "node.directories.mode", given: environment(0o644), breaks: chmod("/opt", 0o777, 0)},
		{control: "node.binary.mode", given: program(0o755, 0), breaks: program(0o757, 0)},
		{control: "node.binary.mode", given: program(0o755, 0), breaks: program(0o755, 1000)},
		{control: "node.admission-files.mode", on: authorized, given: argument(k3s.APIServer, "authorization-config", authorization, 0o644), breaks: argument(k3s.APIServer, "authorization-config", authorization, 0o666)},
		{control: "node.admission-files.mode", on: onServer, given: argument(k3s.Scheduler, "config", "{}", 0o644), breaks: argument(k3s.Scheduler, "config", "{}", 0o646)},
		{control: "node.admission-files.mode", given: argument(k3s.KubeProxy, "config", "{}", 0o644), breaks: argument(k3s.KubeProxy, "config", "{}", 0o666)},
		{control: "node.admission-files.mode", given: providers(0o755), breaks: providers(0o777)},
	}
}

// running makes the node a running machine with a value of kernel.panic.
func running(panicValue string) func(*testing.T, *tree) {
	return func(_ *testing.T, tr *tree) {
		tr.kernel = map[string]string{
			"vm.overcommit_memory": "1", "vm.panic_on_oom": "0", "kernel.panic": panicValue,
			"kernel.panic_on_oops": "1", "kernel.keys.root_maxkeys": "1000000", "kernel.keys.root_maxbytes": "25000000",
		}
	}
}

// hygieneMutants leave in the image what must not be there.
func hygieneMutants() []mutant {
	const data = k3s.DefaultDataDir
	// What is left behind can be judged, and is as it should be.
	judgedThen := map[string]map[string]benchmark.Status{"node.hygiene.server-tls": {"files.pki.owner": benchmark.Pass}}
	var out []mutant
	for _, h := range []struct {
		control string
		paths   []string
	}{
		{"node.hygiene.server-credentials", []string{data + "/server/cred/passwd", data + "/server/etc/egress-selector-config.yaml"}},
		{"node.hygiene.server-tls", []string{data + "/server/tls/.keep"}},
		{"node.hygiene.tokens", []string{data + "/server/token", data + "/server/node-token", data + "/server/agent-token"}},
		{"node.hygiene.datastore", []string{data + "/server/kine.sock"}},
		{"node.hygiene.node-identity", []string{"/etc/rancher/node/password", "/etc/rancher/node/id", data + "/agent/node-password.txt"}},
		{"node.hygiene.kubeconfig", []string{"/etc/rancher/k3s/k3s.yaml", "/root/.kube/config", "/home/admin/.kube/config"}},
		{"node.hygiene.agent-credentials", []string{data + "/agent/serving-kubelet.crt", data + "/agent/serving-kubelet.key", data + "/agent/k3scontroller.kubeconfig"}},
		{"node.hygiene.agent-state", []string{
			data + "/agent/etc/k3s-agent-load-balancer.json", data + "/agent/etc/resolv.conf", data + "/agent/etc/flannel/net-conf.json",
			data + "/agent/etc/cni/net.d/10-flannel.conflist", data + "/agent/pod-manifests/pod.yaml", data + "/storage/pvc-1/data", "/var/lib/kubelet/pki/x", "/var/lib/cni/x",
			data + "/agent/containerd/io.containerd.grpc.v1.cri/containers/1", data + "/agent/containerd/io.containerd.grpc.v1.cri/sandboxes/1",
		}},
		{"node.hygiene.logs", []string{data + "/server/logs/audit.log", data + "/server/logs/audit/kube/audit.log", "/var/log/journal/0123/system.journal", "/var/log/pods/x/0.log", "/var/log/containers/x.log"}},
		{"node.hygiene.ssh-host-keys", []string{"/etc/ssh/ssh_host_ed25519_key"}},
		{"node.hygiene.cloud-init", []string{"/var/lib/cloud/instance", "/var/lib/cloud/instances/i-1/x", "/var/lib/cloud/data/result.json"}},
		{"node.hygiene.random-seed", []string{"/var/lib/systemd/random-seed"}},
		{"node.hygiene.leases", []string{"/var/lib/dhcp/dhclient.eth0.leases"}},
		{"node.hygiene.access", []string{
			"/root/.ssh/authorized_keys", "/home/admin/.ssh/authorized_keys", "/home/admin/.ssh/id_ed25519", "/root/.ssh/id_rsa",
			"/root/.aws/credentials", "/home/admin/.config/gcloud/credentials.db", "/root/.netrc", "/home/admin/.git-credentials",
		}},
		{"node.hygiene.shell-history", []string{"/root/.bash_history", "/home/admin/.ash_history"}},
	} {
		for _, p := range h.paths {
			out = append(out, mutant{control: h.control, breaks: func(_ *testing.T, tr *tree) {
				tr.dir(data+"/agent", 0o700)
				tr.file(p, 0o600, "x")
			}, given: func(_ *testing.T, tr *tree) { tr.dir(data+"/agent", 0o700) }, also: judgedThen[h.control]})
		}
	}
	return append(out, secretMutants()...)
}

func secretMutants() []mutant {
	service := func(text string) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) {
			tr.file("/etc/systemd/system/"+tr.role.ServiceName()+".service", 0o644, "[Service]\n"+text)
		}
	}
	start := func(words string) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) {
			service("ExecStart=/usr/local/bin/k3s "+string(tr.role)+words+"\n")(t, tr)
		}
	}
	environment := func(text string) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) {
			start("")(t, tr)
			tr.file("/etc/systemd/system/"+tr.role.ServiceName()+".service.env", 0o600, text)
		}
	}
	return []mutant{
		{control: "node.hygiene.config-secrets", breaks: func(t *testing.T, tr *tree) {
			tr.config(t, func(m map[string]any) { m["token"] = "S3CR3T" })
		}},
		{control: "node.hygiene.config-secrets", breaks: func(t *testing.T, tr *tree) {
			tr.arg(t, k3s.Kubelet, "image-service-endpoint=https://u:S3CR3T@h/")
		}},
		{control: "node.hygiene.environment-secrets", given: environment(""), breaks: environment("K3S_TOKEN=S3CR3T\n")},
		{control: "node.hygiene.environment-secrets", given: environment(""), breaks: environment("HTTPS_PROXY=http://u:S3CR3T@proxy:3128\n")},
		{control: "node.hygiene.system-secrets", breaks: lays("/etc/wireguard/wg0.conf", 0o600, "[Interface]\nPrivateKey = S3CR3T\n")},
		{control: "node.hygiene.system-secrets", breaks: lays("/etc/apt/auth.conf.d/9.conf", 0o600, "machine r login u password S3CR3T\n")},
		{control: "node.hygiene.logs", breaks: lays("/var/log/cloud-init-output.log", 0o600, "+ export K3S_TOKEN=S3CR3T\n")},
		{control: "node.hygiene.access", breaks: lays("/etc/ssh/authorized_keys/packer", 0o600, "ssh-ed25519 S3CR3T\n")},
		{control: "node.hygiene.service-secrets", given: start(""), breaks: start(" --token=S3CR3T")},
		{control: "node.hygiene.service-secrets", given: start(""), breaks: start(" -t S3CR3T")},
		{control: "node.hygiene.service-secrets", given: ownService(0o600), breaks: func(_ *testing.T, tr *tree) {
			tr.file("/etc/default/k3s-eu", 0o600, "K3S_TOKEN=S3CR3T\n")
		}},
		{control: "node.hygiene.config-secrets", breaks: lays(k3s.ConfigFile+".before-k3s-cis", 0o600, "token: S3CR3T\n")},
		{control: "node.hygiene.config-secrets", breaks: lays("/etc/rancher/k3s/50-own.yaml.before-k3s-cis", 0o600, "token: S3CR3T\n")},
		{control: "node.config.mode", breaks: lays(k3s.ConfigFile+".before-k3s-cis", 0o644, "")},
		{control: "node.hygiene.service-secrets", given: start(""), breaks: func(t *testing.T, tr *tree) {
			service("Environment=K3S_TOKEN=S3CR3T\nExecStart=/usr/local/bin/k3s "+string(tr.role)+"\n")(t, tr)
		}},
		{
			control: "node.hygiene.registry-secrets", given: lays(k3s.RegistriesFile, 0o600, "mirrors: {}\n"),
			breaks: lays(k3s.RegistriesFile, 0o600, "configs:\n  r.example:\n    auth:\n      username: u\n      password: S3CR3T\n"),
		},
		{control: "node.hygiene.machine-id", given: lays("/etc/machine-id", 0o444, "uninitialized\n"), breaks: lays("/etc/machine-id", 0o444, "0123456789abcdef0123456789abcdef\n")},
		{control: "node.hygiene.hostname", given: lays("/etc/hostname", 0o644, "localhost\n"), breaks: lays("/etc/hostname", 0o644, "builder\n"), turns: benchmark.Manual},
	}
}
