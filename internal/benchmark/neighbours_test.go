package benchmark_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// TestNeighbours: what people have on nodes, and what is one step beside it: a
// node that something of K3s or of the benchmark does not hold for is not
// without a failure or an error, and one for which all holds has none.
func TestNeighbours(t *testing.T) {
	base := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
	m := "/var/lib/rancher/k3s/server/manifests/"
	unit := "/etc/systemd/system/k3s.service"
	us := "[Service]\nExecStart=/usr/local/bin/k3s server\n"
	type mut struct {
		bad  bool
		name string
		f    func(tr *tree)
	}
	cfg := func(text string) func(tr *tree) {
		return func(tr *tree) {
			e := tr.entries[k3s.ConfigFile]
			tr.file(k3s.ConfigFile, 0o600, string(e.Data)+text)
		}
	}
	drop := func(text string) func(tr *tree) {
		return func(tr *tree) { tr.file(k3s.ConfigFile+".d/50-x.yaml", 0o600, text) }
	}
	file := func(p string, mode uint32, text string) func(tr *tree) {
		return func(tr *tree) { tr.file(p, fs.FileMode(mode), text) }
	}
	arg := func(c k3s.Component, a string) func(tr *tree) { return func(tr *tree) { tr.arg(t, c, a) } }
	np := func(ns, spec string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: own, namespace: " + ns + "}\nspec: " + spec + "\n"
	}
	list := []mut{
		{false, "nothing", func(*tree) {}},
		{true, "A1 bare item before", func(tr *tree) {
			tr.args(t, k3s.Kubelet, func(l []string) []string { return append([]string{"seccomp-default"}, l...) })
		}},
		{false, "A1 bare item last", func(tr *tree) {
			tr.args(t, k3s.Kubelet, func(l []string) []string { return append(l, "fail-swap-on") })
		}},
		{true, "A1 --bare item before", func(tr *tree) {
			tr.args(t, k3s.Kubelet, func(l []string) []string { return append([]string{"--seccomp-default"}, l...) })
		}},
		{true, "A2 disable empty", drop("disable: \"\"\n")},
		{true, "A2 disable trailing comma", drop("disable: \"traefik,\"\n")},
		{true, "A2 disable list with empty", drop("disable: [traefik, \"\"]\n")},
		{true, "A2 disable blank", drop("disable: \"traefik, \"\n")},
		{false, "A2 disable two", drop("disable: \"traefik,servicelb\"\n")},
		{false, "A2 disable list", drop("disable: [traefik, servicelb]\n")},
		{true, "A2 disable ours", drop("disable: [k3s-cis-network-policies]\n")},
		{true, "A2 service flag --disable=", file(unit, 0o644, "[Service]\nExecStart=/usr/local/bin/k3s server --disable=\n")},
		{true, "A2 service flag --disable ''", file(unit, 0o644, "[Service]\nExecStart=/usr/local/bin/k3s server --disable ''\n")},
		{true, "A3 token in env of unit", file(unit, 0o644, "[Service]\nEnvironment=K3S_TOKEN=abc\nExecStart=/usr/local/bin/k3s server\n")},
		{true, "A3 agent-token-file", func(tr *tree) { cfg("agent-token-file: /opt/at\n")(tr); tr.file("/opt/at", 0o600, "abc\n") }},
		{false, "A3 token-file absent", cfg("token-file: /run/secrets/token\n")},
		{false, "A3 token-file empty", func(tr *tree) { cfg("token-file: /opt/at\n")(tr); tr.file("/opt/at", 0o600, "") }},
		{true, "A3 datastore password", cfg("datastore-endpoint: \"mysql://u:pw@tcp(db:3306)/k3s\"\n")},
		{true, "A3 datastore password query", cfg("datastore-endpoint: \"postgres://db/k3s?user=k&password=p\"\n")},
		{true, "A3 etcd-s3-secret-key", cfg("etcd-s3-secret-key: abc\n")},
		{true, "A3 vpn-auth", cfg("vpn-auth: name=tailscale,joinKey=abc\n")},
		{true, "A3 k3s.env", file("/etc/rancher/k3s/k3s.env", 0o600, "K3S_TOKEN=abc\n")},
		{true, "A3 backup config", file("/etc/rancher/k3s/config.yaml.bak", 0o600, "token: abc\n")},
		{true, "A3 token in comment-free list", cfg("token: [abc]\n")},
		{true, "A3 cred in private-registry", func(tr *tree) {
			cfg("private-registry: /opt/r.yaml\n")(tr)
			tr.file("/opt/r.yaml", 0o600, "configs: {r: {auth: {password: x}}}\n")
		}},
		{true, "A3 key in tls dir", file("/etc/rancher/k3s/tls.key", 0o600, "-----BEGIN EC PRIVATE KEY-----\nx\n")},
		{true, "A3 sni key", func(tr *tree) {
			tr.arg(t, k3s.APIServer, "tls-sni-cert-key=/opt/a.crt,/opt/a.key")
			tr.file("/opt/a.crt", 0o644, "x")
			tr.file("/opt/a.key", 0o600, "-----BEGIN EC PRIVATE KEY-----\nx\n")
		}},
		{true, "A3 tls-private-key-file", func(tr *tree) {
			tr.arg(t, k3s.APIServer, "tls-private-key-file=/opt/a.key")
			tr.file("/opt/a.key", 0o600, "-----BEGIN EC PRIVATE KEY-----\nx\n")
		}},
		{true, "A3 kubelet private key", func(tr *tree) {
			tr.arg(t, k3s.Kubelet, "tls-private-key-file=/opt/a.key")
			tr.file("/opt/a.key", 0o600, "-----BEGIN EC PRIVATE KEY-----\nx\n")
		}},
		{true, "A3 cluster-signing-key", func(tr *tree) {
			tr.arg(t, k3s.ControllerManager, "cluster-signing-key-file=/opt/a.key")
			tr.file("/opt/a.key", 0o600, "-----BEGIN EC PRIVATE KEY-----\nx\n")
		}},
		{true, "A3 webhook kubeconfig with token", func(tr *tree) {
			tr.arg(t, k3s.APIServer, "authentication-token-webhook-config-file=/opt/w.yaml")
			tr.file("/opt/w.yaml", 0o600, "apiVersion: v1\nkind: Config\nusers:\n- name: x\n  user: {token: abc}\n")
		}},
		{true, "A3 audit webhook kubeconfig", func(tr *tree) {
			tr.arg(t, k3s.APIServer, "audit-webhook-config-file=/opt/w.yaml")
			tr.file("/opt/w.yaml", 0o600, "apiVersion: v1\nkind: Config\nusers:\n- name: x\n  user: {token: abc}\n")
		}},
		{true, "A5 dropin 0666", func(tr *tree) {
			file(unit, 0o644, us)(tr)
			tr.dir(unit+".d", 0o755)
			tr.file(unit+".d/1.conf", 0o666, "")
		}},
		{true, "A5 unit dir 0777", func(tr *tree) { file(unit, 0o644, us)(tr); tr.dir("/etc/systemd/system", 0o777) }},
		{true, "A5 rancher 0777", func(tr *tree) { tr.dir("/var/lib/rancher", 0o777) }},
		{true, "A5 etc 0777", func(tr *tree) { tr.dir("/etc", 0o777) }},
		{true, "A5 env file 0666 empty", func(tr *tree) {
			file(unit, 0o644, us+"EnvironmentFile=/etc/x.env\n")(tr)
			tr.file("/etc/x.env", 0o666, "")
		}},
		{true, "A5 binary 0775 group", func(tr *tree) {
			tr.put(node.Entry{Path: "/usr/local/bin/k3s", Kind: node.KindFile, Mode: 0o775, GID: 1000, Data: []byte("x"), Size: 1})
		}},
		{true, "A5 binary dir 0777", func(tr *tree) { tr.file("/usr/local/bin/k3s", 0o755, "x"); tr.dir("/usr/local/bin", 0o777) }},
		{true, "A5 binary setuid", func(tr *tree) {
			tr.put(node.Entry{Path: "/usr/local/bin/k3s", Kind: node.KindFile, Mode: 0o755 | setuid, Data: []byte("x"), Size: 1})
		}},
		{true, "A5 kubelet.conf.d 0777", func(tr *tree) { tr.dir("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d", 0o777) }},
		{true, "A5 unit of user", func(tr *tree) {
			tr.put(node.Entry{Path: unit, Kind: node.KindFile, Mode: 0o644, UID: 1000, Data: []byte(us), Size: int64(len(us))})
		}},
		{true, "A5 ExecStartPre script 0777", func(tr *tree) {
			file(unit, 0o644, us+"ExecStartPre=/opt/pre.sh\n")(tr)
			tr.file("/opt/pre.sh", 0o777, "#!/bin/sh\n")
		}},
		{true, "A5 ExecStopPost script of user", func(tr *tree) {
			file(unit, 0o644, us+"ExecStopPost=/opt/post.sh\n")(tr)
			tr.put(node.Entry{Path: "/opt/post.sh", Kind: node.KindFile, Mode: 0o755, UID: 1000, Data: []byte("#!/bin/sh\n"), Size: 10})
		}},
		{true, "A5 cni conf dir", func(tr *tree) {
			tr.arg(t, k3s.APIServer, "egress-selector-config-file=/opt/e.yaml")
			tr.file("/opt/e.yaml", 0o666, "x")
		}},
		{true, "A6 env config", file(unit, 0o644, "[Service]\nEnvironment=K3S_CONFIG_FILE=/opt/o.yaml\nExecStart=/usr/local/bin/k3s server\n")},
		{true, "A6 unit -c", file(unit, 0o644, "[Service]\nExecStart=/usr/local/bin/k3s server -c /opt/o.yaml\n")},
		{true, "A6 anonymous in unit", file(unit, 0o644, "[Service]\nExecStart=/usr/local/bin/k3s server --kube-apiserver-arg=anonymous-auth=true\n")},
		{true, "A6 nsenter", file(unit, 0o644, "[Service]\nExecStart=/usr/bin/nsenter -t 1 -m /usr/local/bin/k3s server\n")},
		{true, "A6 sh -c", file(unit, 0o644, "[Service]\nExecStart=/bin/sh -c 'exec /usr/local/bin/k3s server --kube-apiserver-arg=profiling=true'\n")},
		{true, "A6 other k3s binary", file(unit, 0o644, "[Service]\nExecStart=/opt/k3s-1.20/k3s server --kube-apiserver-arg=profiling=true\n")},
		{false, "A6 plain", file(unit, 0o644, us)},
		{true, "A7 none all", func(tr *tree) {
			tr.file("/etc/rancher/k3s/audit.yaml", 0o600, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n")
		}},
		{true, "A7 none users authenticated", func(tr *tree) {
			tr.file("/etc/rancher/k3s/audit.yaml", 0o600, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n  userGroups: [\"system:authenticated\"]\n- level: Metadata\n")
		}},
		{false, "A7 usual noise", func(tr *tree) {
			tr.file("/etc/rancher/k3s/audit.yaml", 0o600, "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: None\n  users: [\"system:kube-proxy\"]\n  verbs: [watch]\n  resources: [{group: \"\", resources: [endpoints, services]}]\n- level: None\n  nonResourceURLs: [\"/healthz*\", /version]\n- level: Metadata\n")
		}},
		{true, "A8 dead link manifests", func(tr *tree) { tr.put(node.Entry{Path: m + "x.yaml", Kind: node.KindLink, Target: "/nowhere"}) }},
		{true, "A8 skip file", file(m+"k3s-cis-network-policies.yaml.skip", 0o600, "")},
		{true, "A8 broken yaml", file(m+"x.yaml", 0o600, "a: [\n")},
		{false, "A8 plain own manifest", file(m+"x.yaml", 0o600, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: default}\n")},
		{true, "A9 same name intra", file(m+"x.yaml", 0o600, strings.Replace(np("kube-system", "{podSelector: {matchLabels: {x: y}}, ingress: []}"), "name: own", "name: intra-namespace", 1))},
		{true, "A10 open []", file(m+"x.yaml", 0o600, np("default", "{podSelector: {}, ingress: [{}]}"))},
		{true, "A10 open from all ns", file(m+"x.yaml", 0o600, np("default", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"))},
		{true, "A10 open ipblock", file(m+"x.yaml", 0o600, np("default", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"))},
		{true, "A10 open ipblock halves", file(m+"x.yaml", 0o600, np("default", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/1}}, {ipBlock: {cidr: 128.0.0.0/1}}]}]}"))},
		{true, "A10 open expr", file(m+"x.yaml", 0o600, np("default", "{podSelector: {matchExpressions: [{key: x, operator: DoesNotExist}]}, ingress: [{}]}"))},
		{true, "A10 open ns expr", file(m+"x.yaml", 0o600, np("default", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: Exists}]}}]}]}"))},
		{true, "A10 open to all pods by address", file(m+"x.yaml", 0o600, np("default", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.42.0.0/16}}]}]}"))},
		{false, "A10 another network than the pods'", func(tr *tree) {
			drop("cluster-cidr: 172.20.0.0/16\n")(tr)
			tr.file(m+"x.yaml", 0o600, np("default", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}"))
		}},
		{false, "A10 one app", file(m+"x.yaml", 0o600, np("default", "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]}"))},
		{true, "A11 50-x.conf", file("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-x.conf", 0o600, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication: {anonymous: {enabled: true}}\n")},
		{true, "A11 readOnlyPort", file("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-x.conf", 0o600, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthorization: {mode: AlwaysAllow}\n")},
		{true, "A12 gate f", arg(k3s.Kubelet, "feature-gates=RotateKubeletServerCertificate=f")},
		{true, "A12 gate 0", arg(k3s.ControllerManager, "feature-gates=RotateKubeletServerCertificate=0")},
		{true, "A12 AllBeta", arg(k3s.Kubelet, "feature-gates=AllBeta=false")},
		{true, "A12 anonymous T", arg(k3s.APIServer, "anonymous-auth=T")},
		{true, "A12 profiling 1", arg(k3s.APIServer, "profiling=1")},
		{false, "A12 profiling F", arg(k3s.APIServer, "profiling=F")},
		{true, "A12 underscore flag", arg(k3s.APIServer, "anonymous_auth=true")},
		{true, "A14 node-label role", drop("node-label: [node-role.kubernetes.io/worker=true]\n")},
		{false, "A14 node-label own", drop("node-label: [rack=a1]\n")},
		{true, "A14 taint", drop("node-taint: [a=b:NoSched]\n")},
		{true, "A14 bad cidr flag", arg(k3s.APIServer, "service-cluster-ip-range=x")},
		{true, "A14 server http", drop("server: http://x:6443\n")},
		{true, "A15 agent unit", func(tr *tree) {
			file(unit, 0o644, us)(tr)
			tr.file("/etc/systemd/system/k3s-agent.service", 0o644, "[Service]\nExecStart=/usr/local/bin/k3s agent\n")
		}},
		{true, "kubeconfig mode 644", drop("write-kubeconfig-mode: \"644\"\n")},
		{true, "kubeconfig mode 0644 bare", drop("write-kubeconfig-mode: 0644\n")},
		{false, "kubeconfig mode 0600 bare", drop("write-kubeconfig-mode: 0600\n")},
		{false, "kubeconfig mode 600", drop("write-kubeconfig-mode: \"600\"\n")},
		{true, "kubeconfig mode +644", drop("write-kubeconfig-mode: \"+644\"\n")},
		{true, "kubeconfig group+640", drop("write-kubeconfig-mode: \"640\"\nwrite-kubeconfig-group: users\n")},
		{true, "env kubeconfig mode", file(unit, 0o644, us+"Environment=K3S_KUBECONFIG_MODE=644\n")},
		{true, "admission disable via k3s", drop("kube-apiserver-arg+: [disable-admission-plugins=PodSecurity]\n")},
		{true, "authz AlwaysAllow appended", drop("kube-apiserver-arg+: [authorization-mode=AlwaysAllow]\n")},
		{true, "token-auth-file", drop("kube-apiserver-arg+: [token-auth-file=/opt/t.csv]\n")},
		{true, "sysctl later", file("/etc/sysctl.d/99-z.conf", 0o644, "kernel.panic=0\n")},
		{true, "grub panic", func(tr *tree) {
			tr.file("/boot/grub/grub.cfg", 0o600, "linux /vmlinuz sysctl.vm.overcommit_memory=0\n")
		}},
		{true, "audit log to nowhere", arg(k3s.APIServer, "audit-log-path=/dev/null")},
		{true, "audit log gone at boot", arg(k3s.APIServer, "audit-log-path=/run/../run/k3s/audit.log")},
		{true, "rootless has another data directory", file(unit, 0o644, "[Service]\nExecStart=/usr/local/bin/k3s server --rootless\n")},
		{true, "rootless in config.yaml", drop("rootless: true\n")},
		{false, "rootless with the data directory", drop("rootless: true\ndata-dir: /var/lib/rancher/k3s\n")},
		{true, "etcd without TLS", drop("cluster-init: true\netcd-arg: [\"listen-client-urls=https://127.0.0.1:2379,http://0.0.0.0:2380\"]\n")},
		{true, "etcd peers without TLS", drop("cluster-init: true\netcd-arg: [listen-peer-urls=HTTP://0.0.0.0:2380]\n")},
		{false, "etcd listens elsewhere", drop("cluster-init: true\netcd-arg: [\"listen-client-urls=https://10.0.0.1:2379\"]\n")},
		{true, "an etcd of one's own without TLS", drop("datastore-endpoint: http://10.0.0.1:2379\n")},
		{true, "an etcd of one's own without a client's key", drop("datastore-endpoint: https://10.0.0.1:2379\ndatastore-cafile: /etc/ssl/etcd.pem\n")},
		{false, "a database of one's own", drop("datastore-endpoint: \"mysql://tcp(db:3306)/k3s\"\n")},
		{true, "etcd arg", func(tr *tree) { drop("cluster-init: true\netcd-arg: [auto-tls=true]\n")(tr) }},
		{true, "secrets-encryption off", drop("secrets-encryption: false\n")},
		{true, "protect off", drop("protect-kernel-defaults: false\n")},
		{true, "psa exempt typo", func(tr *tree) { tr.edit(t, "/etc/rancher/k3s/psa.yaml", "restricted", "privileged") }},
		{true, "unit RootDirectory", file(unit, 0o644, us+"RootDirectory=/opt/root\n")},
		{true, "unit BindPaths", file(unit, 0o644, us+"BindPaths=/opt/etc:/etc/rancher\n")},
		{true, "tmpfs unit", file(unit, 0o644, us+"TemporaryFileSystem=/var/lib/rancher\n")},
		{false, "install.sh unit", func(tr *tree) {
			tr.file(unit, 0o644, "[Unit]\nDescription=Lightweight Kubernetes\nWants=network-online.target\nAfter=network-online.target\n\n[Install]\nWantedBy=multi-user.target\n\n[Service]\nType=notify\nEnvironmentFile=-/etc/default/%N\nEnvironmentFile=-/etc/sysconfig/%N\nEnvironmentFile=-/etc/systemd/system/k3s.service.env\nKillMode=process\nDelegate=yes\nUser=root\nLimitNOFILE=1048576\nLimitNPROC=infinity\nLimitCORE=infinity\nTasksMax=infinity\nTimeoutStartSec=0\nRestart=always\nRestartSec=5s\nExecStartPre=/bin/sh -xc '! /usr/bin/systemctl is-enabled --quiet nm-cloud-setup.service 2>/dev/null'\nExecStartPre=-/sbin/modprobe br_netfilter\nExecStartPre=-/sbin/modprobe overlay\nExecStart=/usr/local/bin/k3s \\\n    server \\\n\n")
			tr.file(unit+".env", 0o600, "")
			tr.file("/usr/local/bin/k3s", 0o755, "x")
		}},
		{false, "killall + uninstall", func(tr *tree) {
			tr.file("/usr/local/bin/k3s-killall.sh", 0o755, "#!/bin/sh\nrm -rf /var/lib/cni/\nrm -rf /etc/rancher/k3s\n")
		}},
		{false, "rc.local empty", file("/etc/rc.local", 0o755, "#!/bin/sh -e\nexit 0\n")},
		{false, "rc.local iptables", file("/etc/rc.local", 0o755, "#!/bin/bash\niptables-restore < /etc/iptables/rules.v4\nfor i in 1 2 3; do echo $i; done\nexit 0\n")},
		{false, "unit wait for data", file("/etc/systemd/system/wait.service", 0o644, "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'until test -f /etc/rancher/k3s/config.yaml; do sleep 1; done'\n")},
		{false, "unit chmod certs 600", file("/etc/systemd/system/certs.service", 0o644, "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'find /var/lib/rancher/k3s/server/tls -name \"*.crt\" -exec chmod 600 {} +'\n")},
		{false, "unit backup etcd", file("/etc/systemd/system/backup.service", 0o644, "[Service]\nType=oneshot\nExecStart=/usr/bin/rsync -a /var/lib/rancher/k3s/server/db/ /backup/\n")},
		{false, "unit backup config", file("/etc/systemd/system/backup.service", 0o644, "[Service]\nType=oneshot\nExecStart=/bin/cp /etc/rancher/k3s/config.yaml /backup/\n")},
		{false, "cron etcd snapshot", file("/etc/cron.d/snap", 0o644, "0 3 * * * root /usr/local/bin/k3s etcd-snapshot save\n")},
		{false, "cron logrotate", file("/etc/cron.daily/logrotate", 0o755, "#!/bin/sh\n/usr/sbin/logrotate /etc/logrotate.conf\n")},
		{false, "cron rm audit log", file("/etc/cron.daily/audit", 0o755, "#!/bin/sh\nfind /var/lib/rancher/k3s/server/logs -name 'audit-*.log' -mtime +30 -delete\n")},
		{false, "tmpfiles k3s dirs", file("/etc/tmpfiles.d/k3s.conf", 0o644, "d /var/lib/rancher/k3s/server/logs 0700 root root -\nd /run/k3s 0711 root root -\n")},
		{false, "tmpfiles tighten", file("/etc/tmpfiles.d/k3s.conf", 0o644, "z /etc/rancher/k3s/config.yaml 0600 root root -\nZ /var/lib/rancher/k3s/server/manifests 0600 root root -\n")},
		{false, "tmpfiles sysctl right", file("/etc/tmpfiles.d/k3s.conf", 0o644, "w /proc/sys/vm/overcommit_memory - - - - 1\nw /sys/kernel/mm/transparent_hugepage/enabled - - - - never\n")},
		{false, "modprobe options", file("/etc/modprobe.d/x.conf", 0o644, "options nf_conntrack hashsize=32768\nblacklist pcspkr\ninstall usb-storage /bin/true\n")},
		{false, "cis modprobe installs", file("/etc/modprobe.d/cis.conf", 0o644, "install cramfs /bin/false\ninstall udf /bin/false\n")},
		{false, "udev nic", file("/etc/udev/rules.d/70.rules", 0o644, "SUBSYSTEM==\"net\", ACTION==\"add\", ATTR{address}==\"00:00\", NAME=\"eth0\"\nSUBSYSTEM==\"block\", ACTION==\"add\", RUN+=\"/sbin/blockdev --setra 4096 /dev/%k\"\n")},
		{false, "networkd dispatcher", file("/etc/networkd-dispatcher/routable.d/50", 0o755, "#!/bin/sh\nethtool -K eth0 tx-checksum-ip-generic off\n")},
		{false, "cloud.cfg.d datasource", file("/etc/cloud/cloud.cfg.d/99.cfg", 0o644, "datasource_list: [ NoCloud, Ec2 ]\ndatasource:\n  Ec2:\n    strict_id: false\n")},
		{false, "cloud.cfg.d disable network", file("/etc/cloud/cloud.cfg.d/99-n.cfg", 0o644, "network: {config: disabled}\nsystem_info: {default_user: {name: ubuntu}}\n")},
		{false, "cloud.cfg.d installer", file("/etc/cloud/cloud.cfg.d/99-i.cfg", 0o644, "users:\n- name: admin\n  lock_passwd: true\n  ssh_import_id: [gh:x]\nssh_pwauth: false\nruncmd:\n- [systemctl, enable, --now, k3s]\n")},
		{false, "environment locale", file("/etc/environment", 0o644, "PATH=\"/usr/local/sbin:/usr/local/bin\"\nLANG=en_US.UTF-8\n")},
		{false, "profile kubeconfig", file("/etc/profile.d/k3s.sh", 0o644, "export KUBECONFIG=/etc/rancher/k3s/k3s.yaml\nalias k=kubectl\n")},
		{false, "profile secret word", file("/etc/profile.d/x.sh", 0o644, "if [ -z \"$PASSWORD\" ]; then PASSWORD=; fi\n")},
		{false, "shadow locked", file("/etc/shadow", 0o640, "root:*:19000:0:99999:7:::\nubuntu:!:19000:0:99999:7:::\n")},
		{false, "docker config creds helper", file("/root/.docker/config.json", 0o600, "{\"credHelpers\": {\"x\": \"ecr-login\"}}")},
		{false, "ssh known_hosts", file("/root/.ssh/known_hosts", 0o600, "h ssh-ed25519 AAAA\n")},
		{false, "helmchart traefik config", file(m+"traefik-config.yaml", 0o600, "apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata: {name: traefik, namespace: kube-system}\nspec:\n  valuesContent: |-\n    logs: {general: {level: INFO}}\n    providers: {kubernetesCRD: {allowCrossNamespace: true}}\n")},
		{false, "helmchart w/ secretRef", file(m+"cm.yaml", 0o600, "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: cm, namespace: kube-system}\nspec:\n  repo: https://charts.jetstack.io\n  chart: cert-manager\n  authSecret: {name: s}\n  targetNamespace: cert-manager\n  set: {installCRDs: \"true\"}\n")},
		{false, "serviceaccount manifest", file(m+"sa.yaml", 0o600, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x, namespace: default}\nautomountServiceAccountToken: false\n")},
		{false, "registries mirror", file(k3s.RegistriesFile, 0o600, "mirrors:\n  docker.io:\n    endpoint: [\"https://mirror.example.org\"]\n")},
		{false, "containerd template", file("/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl", 0o600, "{{ template \"base\" . }}\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'nvidia']\n  runtime_type = \"io.containerd.runc.v2\"\n")},
		{false, "kubelet args usual", func(tr *tree) {
			tr.args(t, k3s.Kubelet, func(l []string) []string {
				return append(l, "max-pods=250", "kube-reserved=cpu=200m,memory=512Mi", "system-reserved=cpu=200m,memory=512Mi", "eviction-hard=memory.available<500Mi,nodefs.available<10%", "image-gc-high-threshold=80", "image-gc-low-threshold=70", "container-log-max-size=50Mi", "container-log-max-files=5", "node-status-update-frequency=10s", "v=2", "cgroup-driver=systemd")
			})
		}},
		{false, "kubelet serialize", func(tr *tree) {
			tr.args(t, k3s.Kubelet, func(l []string) []string {
				return append(l, "serialize-image-pulls=false", "topology-manager-policy=best-effort", "allowed-unsafe-sysctls=net.core.somaxconn", "cloud-provider=external", "provider-id=aws:///x/i-1")
			})
		}},
		{false, "apiserver usual", func(tr *tree) {
			tr.args(t, k3s.APIServer, func(l []string) []string {
				return append(l, "event-ttl=2h", "max-requests-inflight=800", "max-mutating-requests-inflight=400", "default-not-ready-toleration-seconds=30", "oidc-issuer-url=https://i.example.org", "oidc-client-id=k3s", "oidc-username-claim=email", "goaway-chance=0.001", "audit-log-mode=batch", "audit-log-format=json")
			})
		}},
		{false, "kcm usual", func(tr *tree) {
			tr.args(t, k3s.ControllerManager, func(l []string) []string {
				return append(l, "node-monitor-period=5s", "node-monitor-grace-period=20s", "bind-address=127.0.0.1", "node-cidr-mask-size=24", "v=1")
			})
		}},
		{false, "proxy usual", drop("kube-proxy-arg: [proxy-mode=ipvs, ipvs-scheduler=rr, metrics-bind-address=127.0.0.1:10249, conntrack-max-per-core=0]\n")},
		{false, "flannel wireguard", drop("flannel-backend: wireguard-native\nflannel-iface: eth0\n")},
		{false, "node ext", drop("node-external-ip: 203.0.113.1\nnode-ip: 10.0.0.1\nnode-label: [topology.kubernetes.io/zone=a, node.kubernetes.io/instance-type=x, env=prod]\nnode-taint: [dedicated=x:NoSchedule, \"CriticalAddonsOnly=true:NoExecute\"]\n")},
		{false, "tls-san", drop("tls-san: [k3s.example.org, 10.0.0.10]\nwrite-kubeconfig-mode: \"0600\"\n")},
		{false, "etcd snapshot", drop("cluster-init: true\netcd-snapshot-schedule-cron: \"0 */5 * * *\"\netcd-snapshot-retention: 12\netcd-expose-metrics: false\n")},
		{false, "join", drop("server: https://10.0.0.10:6443\ntoken-file: /run/k3s-token\n")},
		{false, "dual stack", drop("cluster-cidr: 10.42.0.0/16,2001:cafe:42::/56\nservice-cidr: 10.43.0.0/16,2001:cafe:43::/112\n")},
		{false, "no traefik", drop("disable: [traefik, servicelb, local-storage]\ndisable-cloud-controller: true\n")},
		{false, "journald conf", file("/etc/systemd/journald.conf.d/x.conf", 0o644, "[Journal]\nStorage=persistent\n")},
		{false, "fstab usual", file("/etc/fstab", 0o644, "UUID=1 / ext4 defaults 0 1\nUUID=2 /boot/efi vfat umask=0077 0 1\ntmpfs /tmp tmpfs defaults 0 0\n")},
		{false, "cloud-init growpart unit dropin", func(tr *tree) {
			tr.dir("/etc/systemd/system/cloud-init.service.d", 0o755)
			tr.file("/etc/systemd/system/cloud-init.service.d/x.conf", 0o644, "[Service]\nExecStartPre=/bin/true\n")
		}},
		{false, "ssh hostkeys unit", file("/etc/systemd/system/regenerate.service", 0o644, "[Service]\nType=oneshot\nExecStartPre=/bin/sh -c 'rm -f /etc/ssh/ssh_host_*'\nExecStart=/usr/bin/ssh-keygen -A\n")},
		{false, "machine id unit", file("/etc/systemd/system/mid.service", 0o644, "[Service]\nExecStart=/bin/sh -c 'echo uninitialized > /etc/machine-id'\n")},
		{false, "sysctl -p at boot", file("/etc/rc.local", 0o755, "#!/bin/sh\nsysctl -p\nsysctl --system\n")},
		{false, "sysctl other", file("/etc/rc.local", 0o755, "#!/bin/sh\nsysctl -w net.ipv4.ip_forward=1\nsysctl -w vm.overcommit_memory=1\n")},
		{false, "thp unit", file("/etc/systemd/system/thp.service", 0o644, "[Service]\nExecStart=/bin/sh -c 'echo never > /sys/kernel/mm/transparent_hugepage/enabled'\n")},
		{false, "boot writes node-ip dropin", file("/etc/systemd/system/ip.service", 0o644, "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo \"node-ip: $(hostname -I | cut -d\" \" -f1)\" > /etc/rancher/k3s/config.yaml.d/50-ip.yaml'\n")},
		{true, "boot writes whole dropin", file("/etc/rc.local", 0o755, "#!/bin/sh\ncat > /etc/rancher/k3s/config.yaml.d/50.yaml <<EOF\nkube-apiserver-arg: [v=2]\nEOF\n")},
		{true, "boot writes registries world readable", file("/etc/rc.local", 0o755, "#!/bin/sh\nchmod 0666 /etc/rancher/k3s/config.yaml\n")},
		{true, "script in opt chmods", func(tr *tree) {
			tr.file("/etc/systemd/system/x.service", 0o644, "[Service]\nExecStart=/opt/tune.sh\n")
			tr.file("/opt/tune.sh", 0o755, "#!/bin/bash\nsysctl -w kernel.panic=0\n")
		}},
		{true, "script via bash", func(tr *tree) {
			tr.file("/etc/cron.d/x", 0o644, "@reboot root bash /opt/tune.sh >/dev/null 2>&1\n")
			tr.file("/opt/tune.sh", 0o644, "chmod -R a+r /etc/rancher\n")
		}},
		{true, "tuned profile", file("/etc/tuned/k3s/tuned.conf", 0o644, "[main]\ninclude=throughput-performance\n[sysctl]\nvm.overcommit_memory=0\n")},
		{true, "systemd-run", file("/etc/rc.local", 0o755, "#!/bin/sh\nsystemd-run --unit=x sysctl -w vm.panic_on_oom=1\n")},
		{true, "xargs", file("/etc/rc.local", 0o755, "#!/bin/sh\nfind /etc/rancher -type f | xargs chmod 644\n")},
		{true, "heredoc sh", file("/etc/rc.local", 0o755, "#!/bin/sh\nsh <<EOF\nsysctl -w vm.panic_on_oom=1\nEOF\n")},
		{true, "sysctl.conf", file("/etc/sysctl.conf", 0o644, "vm.panic_on_oom=1\n")},
		{true, "timer unit", func(tr *tree) {
			tr.file("/etc/systemd/system/x.timer", 0o644, "[Timer]\nOnBootSec=1min\n")
			tr.file("/etc/systemd/system/x.service", 0o644, "[Service]\nExecStart=/usr/bin/chmod 0755 /var/lib/rancher/k3s/server\n")
		}},
		{true, "install -m", file("/etc/rc.local", 0o755, "#!/bin/sh\ninstall -m 644 /root/c.yaml /etc/rancher/k3s/config.yaml\n")},
		{true, "ln -sf", file("/etc/rc.local", 0o755, "#!/bin/sh\nln -sf /root/c.yaml /etc/rancher/k3s/config.yaml\n")},
		{true, "python one-liner", file("/etc/rc.local", 0o755, "#!/bin/sh\npython3 -c \"open('/etc/rancher/k3s/config.yaml','w').write('')\"\n")},
		{true, "kernel printf", file("/etc/rc.local", 0o755, "#!/bin/sh\nprintf 0 > /proc/sys/kernel/panic_on_oops\n")},
		{true, "dracut cmdline", file("/etc/rc.local", 0o755, "#!/bin/sh\nexec /sbin/sysctl -q kernel.panic=0\n")},
		{true, "function", file("/etc/rc.local", 0o755, "#!/bin/sh\nset_it() { sysctl -w \"$1=$2\"; }\nset_it kernel.panic 0\n")},
		{true, "loop var", file("/etc/rc.local", 0o755, "#!/bin/sh\nfor f in /etc/rancher/k3s/*.yaml; do chmod 644 \"$f\"; done\n")},
		{true, "loop kv", file("/etc/rc.local", 0o755, "#!/bin/sh\nfor kv in vm.overcommit_memory=0 kernel.panic=0; do sysctl -w $kv; done\n")},
	}
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
			if x.bad {
				assert.NotEmpty(t, got)
			} else {
				assert.Empty(t, got)
			}
		})
	}
}

const setuid = fs.ModeSetuid
