package benchmark_test

import (
	"io/fs"
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// TestWhatElsePeopleHave: hooks of upgrades and logins, keys and passwords of the
// system's own, and values of K3s's that are nearly right.
func TestWhatElsePeopleHave(t *testing.T) {
	drop := k3s.ConfigFile + ".d/50-x.yaml"
	m := "/var/lib/rancher/k3s/server/manifests/"
	u := func(s string) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) { tr.file(k3sUnit, 0o644, s) }
	}
	mode := func(p string, md fs.FileMode, text string) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) { tr.file(p, md, text) }
	}
	arg := func(c k3s.Component, a string) func(*testing.T, *tree) {
		return func(t *testing.T, tr *tree) { tr.arg(t, c, a) }
	}
	np := func(ns, spec string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: own, namespace: " + ns + "}\nspec: " + spec + "\n"
	}
	list := []neighbour{
		{"apt hook chmods config", true, laid("/etc/apt/apt.conf.d/99", "DPkg::Post-Invoke {\"chmod 644 /etc/rancher/k3s/config.yaml\"; };\n")},
		{"apt docker-clean", false, laid("/etc/apt/apt.conf.d/docker-clean", "DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true\"; };\nAPT::Update::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb || true\"; };\nDir::Cache::pkgcache \"\"; Dir::Cache::srcpkgcache \"\";\n")},
		{"apt periodic stock", false, laid("/etc/apt/apt.conf.d/20auto-upgrades", "APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n", "/etc/apt/apt.conf.d/70debconf", "// Pre-configure all packages with debconf before they are installed.\nDPkg::Pre-Install-Pkgs {\"/usr/sbin/dpkg-preconfigure --apt || true\";};\n")},
		{"apt proxy with password", true, laid("/etc/apt/apt.conf.d/01proxy", "Acquire::http::Proxy \"http://u:pw@proxy:3128\";\n")},
		{"apt hook script of own", true, laid("/etc/apt/apt.conf.d/99", "APT::Update::Pre-Invoke {\"/opt/hook.sh\"; };\n", "/opt/hook.sh", "#!/bin/sh\nsysctl -w kernel.panic=0\n")},
		{"profile bash completion", false, laid("/etc/profile.d/bash_completion.sh", "if [ \"x${BASH_VERSION-}\" != x -a \"x${PS1-}\" != x ]; then\n . /usr/share/bash-completion/bash_completion\nfi\n")},
		{"profile alias and kubeconfig", false, laid("/etc/profile.d/k3s.sh", "export KUBECONFIG=/etc/rancher/k3s/k3s.yaml\nalias k=kubectl\n")},
		{"profile chmod kubeconfig", true, laid("/etc/profile.d/k3s.sh", "sudo chmod 644 /etc/rancher/k3s/k3s.yaml\n")},
		{"root bashrc rm alias", false, laid("/root/.bashrc", "alias rm='rm -i'\nalias cp='cp -i'\n. /etc/bashrc\n")},
		{"motd stock", false, func(_ *testing.T, tr *tree) {
			tr.file("/etc/update-motd.d/00-header", 0o755, "#!/bin/sh\n[ -r /etc/lsb-release ] && . /etc/lsb-release\nprintf \"Welcome to %s\\n\" \"$DISTRIB_DESCRIPTION\"\n")
		}},
		{"pam stock", false, laid("/etc/pam.d/common-session", "session [default=1] pam_permit.so\nsession required pam_unix.so\n")},
		{"keepalived notify kills manifests", true, laid("/etc/keepalived/keepalived.conf", "vrrp_instance x {\n notify \"/opt/n.sh\"\n}\n", "/opt/n.sh", "#!/bin/bash\nrm -rf /var/lib/rancher/k3s/server/manifests\n")},
		{"keepalived check stock", false, laid("/etc/keepalived/keepalived.conf", "vrrp_script chk {\n script \"/usr/bin/curl -sfk https://localhost:6443/livez\"\n interval 3\n}\n")},
		{"conf.d plain", false, laid("/etc/conf.d/net", "hostname=\"x\"\nrc_need=\"localmount\"\n")},
		{"wireguard conf psk from file", false, laid("/etc/wireguard/wg0.conf", "[Interface]\nAddress = 10.0.0.1/24\nPostUp = wg set %i private-key <(cat /run/key)\n")},
		{"netplan eap password", true, laid("/etc/netplan/01.yaml", "network: {wifis: {w: {access-points: {a: {auth: {key-management: eap, identity: a, password: b}}}}}}\n")},
		{"netplan broken yaml", true, laid("/etc/netplan/01.yaml", "network:\n\t- x: [\n")},
		{"gce key for gcloud in /root", true, laid("/root/key.json", `{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nMII"}`)},
		{"large json in root", false, func(_ *testing.T, tr *tree) {
			tr.put(node.Entry{Path: "/root/big.json", Kind: node.KindFile, Mode: 0o600, Size: 5 << 20, Unread: node.UnreadLarge})
		}},
		{"private key named without suffix in home", true, laid("/root/deploy_key", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n")},
		{"kubeconfig in /etc/kubernetes", true, laid("/etc/kubernetes/admin.conf", "kind: Config\nusers:\n- user:\n    client-key-data: QUJD\n")},
		{"cloud-init log random", true, laid("/var/log/cloud-init-output.log", "Set the following 'random' passwords\nroot:abc\n")},
		{"install log plain", false, laid("/var/log/installer/syslog", "Jan 1 x main-menu: DEBUG\n", "/var/log/cloud-init.log", "2026 - util.py[DEBUG]: Running command ['systemd-detect-virt']\n")},
		{"env github token", true, laid("/etc/environment", "GH_TOKEN=ghp_abc\n")},
		{"env lang", false, laid("/etc/environment", "LANG=C.UTF-8\nPATH=\"/usr/local/sbin:/bin\"\n")},
		{"systemd unit with secret env for another program", true, laid("/etc/systemd/system/app.service", "[Service]\nEnvironment=DB_PASSWORD=hunter2\nExecStart=/usr/bin/true\n")},
		{"script with token from metadata", false, laid("/etc/systemd/system/app.service", "[Service]\nExecStart=/opt/app.sh\n", "/opt/app.sh", "#!/bin/bash\nTOKEN=$(curl -X PUT http://169.254.169.254/latest/api/token)\nREGION=\"x\"\nexport AWS_TOKEN=\"$TOKEN\"\n")},
		{"node-name underscore by env", true, u("[Service]\nEnvironment=K3S_NODE_NAME=a_b\nExecStart=/usr/local/bin/k3s server\n")},
		{"node-name upper", false, laid(drop, "node-name: Edge1\n")},
		{"hostname-override underscore", true, arg(k3s.Kubelet, "hostname-override=a_b")},
		{"cluster-cidr too small", true, laid(drop, "cluster-cidr: 10.42.0.0/25\n")},
		{"cluster-cidr dual", false, laid(drop, "cluster-cidr: 10.42.0.0/16,fd00:42::/56\nservice-cidr: 10.43.0.0/16,fd00:43::/112\nnode-ip: 10.0.0.1,fd00::1\n")},
		{"service-cidr dual without cluster dual", false, laid(drop, "service-cidr: 10.43.0.0/16,fd00:43::/112\n")},
		{"overlapping cidrs", false, laid(drop, "cluster-cidr: 10.42.0.0/16\nservice-cidr: 10.42.128.0/20\n")},
		{"a large service-cidr of v6", false, laid(drop, "cluster-cidr: fd00:42::/56\nservice-cidr: fd00:43::/64\nnode-ip: fd00::1\n")},
		{"cluster-dns outside service-cidr", false, laid(drop, "cluster-dns: 192.168.1.1\n")},
		{"kcm mask 40", true, arg(k3s.ControllerManager, "node-cidr-mask-size=40")},
		{"max-pods over mask", false, arg(k3s.Kubelet, "max-pods=250")},
		{"bad datastore", true, laid(drop, "datastore-endpoint: postgrs://db/k3s\n")},
		{"etcd-snapshot-retention negative", false, laid(drop, "cluster-init: true\netcd-snapshot-retention: 0\n")},
		{"cron 25", true, laid(drop, "cluster-init: true\netcd-snapshot-schedule-cron: \"0 25 * * *\"\n")},
		{"server without token", false, laid(drop, "server: https://10.0.0.1:6443\n")},
		{"tls-san with scheme", false, laid(drop, "tls-san: [k3s.example.org, 10.0.0.1]\n")},
		{"advertise-address bad", true, laid(drop, "advertise-address: host.example.org\n")},
		{"kubelet cpu reserve", false, arg(k3s.Kubelet, "system-reserved=cpu=200m,memory=200Mi")},
		{"kubelet eviction hard bad", true, arg(k3s.Kubelet, "eviction-hard=memory.available<lots")},
		{"kubelet max-pods bad", true, arg(k3s.Kubelet, "max-pods=many")},
		{"apiserver etcd-servers override", true, arg(k3s.APIServer, "etcd-servers=http://evil:2379")},
		{"apiserver request-timeout", false, arg(k3s.APIServer, "request-timeout=300s")},
		{"apiserver kubelet https disabled cert authority", true, arg(k3s.APIServer, "kubelet-certificate-authority=")},
		{"apiserver anonymous true", true, arg(k3s.APIServer, "anonymous-auth=true")},
		{"apiserver enable aggregator proxies", false, arg(k3s.APIServer, "v=2")},
		{"apiserver secure-port 0", true, arg(k3s.APIServer, "secure-port=0")},
		{"apiserver token file", true, arg(k3s.APIServer, "token-auth-file=/etc/tokens.csv")},
		{"kubelet read only port", true, arg(k3s.Kubelet, "read-only-port=10255")},
		{"kubelet authorization mode", true, arg(k3s.Kubelet, "authorization-mode=AlwaysAllow")},
		{"kubelet config file of own opens", true, func(t *testing.T, tr *tree) {
			tr.file("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/99-open.conf", 0o600, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication: {anonymous: {enabled: true}}\n")
		}},
		{"kubelet conf json drop-in", true, func(t *testing.T, tr *tree) {
			tr.file("/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/99-open.conf", 0o600, `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","readOnlyPort":10255}`)
		}},
		{"config with tabs", true, laid(drop, "node-label:\n\t- a=b\n")},
		{"config with dup keys", true, laid(drop, "disable: traefik\ndisable: k3s-cis-network-policies\n")},
		{"config with merge key", true, laid(drop, "a: &a {disable-network-policy: true}\n<<: *a\n")},
		{"config uppercase ext", true, laid(k3s.ConfigFile+".d/50-x.YAML", "disable-network-policy: true\n")},
		{"config BOM", true, laid(drop, "\ufeffdisable-network-policy: true\n")},
		{"config second document", true, laid(drop, "node-label: [a=b]\n---\ndisable-network-policy: true\n")},
		{"config env substitution", true, laid(drop, "kube-apiserver-arg+: [\"anonymous-auth=true \"]\n")},
		{"np allow all in own file as List", true, laid(m+"a.yaml", "apiVersion: v1\nkind: List\nitems:\n- "+"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: o, namespace: default}, spec: {podSelector: {}, ingress: [{}], policyTypes: [Ingress]}}\n")},
		{"np allow same ns", false, laid(m+"a.yaml", np("default", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}], policyTypes: [Ingress]}"))},
		{"np from any namespaces", true, laid(m+"a.yaml", np("default", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}, {ipBlock: {cidr: 0.0.0.0/0}}]}], policyTypes: [Ingress]}"))},
		{"np two halves of the internet", true, laid(m+"a.yaml", np("default", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}, {ipBlock: {cidr: 0.0.0.0/1}}, {ipBlock: {cidr: 128.0.0.0/1}}]}], policyTypes: [Ingress]}"))},
		{"skip file for ours", true, laid(m+"k3s-cis-network-policies.yaml.skip", "")},
		{"manifest with unknown kind", false, laid(m+"a.yaml", "apiVersion: example.org/v1\nkind: Foo\nmetadata: {name: a}\n")},
		{"manifest deletes psa ns label", true, laid(m+"a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {pod-security.kubernetes.io/enforce: privileged}}\n")},
		{"unit mode 0666", true, mode(k3sUnit, 0o666, k3sStarts)},
		{"unit with User=", true, u("[Service]\nUser=k3s\nExecStart=/usr/local/bin/k3s server\n")},
		{"unit with ExecStartPre sed", true, u("[Service]\nExecStartPre=/bin/sed -i s/a/b/ /etc/rancher/k3s/config.yaml\nExecStart=/usr/local/bin/k3s server\n")},
		{"unit after network", false, u("[Unit]\nWants=network-online.target\nAfter=network-online.target\n[Service]\nType=notify\nExecStartPre=-/sbin/modprobe br_netfilter\nExecStart=/usr/local/bin/k3s server\n[Install]\nWantedBy=multi-user.target\n")},
		{"unit conflicts", false, u("[Unit]\nConflicts=shutdown.target\n[Service]\nExecStart=/usr/local/bin/k3s server\n")},
		{"generator replaces unit", true, mode("/etc/systemd/system-generators/x", 0o755, "#!/bin/sh\ncat > /etc/rancher/k3s/config.yaml.d/99.yaml <<E\ndisable-network-policy: true\nE\n")},
		{"sysctl later wins", true, laid("/etc/sysctl.d/99-z.conf", "vm.overcommit_memory=0\n")},
		{"sysctl spelled with slash", true, laid("/etc/sysctl.d/99-z.conf", "vm/overcommit_memory = 0\n")},
		{"sysctl unrelated", false, laid("/etc/sysctl.d/99-z.conf", "net.ipv4.ip_forward=1\nfs.inotify.max_user_instances=1024\n")},
		{"grub cmdline sysctl", true, laid("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"sysctl.vm.overcommit_memory=0\"\n")},
		{"logrotate postrotate chmod", true, laid("/etc/logrotate.d/k3s", "/var/log/k3s.log {\n postrotate\n chmod 644 /etc/rancher/k3s/config.yaml\n endscript\n}\n")},
		{"etc profile stock", false, laid("/etc/profile", "if [ \"$(id -u)\" -eq 0 ]; then\n PATH=\"/usr/local/sbin:/bin\"\nfi\nexport PATH\nif [ -d /etc/profile.d ]; then\n for i in /etc/profile.d/*.sh; do\n  if [ -r $i ]; then . $i; fi\n done\nfi\n")},
		{"root crontab token", true, laid("/var/spool/cron/crontabs/root", "@reboot K3S_TOKEN=abc /opt/join.sh\n")},
		{"at job", true, mode("/var/spool/cron/atjobs/a0001", 0o700, "#!/bin/sh\nsysctl -w kernel.panic=0\n")},
		{"AuthorizedKeysCommand", false, laid("/etc/ssh/sshd_config", "AuthorizedKeysCommand /usr/bin/sss_ssh_authorizedkeys\nAuthorizedKeysCommandUser nobody\n")},
		{"doas nopass", true, laid("/etc/doas.d/p.conf", "permit nopass packer\n", "/etc/passwd", "root:x:0:0::/root:/bin/sh\npacker:x:1000:1000::/home/packer:/bin/sh\n")},
		{"second uid 0", true, laid("/etc/passwd", "root:x:0:0::/root:/bin/sh\nadm2:x:0:0::/home/adm2:/bin/sh\n", "/etc/shadow", "root:*:1::::::\nadm2:$6$abc$defdefdefdefdefdefdef:1::::::\n")},
		{"yescrypt shadow", true, laid("/etc/shadow", "root:$y$j9T$abc$def:19000:0:99999:7:::\n")},
		{"polkit rule", false, laid("/etc/polkit-1/rules.d/49.rules", "polkit.addRule(function(a,s){ return polkit.Result.NO; });\n")},
	}
	judge(t, list)
}
