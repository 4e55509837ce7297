package benchmark_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
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
		{"/etc/shadow", "root:*:19000:0:99999:7:::\ndaemon:!:1::::::\npacker:!" + hash + ":19000:0:99999:7:::\nsshd:!*:1::::::\nx:!!:1::::::\n", "access", false},
		{"/etc/sudoers.d/packer", "packer ALL=(ALL) NOPASSWD: ALL\n", "access", true},
		{"/etc/sudoers.d/90", "%wheel ALL=(ALL:ALL) NOPASSWD:SETENV:ALL\n", "access", true},
		{"/etc/sudoers", "# %wheel ALL=(ALL) NOPASSWD: ALL\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n", "access", false},
		{"/etc/sudoers.d/90-cloud-init-users", "debian ALL=(ALL) NOPASSWD:ALL\n", "access", false},
		{"/etc/sudoers.d/gone", "vagrant ALL=(ALL) NOPASSWD: ALL\n", "access", false},
		{"/etc/sudoers.d/zabbix", "packer ALL=(root) NOPASSWD: /usr/bin/iostat\n", "access", false},
		{"/etc/sudoers.d/x.rpmsave", "packer ALL=(ALL) NOPASSWD: ALL\n", "access", false},
		{"/root/.docker/config.json", `{"auths": {"r": {"auth": "S3CR3T"}}}`, "access", true},
		{"/home/packer/.docker/config.json", `{"auths": {}, "credsStore": "x"}`, "access", false},
		{"/root/.npmrc", "//r/:_authToken=S3CR3T\n", "access", true},
		{"/root/.npmrc", "registry=https://r/\n//r/:_authToken=${TOKEN}\n", "access", false},
		{"/home/packer/.config/pip/pip.conf", "[global]\nindex-url = https://u:S3CR3T@r/simple\n", "access", true},
		{"/home/packer/.config/pip/pip.conf", "[global]\nindex-url = https://r/simple\n", "access", false},
		{"/home/packer/.ssh/deploy", "-----BEGIN OPENSSH PRIVATE KEY-----\nS3CR3T\n", "access", true},
		{"/home/packer/.ssh/id_rsa.pub", "ssh-rsa AAAA\n", "access", false},
		{"/root/.vault-token", "S3CR3T", "access", true},
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
			if c.control == "access" {
				running("10")(t, tr)
				assert.Equal(t, benchmark.Deferred, tr.result(t, "node.hygiene.access").Status)
			}
		})
	}
}
