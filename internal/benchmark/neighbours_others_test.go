package benchmark_test

import (
	"encoding/base64"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// also makes changes one after the other.
func also(all ...func(*testing.T, *tree)) func(*testing.T, *tree) {
	return func(t *testing.T, tr *tree) {
		for _, f := range all {
			f(t, tr)
		}
	}
}

// open puts a file on the node that others may change.
func open(p, text string) func(*testing.T, *tree) {
	return func(_ *testing.T, tr *tree) { tr.file(p, 0o666, text) }
}

// TestFilesThatOthersCanChange: what is read by way of another file, or without
// being named at all, is as much K3s's as what arguments name.
func TestFilesThatOthersCanChange(t *testing.T) {
	const (
		dropIn   = k3s.ConfigFile + ".d/50-x.yaml"
		byPath   = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- {name: PodSecurity, path: ps.yaml}\n- {name: EventRateLimit, path: erl.yaml}\n"
		pods     = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\ndefaults: {enforce: restricted}\n"
		limits   = "apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: Server, qps: 50, burst: 100}]\n"
		kubelet  = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 200\n"
		provider = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- {name: x, matchImages: [r], defaultCacheDuration: 1h, apiVersion: credentialprovider.kubelet.k8s.io/v1, env: [{name: AWS_SECRET_ACCESS_KEY, value: \"%\"}]}\n"
	)
	pre := "ExecStartPre=/bin/bash -c 'test -d /srv/data && /opt/pre.sh --x'\n"
	template := "/var/lib/rancher/k3s/agent/etc/containerd/config.toml.tmpl"
	credentials := laid(dropIn, "image-credential-provider-config: /etc/icp.yaml\nimage-credential-provider-bin-dir: /opt/icp\n", "/etc/icp.yaml", strings.Replace(provider, `"%"`, "", 1))
	dir := func(p string, mode fs.FileMode) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) { tr.dir(p, mode) }
	}
	judge(t, []neighbour{
		{"a drop-in that anyone may add", true, also(starting(""), dir(k3sUnit+".d", 0o777))},
		{"a directory of drop-ins", false, also(starting(""), dir(k3sUnit+".d", 0o755))},
		{"drop-ins for all services", true, also(starting(""), dir("/etc/systemd/system/service.d", 0o777))},
		{"a script in a shell's text", true, also(starting(pre), open("/opt/pre.sh", "#!/bin/sh\n"))},
		{"a script in a shell's text, root's", false, also(starting(pre), dir("/srv/data", 0o777), laid("/opt/pre.sh", "#!/bin/sh\n"))},
		{"Pod Security by path", true, also(laid(psaFile, byPath, "/etc/rancher/k3s/erl.yaml", limits), open("/etc/rancher/k3s/ps.yaml", pods))},
		{"limits by path", true, also(laid(psaFile, byPath, "/etc/rancher/k3s/ps.yaml", pods), open("/etc/rancher/k3s/erl.yaml", limits))},
		{"both by path", false, laid(psaFile, byPath, "/etc/rancher/k3s/ps.yaml", pods, "/etc/rancher/k3s/erl.yaml", limits)},
		{"kernel parameters", true, func(_ *testing.T, tr *tree) {
			tr.file("/etc/sysctl.d/90-kubelet.conf", 0o666, string(tr.entries["/etc/sysctl.d/90-kubelet.conf"].Data))
		}},
		{"the kubelet's file", true, also(laid(dropIn, "kubelet-arg+: [config=/etc/kubelet.yaml]\n"), open("/etc/kubelet.yaml", kubelet))},
		{"the kubelet's file, root's", false, laid(dropIn, "kubelet-arg+: [config=/etc/kubelet.yaml]\n", "/etc/kubelet.yaml", kubelet)},
		{"containerd's template", true, open(template, "{{ template \"base\" . }}\n")},
		{"containerd's template, root's", false, laid(template, "{{ template \"base\" . }}\n")},
		{"a program for registries' passwords", true, also(credentials, func(_ *testing.T, tr *tree) { tr.file("/opt/icp/x", 0o777, "#!/bin/sh\n") })},
		{"a program for registries' passwords, root's", false, also(credentials, laid("/opt/icp/x", "#!/bin/sh\n"))},
		{"a registry's password for it", true, also(credentials, laid("/etc/icp.yaml", strings.Replace(provider, "%", "hunter2", 1)))},
	})
}

// TestStartedBesideTheService: K3s that something else starts runs with what it is
// told there.
func TestStartedBesideTheService(t *testing.T) {
	script := func(p, text string) func(*testing.T, *tree) {
		return also(starting(""), func(_ *testing.T, tr *tree) { tr.file(p, 0o755, text) })
	}
	judge(t, []neighbour{
		{"rc.local", true, script("/etc/rc.local", "#!/bin/sh\n/usr/local/bin/k3s server --kube-apiserver-arg=anonymous-auth=true &\n")},
		{"by its bare name", true, script("/etc/rc.local", "#!/bin/sh\nnohup k3s --debug server >/dev/null 2>&1 &\n")},
		{"cron", true, script("/etc/cron.d/k3s", "@reboot root /usr/local/bin/k3s agent\n")},
		{"cloud-init", true, script("/etc/cloud/cloud.cfg.d/9.cfg", "runcmd:\n- [/usr/local/bin/k3s, server]\n")},
		{"a client", false, script("/etc/rc.local", "#!/bin/sh\nk3s kubectl get pods -n server\nk3s etcd-snapshot save\nk3s secrets-encrypt status --server https://x\n")},
		{"the service itself", false, script("/etc/rc.local", "#!/bin/sh\nsystemctl start k3s\n")},
		{"a user's manager", true, script("/etc/systemd/user/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s server --rootless\n")},
		{"supervisord", true, script("/etc/supervisor/conf.d/k3s.conf", "[program:k3s]\ncommand=/usr/local/bin/k3s server\n")},
		{"runit", true, script("/etc/sv/k3s/run", "#!/bin/sh\nexec /usr/local/bin/k3s agent\n")},
		{"another program of supervisord's", false, script("/etc/supervisor/conf.d/x.conf", "[program:x]\n; not k3s server\n# k3s server\ncommand=/usr/bin/x\n")},
	})
}

// TestUserDataOfTheImage: what cloud-init is given in the image is done at its
// first boot, in whatever form.
func TestUserDataOfTheImage(t *testing.T) {
	const (
		seed  = "/var/lib/cloud/seed/nocloud/user-data"
		token = "#cloud-config\nwrite_files:\n- path: /run/k3s.yaml\n  content: |\n    token: abc\n"
		zeros = "#!/bin/sh\n" + zero + "\n"
	)
	parts := func(kind, encoding, text string) string {
		return "Content-Type: multipart/mixed; boundary=\"B\"\nMIME-Version: 1.0\n\n--B\nContent-Type: " + kind + "\nContent-Transfer-Encoding: " + encoding + "\n\n" + text + "\n--B--\n"
	}
	judge(t, []neighbour{
		{"a script", true, laid(seed, zeros)},
		{"commands", true, laid(seed, "#cloud-config\nruncmd:\n- chmod 644 /etc/rancher/k3s/config.yaml\n")},
		{"a template", true, laid(seed, "## template: jinja\n#cloud-config\nbootcmd:\n- "+zero+"\n")},
		{"a boothook", true, laid(seed, "#cloud-boothook\n"+zeros)},
		{"a part", true, laid(seed, parts("text/x-shellscript", "7bit", zeros))},
		{"a part in base64", true, laid(seed, parts("text/x-shellscript", "base64", base64.StdEncoding.EncodeToString([]byte(zeros))))},
		{"a part with a token", true, laid(seed, parts("text/cloud-config", "7bit", token))},
		{"a part with a token in base64", true, laid(seed, parts("text/cloud-config", "base64", base64.StdEncoding.EncodeToString([]byte(token))))},
		{"an archive", true, laid(seed, "#cloud-config-archive\n- type: text/x-shellscript\n  content: |\n    "+strings.ReplaceAll(zeros, "\n", "\n    ")+"\n")},
		{"a vendor's", true, laid("/var/lib/cloud/seed/nocloud-net/vendor-data", zeros)},
		{"a Raspberry Pi's", true, laid("/boot/firmware/user-data", "#cloud-config\nruncmd:\n- "+zero+"\n")},
		{"a host name", false, laid(seed, "#cloud-config\nhostname: x\npackages: [jq]\nruncmd:\n- [systemctl, enable, --now, k3s]\n")},
		{"a part with a host name", false, laid(seed, parts("text/cloud-config", "7bit", "#cloud-config\nhostname: x\n"))},
		{"what is fetched", false, laid(seed, "#include\nhttps://example.org/user-data\n")},
		{"a script that logrotate runs", true, laid("/etc/logrotate.d/x", "/var/log/x {\n  weekly\n  postrotate\n    chmod 644 /etc/rancher/k3s/config.yaml\n  endscript\n}\n")},
		{"what logrotate does of itself", false, laid("/etc/logrotate.d/x", "/var/log/x {\n  create 0644 root root\n  postrotate\n    systemctl kill -s HUP rsyslog.service\n  endscript\n}\n")},
		{"a disk over the data directory", true, laid("/etc/cloud/cloud.cfg.d/9.cfg", "mounts:\n- [/dev/sdb1, /var/lib/rancher, ext4]\n")},
		{"a disk over other data", false, laid("/etc/cloud/cloud.cfg.d/9.cfg", "mounts:\n- [ephemeral0, /mnt]\n- [/dev/sdb1, /var/lib/longhorn, ext4]\n")},
		{"what Ubuntu's installer was given", true, laid("/var/log/installer/autoinstall-user-data", "#cloud-config\nautoinstall:\n  identity: {username: u, password: \"$6$a$b\"}\n")},
		{"an owner that is put right at boot", true, func(_ *testing.T, tr *tree) {
			tr.file("/etc/rc.local", 0o755, "#!/bin/sh\nchown root:root /etc/rancher/k3s/config.yaml\n")
			e := tr.entries["/etc/rancher/k3s/config.yaml"]
			e.UID, e.GID = 1000, 1000
			tr.put(e)
		}},
		{"a hook of dhclient's", true, laid("/etc/dhcp/dhclient-exit-hooks.d/x", zero+"\n")},
	})
}

// TestTokensOfScripts: a token is one wherever it is given to K3s.
func TestTokensOfScripts(t *testing.T) {
	const cloud = "/etc/cloud/cloud.cfg.d/9.cfg"
	runs := func(command string) func(*testing.T, *tree) { return laid(cloud, "runcmd:\n- "+command+"\n") }
	script := func(text string) func(*testing.T, *tree) {
		return func(_ *testing.T, tr *tree) { tr.file("/etc/rc.local", 0o755, "#!/bin/sh\n"+text+"\n") }
	}
	judge(t, []neighbour{
		{"behind an option", true, runs("curl -sfL https://get.k3s.io | sh -s - server --token mytoken --server https://x:6443")},
		{"joined to an option", true, runs("INSTALL_K3S_EXEC='agent --token=mytoken' sh /run/install.sh")},
		{"in quotes", true, runs("sh /run/install.sh agent --agent-token \"mytoken\"")},
		{"in a list", true, runs("[sh, /run/install.sh, server, \"--token\", \"mytoken\"]")},
		{"of a VPN", true, runs("sh /run/install.sh server --vpn-auth=name=tailscale,joinKey=x")},
		{"of a cluster of old", true, runs("sh /run/install.sh server --cluster-secret mytoken")},
		{"of a bucket", true, runs("sh /run/install.sh server --etcd-s3-access-key=AKIA")},
		{"of a bucket's session", true, runs("sh /run/install.sh server --etcd-s3-session-token abc")},
		{"of a datastore", true, runs("sh /run/install.sh server --datastore-endpoint=mysql://k3s:abc@tcp(db:3306)/k3s")},
		{"of a datastore, in its query", true, runs("sh /run/install.sh server --datastore-endpoint=postgres://db/k3s?password=abc")},
		{"a datastore without one", false, runs("sh /run/install.sh server --datastore-endpoint=postgres://db/k3s?sslmode=verify-full")},
		{"from a file", false, runs("sh /run/install.sh server --token \"$(cat /run/token)\" --token-file /run/token --server https://x:6443")},
		{"from a variable", false, runs("sh /run/install.sh server --token ${TOKEN} --token=$TOKEN --agent-token <token>")},
		{"in a script", true, script("K3S_TOKEN=mytoken sh /run/install.sh")},
		{"in a script that is run", true, also(script("/opt/join.sh"), func(_ *testing.T, tr *tree) {
			tr.file("/opt/join.sh", 0o755, "#!/bin/sh\nK3S_URL=https://x:6443 K3S_TOKEN=mytoken sh /run/install.sh\n")
		})},
		{"in another unit", true, beside("join.service", "[Service]\nEnvironment=K3S_TOKEN=mytoken\nExecStart=/bin/true\n")},
		{"in a unit that removes itself", true, beside("join.service", "[Service]\nEnvironment=K3S_TOKEN=mytoken\nExecStart=/bin/rm /etc/systemd/system/join.service\n")},
		{"none in a unit that removes itself", false, beside("join.service", "[Service]\nExecStart=/bin/rm /etc/systemd/system/join.service\n")},
		{"none in a script", false, script("K3S_URL=https://x:6443 K3S_TOKEN=$(cat /run/token) sh /run/install.sh")},
		{"the installation's password", true, laid("/root/anaconda-ks.cfg", "lang en\nrootpw --iscrypted $6$a$b\n")},
		{"no password of the installation", false, laid("/root/anaconda-ks.cfg", "lang en\nrootpw --lock\nuser --name=u\n")},
		{"a machine of a VPN", true, laid("/var/lib/tailscale/tailscaled.state", "{}")},
		{"encrypted values", false, laid(manifests+"x.yaml", "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: a, namespace: b}\nspec: {encryptedData: {password: AgBy}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: b}\ndata: {password: \"ENC[AES256_GCM,data:x]\"}\n")},
		{"variables that only sound so", false, laid(manifests+"x.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\nspec: {containers: [{name: c, image: d, env: [{name: TOKEN_TTL, value: 1h}, {name: EXISTING_SECRET, value: s}, {name: USE_TOKEN, value: \"true\"}, {name: API_TOKEN, value: /run/secrets/t}]}]}\n")},
		{"a variable of a token", true, laid(manifests+"x.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\nspec: {containers: [{name: c, image: d, env: [{name: CF_API_TOKEN, value: abc}]}]}\n")},
		{"ports the wrong way round", true, laid(k3s.ConfigFile+".d/50-x.yaml", "service-node-port-range: 32767-30000\n")},
		{"ports that are none", true, laid(k3s.ConfigFile+".d/50-x.yaml", "service-node-port-range: 30000-99999\n")},
		{"ports", false, laid(k3s.ConfigFile+".d/50-x.yaml", "service-node-port-range: 20000-22767\n")},
	})
}

// TestOpenedAfterTheStart: a file that K3s makes for root alone is opened by what
// the image does once K3s has started.
func TestOpenedAfterTheStart(t *testing.T) {
	const server = "/var/lib/rancher/k3s/server/"
	for name, c := range map[string]struct {
		adds func(*testing.T, *tree)
		key  string
		want benchmark.Status
	}{
		"the administrator's kubeconfig":        {starting("ExecStartPost=/bin/chmod 644 /etc/rancher/k3s/k3s.yaml\n"), "files.admin-kubeconfig.mode", benchmark.Fail},
		"by its directory":                      {starting("ExecStartPost=/bin/sh -c 'sleep 9; chmod -R a+r /etc/rancher/k3s'\n"), "files.admin-kubeconfig.mode", benchmark.Fail},
		"given to a group":                      {starting("ExecStartPost=-/bin/chgrp 1000 /etc/rancher/k3s/k3s.yaml\nExecStartPost=-/bin/chmod g+r /etc/rancher/k3s/k3s.yaml\n"), "files.admin-kubeconfig.mode", benchmark.Fail},
		"kept":                                  {starting("ExecStartPost=/bin/chmod 600 /etc/rancher/k3s/k3s.yaml\n"), "files.admin-kubeconfig.mode", benchmark.Deferred},
		"nothing":                               {starting(""), "files.admin-kubeconfig.mode", benchmark.Deferred},
		"keys":                                  {starting("ExecStartPost=/bin/chmod -R 755 " + server + "tls\n"), "files.pki-key.mode", benchmark.Fail},
		"keys of all names":                     {starting("ExecStartPost=/bin/sh -c 'chmod 644 " + server + "tls/*.key'\n"), "files.pki-key.mode", benchmark.Fail},
		"certificates, which may be read":       {starting("ExecStartPost=/bin/sh -c 'chmod 600 " + server + "tls/*.crt'\n"), "files.pki-key.mode", benchmark.Deferred},
		"a kubeconfig of another's":             {starting("ExecStartPost=/bin/chown 1000 " + server + "cred/controller.kubeconfig\n"), "files.kcm-kubeconfig.owner", benchmark.Fail},
		"a copy of the administrator's for one": {starting("ExecStartPost=/bin/cp /etc/rancher/k3s/k3s.yaml /home/u/k3s.yaml\n"), "files.admin-kubeconfig.mode", benchmark.Deferred},
	} {
		t.Run(name, func(t *testing.T) {
			tr := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
			c.adds(t, tr)
			seen := false
			for _, r := range benchmark.Evaluate(tr.input(t, "cis-2.1")) {
				if r.Key == c.key {
					seen = true
					assert.Equal(t, c.want, r.Status, r.Found+" "+r.Reason)
				}
			}
			assert.True(t, seen)
		})
	}
}
