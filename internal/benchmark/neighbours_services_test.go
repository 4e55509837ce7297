package benchmark_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// nodeChange is a change of a hardened node.
type nodeChange struct {
	// bad says that something of K3s or of the benchmark does not hold then.
	bad  bool
	name string
	f    func(*tree)
}

// files lays down one file for each pair of a path and a text.
func files(pairs ...string) func(*tree) {
	return func(tr *tree) {
		for i := 0; i+1 < len(pairs); i += 2 {
			mode := fs.FileMode(0o644)
			switch {
			case strings.HasPrefix(pairs[i+1], "#!"):
				mode = 0o755
			case strings.HasPrefix(pairs[i], k3s.DefaultDataDir), strings.HasPrefix(pairs[i], "/etc/rancher/"):
				mode = 0o600
			}
			tr.file(pairs[i], mode, pairs[i+1])
		}
	}
}

// both makes the changes one after the other.
func both(all ...func(*tree)) func(*tree) {
	return func(tr *tree) {
		for _, f := range all {
			f(tr)
		}
	}
}

func tryNeighbours(t *testing.T, base *tree, list []nodeChange) {
	t.Helper()
	for _, x := range list {
		t.Run(x.name, func(t *testing.T) {
			tr := base.clone()
			x.f(tr)
			var got []string
			for _, r := range benchmark.Evaluate(tr.input(t, "cis-2.1")) {
				if r.Status == benchmark.Fail || r.Status == benchmark.Error {
					got = append(got, r.Key+": "+r.Found)
				}
			}
			assert.Equal(t, x.bad, len(got) > 0, got)
		})
	}
}

const (
	serverUnit = "/etc/systemd/system/k3s.service"
	starts     = "[Service]\nExecStart=/usr/local/bin/k3s server\n"
	opened     = "[Service]\nExecStart=\nExecStart=/usr/local/bin/k3s server --kube-apiserver-arg=profiling=true\n"
	zero       = "sysctl -w vm.overcommit_memory=0"
)

