package benchmark_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// stockCloudConfig is what distributions ship.
const stockCloudConfig = `users:
- default
disable_root: true
system_info:
  default_user:
    name: debian
    lock_passwd: True
    sudo: ["ALL=(ALL) NOPASSWD:ALL"]
    shell: /bin/bash
  ssh_svcname: ssh
`

// TestPlacesOfSecrets: each place in which builds leave secrets, what beside it
// is none, and that no report shows a value.
func TestPlacesOfSecrets(t *testing.T) {
	const manifests = "/var/lib/rancher/k3s/server/manifests/"
	const hash = "$6$saltsalt$abcdefghijklmnopqrstuvwxyz"
	for _, c := range []struct {
		file, text, control string
		bad                 bool
	}{
		{"/etc/cloud/cloud.cfg.d/9.cfg", "runcmd:\n- K3S_TOKEN=S3CR3T sh install.sh\n", "config-secrets", true},
		{"/etc/cloud/cloud.cfg.d/9.cfg", "write_files:\n- path: /etc/rancher/k3s/config.yaml\n  content: |\n    token: S3CR3T\n", "config-secrets", true},
		{"/etc/cloud/cloud.cfg.d/9.cfg", "chpasswd:\n  list:\n  - root\npassword: S3CR3T\n", "config-secrets", true},
		{"/var/lib/cloud/seed/nocloud-net/user-data", "#!/bin/sh\nexport K3S_AGENT_TOKEN='S3CR3T'\n", "config-secrets", true},
		{"/var/lib/cloud/seed/nocloud/user-data", "#cloud-config\nhostname: x\n", "config-secrets", false},
		{"/etc/cloud/cloud.cfg.d/9.cfg", "runcmd:\n- K3S_TOKEN=$(cat /run/token) sh install.sh\n# K3S_TOKEN=S3CR3T\n- K3S_URL=https://k3s:6443 true\n", "config-secrets", false},
		{"/etc/cloud/cloud.cfg.d/9.cfg", stockCloudConfig, "config-secrets", false},
		{manifests + "s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {p: S3CR3T}\n", "config-secrets", true},
		{manifests + "s.yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: x}\n  data: {p: UzNDUjNU}\n", "config-secrets", true},
		{manifests + "s.yaml", "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\nmetadata: {name: x, annotations: {kubernetes.io/service-account.name: x}}\n", "config-secrets", false},
		{manifests + "s.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  key: |\n    -----BEGIN RSA PRIVATE KEY-----\n", "config-secrets", true},
		{manifests + "s.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {auth: basic, secret: name}\n", "config-secrets", false},
		{"/etc/environment", "PATH=/bin\nK3S_TOKEN=S3CR3T\n", "environment-secrets", true},
		{"/etc/environment", "HTTPS_PROXY=http://u:S3CR3T@proxy:3128\n", "environment-secrets", true},
		{"/etc/environment", "PATH=/bin\nK3S_URL=https://k3s:6443\nHTTPS_PROXY=http://proxy:3128\n", "environment-secrets", false},
		{"/etc/profile.d/k3s.sh", "export K3S_TOKEN=\"S3CR3T\"\n", "environment-secrets", true},
		{"/etc/profile.d/k3s.sh", "export K3S_TOKEN=$(cat /x)\nexport KUBECONFIG=/etc/rancher/k3s/k3s.yaml\n", "environment-secrets", false},
		{"/etc/environment.d/9.conf", "K3S_TOKEN=S3CR3T\n", "environment-secrets", true},
		{"/etc/systemd/system.conf.d/9.conf", "[Manager]\nDefaultEnvironment=K3S_TOKEN=S3CR3T\n", "service-secrets", true},
		{"/etc/systemd/system.conf.d/9.conf", "[Manager]\nDefaultEnvironment=K3S_DEBUG=true\n", "service-secrets", false},
		{"/var/lib/rancher/k3s/agent/etc/containerd/config.toml.tmpl", "[plugins.x.auth]\n  username = \"u\"\n  password = \"S3CR3T\"\n", "registry-secrets", true},
		{"/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl", "{{ template \"base\" . }}\n[x]\n  auth = 'S3CR3T'\n", "registry-secrets", true},
		{"/var/lib/rancher/k3s/agent/etc/containerd/certs.d/r/hosts.toml", "[host.x.header]\n  Authorization = [\"Basic S3CR3T\"]\n", "registry-secrets", true},
		{"/var/lib/rancher/k3s/agent/etc/containerd/config.toml.tmpl", "{{ range $k, $v := .PrivateRegistryConfig.Configs }}\n  password = {{ printf \"%q\" .Auth.Password }}\n{{ end }}\n  password = \"{{ .Auth.Password }}\"\n", "registry-secrets", false},
		{"/etc/shadow", "root:" + hash + ":19000:0:99999:7:::\n", "access", true},
		{"/etc/shadow", "packer::19000:0:99999:7:::\n", "access", true},
		{"/etc/shadow-", "root:*:19000::::::\npacker:" + hash + ":19000:0:99999:7:::\n", "access", true},
		{"/etc/shadow-", "root::19000:0:99999:7:::\ndaemon:*:1::::::\n", "access", false},
		{"/etc/shadow", "root:*:19000:0:99999:7:::\ndaemon:!:1::::::\npacker:!" + hash + ":19000:0:99999:7:::\nsshd:!*:1::::::\nx:!!:1::::::\n", "access", false},
		{"/etc/sudoers.d/packer", "packer ALL=(ALL) NOPASSWD: ALL\n", "access", true},
		{"/etc/sudoers.d/90", "%wheel ALL=(ALL:ALL) NOPASSWD:SETENV:ALL\n", "access", true},
		{"/etc/sudoers", "# %wheel ALL=(ALL) NOPASSWD: ALL\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n", "access", false},
		{"/etc/sudoers.d/90-cloud-init-users", "debian ALL=(ALL) NOPASSWD:ALL\n", "access", false},
		{"/etc/sudoers.d/gone", "vagrant ALL=(ALL) NOPASSWD: ALL\n", "access", false},
		{"/etc/sudoers.d/zabbix", "packer ALL=(root) NOPASSWD: /usr/bin/iostat\n", "access", false},
		{"/etc/sudoers.d/x.rpmsave", "packer ALL=(ALL) NOPASSWD: ALL\n", "access", false},
		{"/etc/doas.d/p.conf", "permit nopass keepenv packer\n", "access", true},
		{"/etc/doas.conf", "permit nopass :wheel as root\n", "access", true},
		{"/etc/doas.conf", "permit setenv { LANG } nopass nolog packer\n", "access", true},
		{"/etc/doas.d/p.conf", "permit persist packer\npermit nopass packer as www\npermit nopass packer cmd reboot\npermit nopass root\npermit nopass gone\n# permit nopass packer\n", "access", false},
		{"/root/deploy_key", "-----BEGIN OPENSSH PRIVATE KEY-----\nS3CR3T\n", "access", true},
		{"/root/monkey.txt", "banana\n", "access", false},
		{"/etc/kubernetes/admin.conf", "kind: Config\nusers:\n- user:\n    client-key-data: S3CR3T\n", "system-secrets", true},
		{"/root/.docker/config.json", `{"auths": {"r": {"auth": "S3CR3T"}}}`, "access", true},
		{"/home/packer/.docker/config.json", `{"auths": {}, "credsStore": "x"}`, "access", false},
		{"/root/.npmrc", "//r/:_authToken=S3CR3T\n", "access", true},
		{"/root/.npmrc", "registry=https://r/\n//r/:_authToken=${TOKEN}\n", "access", false},
		{"/home/packer/.config/pip/pip.conf", "[global]\nindex-url = https://u:S3CR3T@r/simple\n", "access", true},
		{"/home/packer/.config/pip/pip.conf", "[global]\nindex-url = https://r/simple\n", "access", false},
		{"/home/packer/.ssh/deploy", "-----BEGIN OPENSSH PRIVATE KEY-----\nS3CR3T\n", "access", true},
		{"/home/packer/.ssh/id_rsa.pub", "ssh-rsa AAAA\n", "access", false},
		{"/root/.vault-token", "S3CR3T", "access", true},
		{"/root/terraform-sa.json", "{\n \"type\": \"service_account\",\n \"private_key\": \"-----BEGIN PRIVATE KEY-----\\nS3CR3T\"\n}", "access", true},
		{"/home/packer/key.json", `{"type":"service_account","private_key":"-----BEGIN PRIVATE KEY-----\nS3CR3T"}`, "access", true},
		{"/root/package.json", `{"type": "module", "private": true}`, "access", false},
		{"/root/deploy.pem", "-----BEGIN RSA PRIVATE KEY-----\nS3CR3T\n", "access", true},
		{"/root/ca.pem", "-----BEGIN CERTIFICATE-----\nx\n", "access", false},
		{"/root/prod-kubeconfig", "kind: Config\nusers:\n- user:\n    token: S3CR3T\n", "access", true},
		{"/root/prod.yaml", "kind: Config\nusers:\n- user: \n    client-key-data: UzNDUjNU\n", "access", true},
		{"/root/values.yaml", "image: {tag: v1}\n", "access", false},
		{"/root/.aws/config", "[default]\nregion = x\naws_secret_access_key = S3CR3T\n", "access", true},
		{"/root/.aws/config", "[default]\nregion = x\n", "access", false},
		{"/root/.my.cnf", "[client]\nuser = x\npassword = S3CR3T\n", "access", true},
		{"/root/.pgpass", "# host\ndb:5432:*:k3s:S3CR3T\n", "access", true},
		{"/root/.m2/settings.xml", "<server><password>S3CR3T</password></server>", "access", true},
		{"/root/.m2/settings.xml", "<server><password>${env.PASSWORD}</password></server>", "access", false},
		{"/root/.cargo/credentials.toml", "[registry]\ntoken = \"S3CR3T\"\n", "access", true},
		{"/home/packer/.bashrc", "alias ll='ls -l'\nexport GITHUB_TOKEN=S3CR3T\n", "access", true},
		{"/home/packer/.bashrc", "alias ll='ls -l'\nexport GITHUB_TOKEN=$(cat /run/t)\nexport K3S_TOKEN_FILE=/x\n", "access", false},
		{"/home/packer/.gnupg/private-keys-v1.d/A.key", "S3CR3T", "access", true},
		{"/etc/ssh/authorized_keys/packer", "ssh-ed25519 AAAA build\n", "access", true},
		{"/etc/ssh/authorized_keys/packer", "", "access", false},
		{"/etc/ssh/authorized_keys.d/ignition", "ssh-ed25519 AAAA build\n", "access", true},
		{"/root/.ssh/authorized_keys.d/coreos-ignition", "ssh-ed25519 AAAA build\n", "access", true},
		{"/etc/apt/auth.conf.d/9.conf", "machine r login u password S3CR3T\n", "system-secrets", true},
		{"/etc/apt/auth.conf.d/9.conf", "# machine r login u password x\n", "system-secrets", false},
		{"/etc/apt/sources.list.d/x.list", "deb https://u:S3CR3T@r/ stable main\n", "system-secrets", true},
		{"/etc/apt/sources.list.d/x.list", "deb https://r/ stable main\n", "system-secrets", false},
		{"/etc/yum.repos.d/x.repo", "[x]\nbaseurl=https://r/\nusername=u\npassword=S3CR3T\n", "system-secrets", true},
		{"/etc/yum.repos.d/x.repo", "[x]\nbaseurl=https://r/\ngpgcheck=1\n", "system-secrets", false},
		{"/etc/pki/entitlement/123-key.pem", "-----BEGIN PRIVATE KEY-----\nS3CR3T\n", "system-secrets", true},
		{"/var/lib/ubuntu-advantage/private/machine-token.json", `{"machineToken": "S3CR3T"}`, "system-secrets", true},
		{"/etc/sssd/sssd.conf", "[domain/x]\nldap_default_authtok = S3CR3T\n", "system-secrets", true},
		{"/etc/postfix/sasl_passwd", "[smtp.x]:587 u:S3CR3T\n", "system-secrets", true},
		{"/etc/fstab", "//nas/x /mnt cifs user=u,password=S3CR3T 0 0\n", "system-secrets", true},
		{"/etc/fstab", "UUID=1 / ext4 defaults 0 1\n//nas/x /mnt cifs credentials=/run/nas 0 0\n", "system-secrets", false},
		{"/etc/salt/pki/minion/minion.pem", "-----BEGIN RSA PRIVATE KEY-----\nS3CR3T\n", "system-secrets", true},
		{"/etc/netplan/50.yaml", "network:\n  wifis:\n    wlan0:\n      access-points:\n        \"x\": {password: \"S3CR3T\"}\n", "system-secrets", true},
		{"/etc/netplan/50.yaml", "network:\n  tunnels:\n    wg0:\n      mode: wireguard\n      key: 4GgaQCy68nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8=\n", "system-secrets", true},
		{"/etc/netplan/50.yaml", "network:\n  tunnels:\n    wg0:\n      mode: wireguard\n      keys: {private: /run/wg.key}\n      peers: [{keys: {public: 4GgaQCy68nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8=}}]\n    gre0: {mode: gre, key: 1234}\n", "system-secrets", false},
		{"/etc/netplan/50.yaml", "network: {version: 2, ethernets: {eth0: {dhcp4: true}}}\n", "system-secrets", false},
		{"/boot/firmware/network-config", "wifis: {wlan0: {access-points: {x: {password: S3CR3T}}}}\n", "system-secrets", true},
		{"/etc/wireguard/wg0.conf", "[Interface]\nPrivateKey = S3CR3T+4GgaQCy68nzNsUE5aJ9fu=\n", "system-secrets", true},
		{"/etc/wireguard/wg0.conf", "[Interface]\nPostUp = wg set %i private-key /run/wg.key\n[Peer]\nPublicKey = 4GgaQCy68nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8=\n", "system-secrets", false},
		{"/etc/wireguard/privatekey", "4GgaQCy68nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8=\n", "system-secrets", true},
		{"/etc/wireguard/publickey", "4GgaQCy68nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8=\n", "system-secrets", false},
		{"/etc/NetworkManager/system-connections/x.nmconnection", "[wifi-security]\nkey-mgmt=wpa-psk\npsk=S3CR3T\n", "system-secrets", true},
		{"/etc/NetworkManager/system-connections/x.nmconnection", "[wifi-security]\nkey-mgmt=wpa-psk\npsk-flags=1\n[802-1x]\nprivate-key=/etc/ssl/k.pem\n", "system-secrets", false},
		{"/etc/wpa_supplicant/wpa_supplicant-wlan0.conf", "network={\n  ssid=\"x\"\n  psk=\"S3CR3T\"\n}\n", "system-secrets", true},
		{"/etc/wpa_supplicant/wpa_supplicant-wlan0.conf", "network={\n  ssid=\"x\"\n  psk=ext:home\n}\n", "system-secrets", false},
		{"/etc/systemd/network/9.netdev", "[NetDev]\nKind=wireguard\n[WireGuard]\nPrivateKey=4GgaS3CR3T8nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8=\n", "system-secrets", true},
		{"/etc/systemd/network/9.netdev", "[NetDev]\nKind=wireguard\n[WireGuard]\nPrivateKey=@network.wireguard.key\nPrivateKeyFile=/run/wg.key\n[Tunnel]\nKey=1\n", "system-secrets", false},
		{"/etc/systemd/network/9.netdev.d/k.conf", "[WireGuard]\nPrivateKey=4GgaS3CR3T8nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8=\n", "system-secrets", true},
		{"/etc/ipsec.secrets", "# x : PSK \"y\"\na b : PSK \"S3CR3T\"\n", "system-secrets", true},
		{"/etc/ipsec.secrets", "# x : PSK \"y\"\ninclude /run/ipsec.secrets\n", "system-secrets", false},
		{"/etc/ppp/chap-secrets", "# client\tserver\tsecret\tIP addresses\nu * S3CR3T *\n", "system-secrets", true},
		{"/etc/ppp/chap-secrets", "# client\tserver\tsecret\tIP addresses\n", "system-secrets", false},
		{"/boot/firmware/userconf.txt", "pi:" + hash + "\n", "system-secrets", true},
		{"/var/cache/debconf/passwords.dat", "Name: passwd/root-password\nTemplate: passwd/root-password\nValue: S3CR3T\nOwners: d-i\n", "logs", true},
		{"/var/cache/debconf/passwords.dat", "Name: passwd/root-password\nTemplate: passwd/root-password\nValue: \nOwners: d-i\nFlags: seen\n", "logs", false},
		{"/var/log/installer/cdebconf/questions.dat", "Name: passwd/user-password-crypted\nTemplate: x\nValue: " + hash + "\n", "logs", true},
		{"/var/log/installer/cdebconf/questions.dat", "Name: passwd/allow-password-empty\nValue: false\n\nName: netcfg/get_hostname\nValue: x\n", "logs", false},
		{"/var/log/installer/cdebconf/questions.dat", "Name: user-setup/password-weak\nValue: false\n", "logs", false},
		{"/var/log/cloud-init-output.log", "Cloud-init v. 23\nSet the following 'random' passwords\nroot:S3CR3T\n", "logs", true},
		{"/var/log/cloud-init-output.log", "+ export K3S_TOKEN=S3CR3T\n", "logs", true},
		{"/var/log/cloud-init-output.log", "Cloud-init v. 23 running\n-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAA\n", "logs", false},
		{"/var/log/auth.log", "sudo: packer : COMMAND=/usr/bin/env K3S_TOKEN=S3CR3T sh install.sh\n", "logs", true},
		{"/var/log/installer/subiquity-server-debug.log", "identity: password: " + hash + "\n", "logs", true},
		{"/var/log/anaconda/anaconda.log", "started\n", "logs", false},
		{"/etc/environment", "PATH=/bin\nAWS_SECRET_ACCESS_KEY=S3CR3T\n", "environment-secrets", true},
		{"/etc/environment", "GIT_ASKPASS=true\nREQUIRE_PASSWORD=yes\nDB_PASSWORD=/run/db\nTOKEN=${X}\n", "environment-secrets", false},
		{"/etc/profile.d/x.sh", "export GITHUB_TOKEN=\"S3CR3T\"\n", "environment-secrets", true},
	} {
		t.Run(c.file+" "+c.text, func(t *testing.T) {
			tr := server(t)
			tr.file("/etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\npacker:x:1000:1000::/home/packer:/bin/sh\n")
			tr.file("/etc/cloud/cloud.cfg", 0o644, stockCloudConfig)
			tr.file(c.file, 0o600, c.text)
			r := tr.result(t, "node.hygiene."+c.control)
			if !c.bad {
				assert.Equal(t, benchmark.Pass, r.Status, r.Found)
				return
			}
			assert.Equal(t, benchmark.Fail, r.Status, r.Found)
			assert.Contains(t, r.Found, c.file)
			assert.NotContains(t, r.Found, "S3CR3T")
			assert.NotContains(t, r.Found, hash)
			if c.control == "access" || c.control == "logs" {
				running("10")(t, tr)
				assert.Equal(t, benchmark.Deferred, tr.result(t, "node.hygiene."+c.control).Status)
			}
		})
	}
}

