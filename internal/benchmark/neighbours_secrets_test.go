package benchmark_test

import (
	"io/fs"
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// laid puts files on the node, in pairs of path and text, all root's alone.
func laid(pairs ...string) func(*testing.T, *tree) {
	return func(_ *testing.T, tr *tree) {
		for i := 0; i < len(pairs); i += 2 {
			mode := fs.FileMode(0o600)
			if pairs[i] == "/etc/passwd" {
				mode = 0o644
			}
			tr.file(pairs[i], mode, pairs[i+1])
		}
	}
}

// TestSecretsOneStepAside: secrets behind a key that names a file, in a comment, in
// what is packed, and where people write passwords.
func TestSecretsOneStepAside(t *testing.T) {
	const (
		dropIn   = k3s.ConfigFile + ".d/50-x.yaml"
		token    = "K10abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789::server:1234567890abcdef"
		key      = "-----BEGIN RSA PRIVATE KEY-----\nx\n"
		seed     = "/var/lib/cloud/seed/nocloud/user-data"
		cloud    = "/etc/cloud/cloud.cfg.d/9.cfg"
		manifest = manifests + "x.yaml"
		chart    = "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: h, namespace: kube-system}\nspec:\n  chart: x\n  valuesContent: |-\n"
		pod      = "apiVersion: v1\nkind: Pod\nmetadata: {name: h, namespace: default}\nspec:\n  containers:\n  - {name: a, image: b, env: "
		crd      = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: xs.y.z}\nspec: {group: y.z, scope: Namespaced, names: {plural: xs, kind: X, singular: x}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {password: {type: string, description: the password}}, required: [password]}}}]}\n"
	)
	judge(t, []neighbour{
		{"a token in a comment", true, laid(dropIn, "# token: "+token+"\n")},
		{"a word in a comment", false, laid(dropIn, "# token: see the runbook\n")},
		{"a token's file beside the root", true, laid(dropIn, "token-file: t\n", "/t", "abc")},
		{"a token's file that is not there", false, laid(dropIn, "token-file: t\n")},
		{"a kubeconfig elsewhere", true, laid(dropIn, "write-kubeconfig: /srv/k.yaml\n", "/srv/k.yaml", "apiVersion: v1\nkind: Config\n")},
		{"no kubeconfig", false, laid(dropIn, "write-kubeconfig: /dev/null\n")},
		{"snapshots elsewhere", true, laid(dropIn, "cluster-init: true\netcd-snapshot-dir: /srv/snap\n", "/srv/snap/on-demand-1.zip", "x")},
		{"no snapshots yet", false, func(t *testing.T, tr *tree) {
			laid(dropIn, "cluster-init: true\netcd-snapshot-dir: /srv/snap\n")(t, tr)
			tr.dir("/srv/snap", 0o700)
		}},
		{"a registry's key", true, laid(k3s.RegistriesFile, "configs: {r: {tls: {key_file: /opt/r.key}}}\n", "/opt/r.key", key)},
		{"a registry's key to come", false, laid(k3s.RegistriesFile, "configs: {r: {tls: {key_file: /opt/r.key, ca_file: /opt/ca.pem}}}\n")},
		{"a token in base64", true, laid(seed, "#cloud-config\nwrite_files:\n- path: /etc/rancher/k3s/config.yaml\n  encoding: b64\n  content: dG9rZW46IGFiYwo=\n")},
		{"a token compressed", true, laid(seed, "#cloud-config\nwrite_files:\n- path: /etc/rancher/k3s/config.yaml\n  encoding: gz+b64\n  content: H4sIAAAAAAACAyvJz07Ns1JITErmAgDjHMiaCwAAAA==\n")},
		{"a greeting in base64", false, laid(seed, "#cloud-config\nwrite_files:\n- path: /etc/motd\n  encoding: b64\n  content: aGVsbG8K\n")},
		{"a password of chpasswd", true, laid(cloud, "#cloud-config\nchpasswd: {list: \"root:secret\"}\n")},
		{"passwords of chpasswd", true, laid(cloud, "#cloud-config\nchpasswd: {list: [\"a:R\", \"root:secret\"]}\n")},
		{"passwords to be made up", false, laid(cloud, "#cloud-config\nchpasswd: {expire: true, list: \"root:RANDOM\"}\n")},
		{"a chart's password", true, laid(manifest, chart+"    auth:\n      adminPassword: hunter2\n")},
		{"a chart's password in quotes", true, laid(manifest, chart+"    \"password\": hunter2\n")},
		{"a chart that names a Secret", false, laid(manifest, chart+"    auth: {existingSecret: s, password: \"\", secretKeys: {adminPasswordKey: p}}\n    rootPassword: ${PASSWORD}\n")},
		{"a variable of a container", true, laid(manifest, pod+"[{name: POSTGRES_PASSWORD, value: hunter2}]}\n")},
		{"a variable from a Secret", false, laid(manifest, pod+"[{name: PASSWORD, valueFrom: {secretKeyRef: {name: s, key: password}}}]}\n")},
		{"a field called password", false, laid(manifest, crd)},
		{"a password in /etc/passwd", true, laid("/etc/passwd", "root:$1$a$b:0:0::/root:/bin/sh\n")},
		{"no password in /etc/passwd", true, laid("/etc/passwd", "root:x:0:0::/root:/bin/sh\ntoor::0:0::/root:/bin/sh\n")},
		{"passwords in /etc/shadow alone", false, laid("/etc/passwd", "root:x:0:0::/root:/bin/sh\nftp:*:14:11::/:/bin/false\n")},
	})
}