// TestNeighboursOfServices: where systemd and OpenRC take what starts K3s from.
func TestNeighboursOfServices(t *testing.T) {
	base := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
	unit := files(serverUnit, starts)
	vendor := "/usr/lib/systemd/system/k3s.service"
	own := func(settings string) func(*tree) { return files(serverUnit, starts+settings) }
	openrc := "#!/sbin/openrc-run\ncommand=/usr/local/bin/k3s\ncommand_args=\"server\"\n"
	list := []nodeChange{
		{true, "a drop-in of type service", both(unit, files("/etc/systemd/system/service.d/10.conf", "[Service]\nEnvironment=K3S_KUBE=1\nEnvironment=K3S_CONFIG_FILE=/opt/o.yaml\n"))},
		{true, "a drop-in in the vendor's directory", both(unit, files("/usr/lib/systemd/system/k3s.service.d/10.conf", opened))},
		{true, "a drop-in in the local directory", both(unit, files("/usr/local/lib/systemd/system/k3s.service.d/10.conf", opened))},
		{true, "a drop-in in system.control", both(unit, files("/etc/systemd/system.control/k3s.service.d/10.conf", opened))},
		{true, "a drop-in in system.attached", both(unit, files("/etc/systemd/system.attached/k3s.service.d/10.conf", opened))},
		{true, "a drop-in in /lib", both(unit, files("/lib/systemd/system/k3s.service.d/10.conf", opened))},
		{false, "a drop-in with another ending", both(unit, files("/etc/systemd/system/k3s.service.d/10.conf.bak", opened))},
		{false, "a drop-in masked by the administrator", both(unit, files("/usr/lib/systemd/system/k3s.service.d/10.conf", opened), func(tr *tree) {
			tr.put(node.Entry{Path: serverUnit + ".d/10.conf", Kind: node.KindOther, Target: "/dev/null"})
		})},
		{true, "a unit of the vendor's", files(vendor, strings.Replace(opened, "ExecStart=\n", "", 1))},
		{false, "a unit of the vendor's that is overridden", both(files(vendor, strings.Replace(opened, "ExecStart=\n", "", 1)), unit)},
		{true, ".include of another file", files(serverUnit, ".include /opt/k3s.inc\n"+starts, "/opt/k3s.inc", opened)},
		{true, "a template's instance", files("/etc/systemd/system/k3s@.service", strings.Replace(opened, "ExecStart=\n", "", 1), "/etc/systemd/system/multi-user.target.wants/k3s@a.service", strings.Replace(opened, "ExecStart=\n", "", 1))},
		{true, "an instance that is enabled beside the unit", both(unit, func(tr *tree) {
			text := strings.Replace(opened, "ExecStart=\n", "", 1)
			tr.file("/etc/systemd/system/k3s@.service", 0o644, text)
			tr.put(node.Entry{Path: "/etc/systemd/system/multi-user.target.wants/k3s@a.service", Kind: node.KindFile, Mode: 0o644, Target: "/etc/systemd/system/k3s@.service", Data: []byte(text), Size: int64(len(text))})
		})},
		{true, "the service is masked", func(tr *tree) {
			tr.put(node.Entry{Path: serverUnit, Kind: node.KindOther, Target: "/dev/null"})
		}},
		{true, "ProtectSystem=strict", files(serverUnit, starts+"ProtectSystem=strict\n")},
		{false, "ProtectSystem=full", files(serverUnit, starts+"ProtectSystem=no\n")},
		{true, "ReadOnlyPaths of the data directory", files(serverUnit, starts+"ReadOnlyPaths=/var/lib/rancher\n")},
		{true, "InaccessiblePaths of the configuration", files(serverUnit, starts+"InaccessiblePaths=/etc/rancher\n")},
		{true, "TemporaryFileSystem over the configuration", files(serverUnit, starts+"TemporaryFileSystem=/etc/rancher\n")},
		{true, "RootImage", files(serverUnit, starts+"RootImage=/opt/x.raw\n")},
		{false, "UMask=0077", files(serverUnit, starts+"UMask=0077\n")},
		{false, "usual limits", files(serverUnit, "[Unit]\nAfter=network-online.target\n"+starts+"Type=notify\nKillMode=process\nDelegate=yes\nLimitNOFILE=1048576\nTasksMax=infinity\nTimeoutStartSec=0\nRestart=always\nRestartSec=5s\nExecStartPre=-/sbin/modprobe br_netfilter\nExecStartPre=-/sbin/modprobe overlay\n[Install]\nWantedBy=multi-user.target\n")},
		{true, "User=nobody", files(serverUnit, starts+"User=nobody\n")},
		{true, "DynamicUser", files(serverUnit, starts+"DynamicUser=yes\n")},

		{true, "/etc/default/k3s with a token", both(files(serverUnit, starts+"EnvironmentFile=-/etc/default/%N\n"), files("/etc/default/k3s", "K3S_TOKEN=secret\n"))},
		{true, "/etc/default/k3s with another file", both(files(serverUnit, starts+"EnvironmentFile=-/etc/default/%N\n"), files("/etc/default/k3s", "K3S_CONFIG_FILE=/opt/o.yaml\n"))},
		{true, "/etc/sysconfig/k3s with another directory", both(files(serverUnit, starts+"EnvironmentFile=-/etc/sysconfig/%N\n"), files("/etc/sysconfig/k3s", "K3S_DATA_DIR=/opt/d\n"))},
		{true, "k3s.service.env with a URL", both(files(serverUnit, starts+"EnvironmentFile=-/etc/systemd/system/k3s.service.env\n"), files("/etc/systemd/system/k3s.service.env", "K3S_KUBECONFIG_MODE=\"644\"\n"))},
		{false, "k3s.service.env with a proxy", both(files(serverUnit, starts+"EnvironmentFile=-/etc/systemd/system/k3s.service.env\n"), func(tr *tree) {
			tr.file("/etc/systemd/system/k3s.service.env", 0o600, "HTTP_PROXY=http://proxy:3128\n")
		})},
		{false, "/etc/default/k3s that nothing reads", both(unit, files("/etc/default/k3s", "K3S_KUBECONFIG_MODE=644\n"))},
		{true, "conf.d of OpenRC with arguments", files("/etc/init.d/k3s", openrc, "/etc/conf.d/k3s", "command_args=\"server --kube-apiserver-arg=profiling=true\"\n")},
		{true, "conf.d of OpenRC with a variable", files("/etc/init.d/k3s", openrc, "/etc/conf.d/k3s", "export K3S_CONFIG_FILE=/opt/o.yaml\n")},
		{true, "rc.conf of OpenRC with a variable", files("/etc/init.d/k3s", openrc, "/etc/rc.conf", "export K3S_CONFIG_FILE=/opt/o.yaml\n")},
		{true, "rc.conf of OpenRC for the service", files("/etc/init.d/k3s", openrc, "/etc/rc.conf", "k3s_command_args=\"server --kube-apiserver-arg=profiling=true\"\nK3S_KUBECONFIG_MODE=644\nexport K3S_KUBECONFIG_MODE\n")},
		{false, "OpenRC as it comes", files("/etc/init.d/k3s", openrc, "/etc/rc.conf", "rc_parallel=\"NO\"\nunicode=\"YES\"\n", "/etc/conf.d/k3s", "")},

		{true, "openrc supervise args", files("/etc/init.d/k3s", "#!/sbin/openrc-run\nsupervisor=supervise-daemon\ncommand=/usr/local/bin/k3s\ncommand_args=\"server --kube-apiserver-arg=profiling=true >>/var/log/k3s.log 2>&1\"\n")},
		{true, "openrc env file", files("/etc/init.d/k3s", "#!/sbin/openrc-run\ncommand=/usr/local/bin/k3s\ncommand_args=\"server\"\nset -o allexport\nif [ -f /etc/environment ]; then . /etc/environment; fi\nif [ -f /etc/rancher/k3s/k3s.env ]; then . /etc/rancher/k3s/k3s.env; fi\nset +o allexport\n", "/etc/rancher/k3s/k3s.env", "K3S_KUBECONFIG_MODE=644\n")},
		{false, "openrc install.sh", files("/etc/init.d/k3s", "#!/sbin/openrc-run\n\ndepend() {\n    after network-online\n    want cgroups\n}\n\nstart_pre() {\n    rm -f /tmp/k3s.*\n}\n\nsupervisor=supervise-daemon\nname=k3s\ncommand=\"/usr/local/bin/k3s\"\ncommand_args=\"server \\\n    >>/var/log/k3s.log 2>&1\"\n\noutput_log=/var/log/k3s.log\nerror_log=/var/log/k3s.log\n\npidfile=\"/var/run/k3s.pid\"\nrespawn_delay=5\nrespawn_max=0\n\nset -o allexport\nif [ -f /etc/environment ]; then . /etc/environment; fi\nif [ -f /etc/rancher/k3s/k3s.env ]; then . /etc/rancher/k3s/k3s.env; fi\nset +o allexport\n")},
		{true, "openrc start_pre", files("/etc/init.d/k3s", openrc+"start_pre() {\n  sed -i s/restricted/privileged/ /etc/rancher/k3s/psa.yaml\n}\n")},
		{true, "openrc supervise_daemon_args env", files("/etc/init.d/k3s", openrc+"supervise_daemon_args=\"--env K3S_CONFIG_FILE=/opt/o.yaml\"\nsupervisor=supervise-daemon\n")},
		{true, "openrc start_stop_daemon_args env", files("/etc/init.d/k3s", openrc+"start_stop_daemon_args=\"--env K3S_CONFIG_FILE=/opt/o.yaml\"\n")},
		{true, "openrc command_user", files("/etc/init.d/k3s", openrc+"command_user=\"k3s:k3s\"\n")},
		{true, "openrc chroot", files("/etc/init.d/k3s", openrc+"chroot=/opt/root\n")},
		{true, "openrc command_args_foreground", files("/etc/init.d/k3s", openrc+"supervisor=supervise-daemon\ncommand_args_foreground=\"--kube-apiserver-arg=profiling=true\"\n")},
		{true, "openrc command_args_background", files("/etc/init.d/k3s", openrc+"command_background=yes\ncommand_args_background=\"--kube-apiserver-arg=profiling=true\"\n")},
		{true, "openrc start()", files("/etc/init.d/k3s", openrc+"start() {\n  start-stop-daemon --start --exec /usr/local/bin/k3s -- server --kube-apiserver-arg=profiling=true\n}\n")},
		{true, "openrc umask", files("/etc/init.d/k3s", openrc+"umask=000\nstart_pre() { checkpath -f -m 0644 /etc/rancher/k3s/config.yaml; }\n")},
		{true, "openrc directory", files("/etc/init.d/k3s", openrc+"start_pre() { checkpath --directory --mode 0777 /var/lib/rancher/k3s/server; }\n")},
		{false, "openrc usual options", files("/etc/init.d/k3s", openrc+"supervisor=supervise-daemon\nsupervise_daemon_args=\"--respawn-max 0 --respawn-delay 5\"\nstart_stop_daemon_args=\"--make-pidfile --background --stdout /var/log/k3s.log\"\n")},
		{false, "openrc checkpath of a log", files("/etc/init.d/k3s", openrc+"start_pre() {\n  checkpath -f -m 0644 -o root:root /var/log/k3s.log\n  checkpath -d -m 0711 /run/k3s\n}\n")},
		{true, "openrc checkpath empties", files("/etc/init.d/k3s", openrc+"start_pre() {\n  checkpath -D -m 0700 /var/lib/rancher/k3s/server/manifests\n}\n")},
		{true, "openrc checkpath gives away", files("/etc/init.d/k3s", openrc+"start_pre() {\n  checkpath -f -m 0600 -o k3s:k3s /etc/rancher/k3s/config.yaml\n}\n")},
		{false, "openrc root", files("/etc/init.d/k3s", openrc+"command_user=\"root:root\"\n")},

		{true, "a program that prints variables", both(own(""), files("/etc/systemd/system-environment-generators/50-x", "#!/bin/sh\necho K3S_CONFIG_FILE=/opt/o.yaml\n"))},
		{true, "a program of the node's own that prints variables", both(own(""), files("/usr/local/lib/systemd/system-environment-generators/50-x", "#!/bin/sh\necho A=b\n"))},
		{false, "a distribution's program that prints variables", both(own(""), files("/usr/lib/systemd/system-environment-generators/snapd-env-generator", "\x7fELF\x00"))},
		{true, "PAMName", both(own("PAMName=login\n"), files("/etc/environment", "K3S_CONFIG_FILE=/opt/o.yaml\n"))},
		{true, "SetCredential", own("SetCredential=token:K10abc\n")},
		{false, "SetCredentialEncrypted", own("SetCredentialEncrypted=token: k6iUCUh0RJCQyvL8k8q1UyAAAAABAAAADAAAABAAAAC1lFmbWAqWZ8dCCQkAAAAAgAAAAAAAAAALACMA0AAAACAAAAAA\n")},
		{false, "LoadCredential at first boot", own("LoadCredential=token:/run/token\n")},
		{false, "LoadCredential of nothing", own("LoadCredential=token:/etc/k3s-token\n")},
		{true, "LoadCredential of a file", both(own("LoadCredential=token:/etc/k3s-token\n"), files("/etc/k3s-token", "K10abc\n"))},
		{true, "LoadCredential of the store", both(own("LoadCredential=k3s-token\n"), files("/etc/credstore/k3s-token", "K10abc\n"))},
		{true, "another name of the program", files(serverUnit, "[Service]\nExecStart=@/usr/local/bin/k3s kubectl server\n")},
		{false, "the program's own name", files(serverUnit, "[Service]\nExecStart=@/usr/local/bin/k3s k3s server\n")},
		{true, "fewer capabilities", own("CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n")},
		{true, "a capability less", own("CapabilityBoundingSet=~CAP_SYS_MODULE\n")},
		{false, "all capabilities", own("CapabilityBoundingSet=~\n")},
		{true, "no namespaces", own("RestrictNamespaces=yes\n")},
		{false, "namespaces", own("RestrictNamespaces=no\nProtectKernelTunables=false\nProtectKernelModules=yes\nProtectClock=yes\n")},
		{true, "fewer calls", own("SystemCallFilter=@system-service\n")},
		{true, "a variable of the manager's own", both(files("/etc/systemd/system.conf.d/x.conf", "[Manager]\nManagerEnvironment=K3S_CONFIG_FILE=/opt/o.yaml\n"), own("PassEnvironment=K3S_CONFIG_FILE\n"))},
		{false, "variables for the manager itself", both(files("/etc/systemd/system.conf.d/x.conf", "[Manager]\nManagerEnvironment=K3S_CONFIG_FILE=/opt/o.yaml\n"), own(""))},
		{false, "a variable that is taken back", own("Environment=K3S_CONFIG_FILE=/opt/o.yaml\nUnsetEnvironment=K3S_CONFIG_FILE\n")},
		{true, "another value that is taken back", own("Environment=K3S_KUBECONFIG_MODE=644\nUnsetEnvironment=K3S_KUBECONFIG_MODE=600\n")},

		{true, "a vendor's unit writes a parameter", files("/usr/lib/systemd/system/tune.service", "[Service]\nExecStart=/bin/sh -c '"+zero+"'\n")},
		{true, "a vendor's unit in /lib opens the configuration", files("/lib/systemd/system/fix.service", "[Service]\nExecStart=/bin/chmod 644 /etc/rancher/k3s/config.yaml\n")},
		{true, "a vendor's drop-in writes a parameter", files("/usr/lib/systemd/system/ssh.service.d/x.conf", "[Service]\nExecStartPre=/sbin/"+zero+"\n")},
		{true, "a vendor's udev rule", files("/usr/lib/udev/rules.d/99-x.rules", "ACTION==\"add\", SUBSYSTEM==\"net\", RUN+=\"/sbin/"+zero+"\"\n")},
		{true, "a vendor's udev rule in /lib", files("/lib/udev/rules.d/99-x.rules", "ACTION==\"add\", SUBSYSTEM==\"net\", RUN+=\"/sbin/"+zero+"\"\n")},
		{true, "a vendor's modprobe command", files("/usr/lib/modprobe.d/x.conf", "install dummy /sbin/"+zero+"; /sbin/modprobe --ignore-install dummy\n")},
		{true, "a vendor's dispatcher", files("/usr/lib/NetworkManager/dispatcher.d/99-x", "#!/bin/sh\n"+zero+"\n")},
		{true, "more scripts than are read", func(tr *tree) {
			var text strings.Builder
			for i := range 900 {
				fmt.Fprintf(&text, "/opt/s/%d.sh\n", i)
				tr.file(fmt.Sprintf("/opt/s/%d.sh", i), 0o755, "#!/bin/sh\ntrue\n")
			}
			tr.file("/opt/s/899.sh", 0o755, "#!/bin/sh\n"+zero+"\n")
			tr.file("/etc/rc.local", 0o755, "#!/bin/sh\n"+text.String())
		}},
		{false, "programs of one's own", both(files("/etc/systemd/system/exporter.service", "[Service]\nExecStart=/opt/a\nExecStartPre=/opt/b\nExecStop=/opt/c\n"), func(tr *tree) {
			program := "\x7fELF\x00" + strings.Repeat("x", 3<<20)
			tr.file("/opt/a", 0o755, program)
			tr.file("/opt/b", 0o755, program)
			tr.put(node.Entry{Path: "/opt/c", Kind: node.KindFile, Mode: 0o755, Size: 1 << 30, Unread: node.UnreadLarge})
		})},
		{true, "a script that cannot be read", both(files("/etc/rc.local", "#!/bin/sh\n/opt/x.sh\n"), func(tr *tree) {
			tr.put(node.Entry{Path: "/opt/x.sh", Kind: node.KindFile, Mode: 0o755, Unread: "input/output error"})
		})},
	}
	tryNeighbours(t, base, list)
}