// TestKeysThatLogIn: files of keys wherever sshd's configuration and the accounts'
// own homes have them.
func TestKeysThatLogIn(t *testing.T) {
	const key = "ssh-ed25519 AAAA build\n"
	for _, c := range []struct {
		name, sshd, passwd, file string
		bad                      bool
	}{
		{"a directory of sshd's own", "AuthorizedKeysFile /srv/keys/%u\n", "", "/srv/keys/packer", true},
		{"no setting names it", "#AuthorizedKeysFile /srv/keys/%u\n", "", "/srv/keys/packer", false},
		{"in a Match", "Match User packer\n  authorizedkeysfile=/srv/keys/%u/k .ssh/authorized_keys\n", "", "/srv/keys/packer/k", true},
		{"below each home", "AuthorizedKeysFile \"%h/.keys\"\n", "", "/home/packer/.keys", true},
		{"below each home, by a relative path", "AuthorizedKeysFile .keys\n", "", "/root/.keys", true},
		{"none", "AuthorizedKeysFile none\n", "", "/home/packer/none", false},
		{"an account elsewhere", "", "ci:x:1001:1001::/srv/ci:/bin/bash\n", "/srv/ci/.ssh/authorized_keys", true},
		{"an account that cannot log in", "", "ci:x:1001:1001::/srv/ci:/usr/sbin/nologin\n", "/srv/ci/.ssh/authorized_keys", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := server(t)
			tr.file("/etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\npacker:x:1000:1000::/home/packer:/bin/sh\n"+c.passwd)
			tr.file("/etc/ssh/sshd_config", 0o600, c.sshd)
			tr.file(c.file, 0o600, key)
			r := tr.result(t, "node.hygiene.access")
			if !c.bad {
				assert.Equal(t, benchmark.Pass, r.Status, r.Found)
				return
			}
			assert.Equal(t, benchmark.Fail, r.Status, r.Found)
			assert.Contains(t, r.Found, c.file)
		})
	}
}

// TestKeysAllOverTheNode: files of keys that are not searched are no evidence.
func TestKeysAllOverTheNode(t *testing.T) {
	tr := server(t)
	tr.file("/etc/ssh/sshd_config", 0o600, "AuthorizedKeysFile /%u/keys\n")
	r := tr.result(t, "node.hygiene.access")
	assert.Equal(t, benchmark.Error, r.Status)
	assert.Contains(t, r.Found, "/etc/ssh/sshd_config: AuthorizedKeysFile names files all over the node")
}

// TestLargeFiles: a file that is too large to be searched is no evidence.
func TestLargeFiles(t *testing.T) {
	for file, control := range map[string]string{"/etc/wireguard/wg0.conf": "system-secrets", "/etc/netplan/1.yaml": "system-secrets", "/var/log/cloud-init.log": "logs"} {
		tr := server(t)
		tr.put(node.Entry{Path: file, Kind: node.KindFile, Mode: 0o600, Size: 5 << 20, Unread: node.UnreadLarge})
		r := tr.result(t, "node.hygiene."+control)
		assert.Equal(t, benchmark.Error, r.Status, file)
		assert.Contains(t, r.Found, file)
	}
	tr := server(t)
	tr.file("/etc/wireguard/wg0.conf", 0o600, strings.Repeat("# nothing\n", 200_000)+"PrivateKey = aGVsbG8=\n")
	r := tr.result(t, "node.hygiene.system-secrets")
	assert.Equal(t, benchmark.Fail, r.Status, "of two megabytes all is searched")
	for file, control := range map[string]string{"/etc/apt/sources.list.d/%d": "system-secrets", "/etc/netplan/%d.yaml": "system-secrets", "/var/log/anaconda/%d": "logs", "/root/%d.json": "access"} {
		tr := server(t)
		for i := range 10 {
			tr.file(fmt.Sprintf(file, i), 0o600, strings.Repeat("\n", 1<<20))
		}
		r := tr.result(t, "node.hygiene."+control)
		assert.Equal(t, benchmark.Error, r.Status, file)
		assert.Contains(t, r.Found, "over 8 MiB of")
	}
}