// TestNeighboursOfManifests: what K3s and kubectl take for one object or many.
func TestNeighboursOfManifests(t *testing.T) {
	base := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
	open := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {%s, namespace: default}\nspec: {podSelector: {}, ingress: [{}]}\n"
	account := "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\n%s"
	list := []nodeChange{
		{true, "generateName", files(manifests+"a.yaml", fmt.Sprintf(open, "generateName: own-"))},
		{true, "CRLF", files(manifests+"a.yaml", strings.ReplaceAll(fmt.Sprintf(open, "name: own"), "\n", "\r\n"))},
		{true, "CRLF between documents", files(manifests+"a.yaml", "apiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: a}\r\n---\r\n"+strings.ReplaceAll(fmt.Sprintf(open, "name: own"), "\n", "\r\n"))},
		{true, "a JSON stream", files(manifests+"a.json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"o","namespace":"default"},"spec":{"podSelector":{},"ingress":[{}]}}`)},
		{true, "JSON in YAML", files(manifests+"a.yaml", `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"o","namespace":"default"},"spec":{"podSelector":{},"ingress":[{}]}}`)},
		{true, "an anchor", files(manifests+"a.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: own, namespace: &n default}\nspec:\n  podSelector: &e {}\n  ingress:\n  - *e\n")},
		{true, "a merge key", files(manifests+"a.yaml", "x: &b {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy}\n<<: *b\nmetadata: {name: own, namespace: default}\nspec: {podSelector: {}, ingress: [{}]}\n")},
		{true, "a list", files(manifests+"a.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: own, namespace: default}, spec: {podSelector: {}, ingress: [{}]}}\n")},
		{true, "a typed list", files(manifests+"a.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems:\n- {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: own, namespace: default}, spec: {podSelector: {}, ingress: [{}]}}\n")},
		{true, "upper case ending", files(manifests+"a.YAML", fmt.Sprintf(open, "name: own"))},
		{true, "in a directory", files(manifests+"x/y/a.yml", fmt.Sprintf(open, "name: own"))},
		{false, "in a directory with a dot", files(manifests+"a.txt", fmt.Sprintf(open, "name: own"))},
		{true, "an account patched by a later file", files(manifests+"zz.yaml", fmt.Sprintf(account, "automountServiceAccountToken: true\n"))},
		{true, "an account patched by an earlier file", files(manifests+"aa.yaml", fmt.Sprintf(account, "automountServiceAccountToken: true\n"))},
		{true, "an account in a list", files(manifests+"zz.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: kube-system}, automountServiceAccountToken: true}\n")},
		{false, "an account of an app", files(manifests+"zz.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: app, namespace: default}\n")},
		{true, "a namespace that is privileged", files(manifests+"zz.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {pod-security.kubernetes.io/enforce: privileged}}\n")},
		{false, "a config map in CRLF", files(manifests+"a.yaml", "apiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: a, namespace: default}\r\ndata:\r\n  a: b\r\n")},
		{true, "a manifest that is not YAML", files(manifests+"k3s-cis-network-policies.yaml", "a: [\n")},
		{true, "a policy with a typo", func(tr *tree) {
			tr.edit(t, manifests+"k3s-cis-network-policies.yaml", "podSelector", "podSelectors")
		}},
		{true, "a tab", files(manifests+"k3s-cis-network-policies.yaml", "apiVersion:\tv1\n\tkind: x\n")},
		{true, "args password", files(manifests+"own.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: h, namespace: default}\nspec:\n  containers:\n  - {name: a, image: b, args: [\"--password=hunter2\"]}\n")},
		{true, "command password", files(manifests+"own.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: h, namespace: default}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: b, command: [app, --db-password, hunter2]}]}}}\n")},
		{false, "args password of a variable", files(manifests+"own.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: h, namespace: default}\nspec:\n  containers:\n  - {name: a, image: b, args: [\"--password=$(PASSWORD)\", \"--password-file=/run/p\", --token-ttl=24h, --password, $(PASSWORD), --no-password]}\n")},
		{true, "static pods from elsewhere", func(tr *tree) { tr.arg(t, k3s.Kubelet, "manifest-url=http://x/pods") }},
		{true, "psa label json", files(manifests+"own.yaml", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-public","labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`)},
		{true, "psa label with version", files(manifests+"own.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {pod-security.kubernetes.io/enforce: baseline}}\n")},
		{false, "psa label restricted", files(manifests+"own.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {pod-security.kubernetes.io/enforce: restricted}}\n")},
		{false, "psa label audit", files(manifests+"own.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {pod-security.kubernetes.io/audit: restricted}}\n")},
		{false, "own namespace", files(manifests+"own.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: apps}\n")},
		{true, "static path pods", both(func(tr *tree) { tr.arg(t, k3s.Kubelet, "pod-manifest-path=/etc/pods") }, files("/etc/pods/x.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: default}\nspec: {containers: [{name: a, image: b, securityContext: {privileged: true}}]}\n"))},
		{true, "static json", files("/var/lib/rancher/k3s/agent/pod-manifests/x.json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"hostNetwork":true,"containers":[{"name":"a","image":"b"}]}}`)},
		{true, "static kubelet conf.d path", both(func(tr *tree) { tr.dir("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d", 0o700) }, files("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-x.conf", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nstaticPodPath: /etc/pods\n", "/etc/pods/x.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: default}\nspec: {containers: [{name: a, image: b, securityContext: {privileged: true}}]}\n"))},
		{true, "sa string", files(manifests+"own.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\nautomountServiceAccountToken: \"false\"\n")},
		{true, "sa null", files(manifests+"own.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: kube-public}\nautomountServiceAccountToken: null\n")},
		{false, "sa same", files(manifests+"own.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\nautomountServiceAccountToken: false\n")},
		{false, "sa other ns", files(manifests+"own.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: apps}\n")},
		{false, "static pods that are fit", both(func(tr *tree) { tr.arg(t, k3s.Kubelet, "pod-manifest-path=/etc/pods") }, files("/etc/pods/x.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: default}\nspec: {securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, containers: [{name: a, image: b, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}\n"))},
		{false, "static pods of an exempt namespace", both(func(tr *tree) { tr.arg(t, k3s.Kubelet, "pod-manifest-path=/etc/pods") }, files("/etc/pods/x.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: vip, namespace: kube-system}\nspec: {hostNetwork: true, containers: [{name: a, image: b, securityContext: {capabilities: {add: [NET_ADMIN]}}}]}\n"))},
		{false, "static pods that the kubelet passes over", both(func(tr *tree) { tr.arg(t, k3s.Kubelet, "pod-manifest-path=/etc/pods") }, files("/etc/pods/.x.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {hostPID: true, containers: [{name: a, image: b}]}\n"))},
		{true, "skip file", files(manifests+"k3s-cis-network-policies.yaml.skip", "")},
	}
	tryNeighbours(t, base, list)
}

// TestNeighboursOfAgents: what an agent's image has beside a server's.
func TestNeighboursOfAgents(t *testing.T) {
	base := hardened(t, "v1.36.3+k3s1", k3s.Agent, "cis-2.1")
	agent := "/etc/systemd/system/k3s-agent.service"
	runs := "[Service]\nExecStart=/usr/local/bin/k3s agent%s\n"
	cfg := func(text string) func(*tree) {
		return files(k3s.ConfigFile+".d/50-x.yaml", text)
	}
	list := []nodeChange{
		{false, "nothing", func(*tree) {}},
		{false, "its unit", files(agent, fmt.Sprintf(runs, ""))},
		{true, "an open kubelet in the unit", files(agent, fmt.Sprintf(runs, " --kubelet-arg=anonymous-auth=true"))},
		{true, "a read-only port in the unit", files(agent, fmt.Sprintf(runs, " --kubelet-arg=read-only-port=10255"))},
		{true, "kernel defaults off in the unit", files(agent, fmt.Sprintf(runs, " --protect-kernel-defaults=false"))},
		{false, "node labels in the unit", files(agent, fmt.Sprintf(runs, " --node-label=a=b"))},
		{true, "a token in the unit", files(agent, fmt.Sprintf(runs, " --token abc --server https://s:6443"))},
		{true, "a token in the unit's environment", files(agent, fmt.Sprintf(runs, "")+"Environment=K3S_TOKEN=abc K3S_URL=https://s:6443\n")},
		{true, "a token in a drop-in", files(agent, fmt.Sprintf(runs, ""), agent+".d/t.conf", "[Service]\nEnvironment=K3S_TOKEN=abc\n")},
		{true, "an agent token in the configuration", cfg("agent-token: abc\n")},
		{true, "a token in the configuration", cfg("token: abc\nserver: https://s:6443\n")},
		{false, "the server alone", cfg("server: https://s:6443\n")},
		{true, "a server without https", cfg("server: s:6443\n")},
		{true, "the environment file of install.sh", both(files(agent, fmt.Sprintf(runs, "")+"EnvironmentFile=-/etc/systemd/system/k3s-agent.service.env\n"), func(tr *tree) {
			tr.file("/etc/systemd/system/k3s-agent.service.env", 0o600, "K3S_TOKEN=abc\nK3S_URL=https://s:6443\n")
		})},
		{false, "that without a token", both(files(agent, fmt.Sprintf(runs, "")+"EnvironmentFile=-/etc/systemd/system/k3s-agent.service.env\n"), func(tr *tree) {
			tr.file("/etc/systemd/system/k3s-agent.service.env", 0o600, "K3S_URL=https://s:6443\n")
		})},
		{true, "a join token's file", func(tr *tree) {
			cfg("token-file: /etc/rancher/k3s/join\n")(tr)
			tr.file("/etc/rancher/k3s/join", 0o600, "abc\n")
		}},
		{true, "a server's key", cfg("secrets-encryption: true\n")},
		{true, "a server's flag in the unit", files(agent, fmt.Sprintf(runs, " --disable traefik"))},
		{true, "node password", func(tr *tree) { tr.file("/etc/rancher/node/password", 0o600, "abc\n") }},
		{true, "a kubelet's key", func(tr *tree) {
			tr.file(k3s.DefaultDataDir+"/agent/serving-kubelet.key", 0o600, "-----BEGIN EC PRIVATE KEY-----\nx\n-----END EC PRIVATE KEY-----\n")
		}},
		{true, "a kubelet drop-in", files(k3s.DefaultDataDir+"/agent/etc/kubelet.conf.d/50-x.conf", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nreadOnlyPort: 10255\n")},
		{true, "a kubelet drop-in that switches off the certificate's renewal", files(k3s.DefaultDataDir+"/agent/etc/kubelet.conf.d/50-x.conf", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nstreamingConnectionIdleTimeout: 0s\n")},
		{true, "a parameter later", files("/etc/sysctl.d/99-z.conf", "vm.panic_on_oom=1\n")},
		{true, "another user", files(agent, fmt.Sprintf(runs, "")+"User=k3s\n")},
		{true, "a server's service beside", files(agent, fmt.Sprintf(runs, ""), serverUnit, starts)},
		{true, "a server's service instead", files(serverUnit, starts)},
		{true, "containerd's template with a password", files(k3s.DefaultDataDir+"/agent/etc/containerd/config.toml.tmpl", "[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"r\".auth]\n  password = \"x\"\n")},
		{true, "the data directory open", func(tr *tree) { tr.dir("/var/lib/rancher/k3s", 0o777) }},
		{true, "a link for the directory above", func(tr *tree) {
			tr.put(node.Entry{Path: "/var/lib/rancher", Kind: node.KindDirectory, Mode: 0o777, Target: "/srv/rancher"})
		}},
		{true, "an unsafe sysctl allowed", cfg("kubelet-arg+: [\"allowed-unsafe-sysctls=kernel.*\", \"anonymous-auth=true\"]\n")},
		{false, "labels and taints", cfg("node-label: [a=b]\nnode-taint: [\"a=b:NoSchedule\"]\nkubelet-arg+: [max-pods=200]\n")},
	}
	tryNeighbours(t, base, list)
}