// TestSkeleton: what a home directory has from the skeleton is judged there, and is
// no reason for another command; what differs from it is read.
func TestSkeleton(t *testing.T) {
	const stock, secret = "alias ll='ls -l'\n", "export K3S_TOKEN=S3CR3T\n"
	for name, c := range map[string]struct {
		skeleton, home string
		again          bool
		found          string
	}{
		"alike":                {stock, stock, false, ""},
		"without a skeleton":   {"", stock, true, ""},
		"a secret in the home": {stock, stock + secret, true, "/home/packer/.bashrc"},
		"a secret in both":     {stock + secret, stock + secret, false, "/etc/skel/.bashrc"},
		"a shorter one":        {stock + stock, stock, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tr := server(t)
			if c.skeleton != "" {
				tr.file("/etc/skel/.bashrc", 0o644, c.skeleton)
			}
			tr.file("/home/packer/.bashrc", 0o644, c.home)
			q := benchmark.Query(k3s.Server, "")
			seen := tr.node(q).Entries()
			for i, e := range seen {
				if e.Path == "/home/packer/.bashrc" {
					seen[i].Data = nil // it was asked for without its content
				}
			}
			n := node.New(q, seen)
			e, err := k3s.Resolve(n, tr.release, tr.role)
			require.NoError(t, err)
			more := benchmark.FollowUp(benchmark.Input{Node: n, Effective: e})
			assert.Equal(t, c.again, slices.Contains(more, node.Pick{Path: "/home/packer/.bashrc", Content: true}), more)
			r := tr.result(t, "node.hygiene.access")
			if c.found == "" {
				assert.Equal(t, benchmark.Pass, r.Status, r.Found)
				return
			}
			assert.Equal(t, benchmark.Fail, r.Status, r.Found)
			assert.Contains(t, r.Found, c.found)
			assert.NotContains(t, r.Found, "S3CR3T")
		})
	}
}
