package benchmark_test

import (
	"encoding/json"
	"io/fs"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

func server(t testing.TB) *tree { return hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1") }

// result judges a tree by the newest benchmark and returns one control's result.
func (tr *tree) result(t testing.TB, key string) benchmark.Result {
	t.Helper()
	for _, r := range benchmark.Evaluate(tr.input(t, "cis-2.1")) {
		if r.Key == key {
			return r
		}
	}
	require.Fail(t, "no such control", key)
	return benchmark.Result{}
}

func TestDeterministic(t *testing.T) {
	first, err := json.Marshal(benchmark.Evaluate(server(t).input(t, "cis-2.1")))
	require.NoError(t, err)
	for range 5 {
		again, err := json.Marshal(benchmark.Evaluate(server(t).input(t, "cis-2.1")))
		require.NoError(t, err)
		assert.Equal(t, string(first), string(again))
	}
	assert.NotContains(t, string(first), "null", "lists are never null")
}

// TestOrigins: every verdict names the place that decides.
func TestOrigins(t *testing.T) {
	tr := server(t)
	tr.file(k3s.ConfigFile+".d/99-user.yaml", 0o600, "debug: true\nkube-apiserver-arg:\n  - v=2\n")
	r := tr.result(t, "apiserver.audit-log-maxage")
	assert.Equal(t, benchmark.Fail, r.Status, "a drop-in that replaces the list takes the hardening away")
	assert.Equal(t, "not set, since the list kube-apiserver-arg is replaced whole by "+k3s.ConfigFile+".d/99-user.yaml:2; write kube-apiserver-arg+ there to append to it", r.Found)
	assert.Equal(t, benchmark.Fail, tr.result(t, "node.k3s-config-keys").Status)

	tr = server(t)
	tr.file(k3s.ConfigFile+".d/99-user.yaml", 0o600, "debug: true\nkube-apiserver-arg+:\n  - anonymous-auth=true\n")
	r = tr.result(t, "apiserver.anonymous-auth")
	assert.Equal(t, benchmark.Fail, r.Status)
	assert.Equal(t, []benchmark.Evidence{{Source: k3s.ConfigFile + ".d/99-user.yaml", Line: 3, Detail: "anonymous-auth=true"}}, r.Evidence)

	tr = server(t)
	tr.file("/etc/systemd/system/k3s.service", 0o644, "[Service]\nExecStart=/usr/local/bin/k3s server --kube-apiserver-arg=profiling=true\n")
	r = tr.result(t, "apiserver.profiling")
	assert.Equal(t, benchmark.Fail, r.Status)
	assert.Equal(t, []benchmark.Evidence{{Source: "/etc/systemd/system/k3s.service", Line: 2, Detail: "profiling=true"}}, r.Evidence)
}

// TestKubeletDropIn: from v1.32 a file in the kubelet's directory counts.
func TestKubeletDropIn(t *testing.T) {
	const file = k3s.DefaultDataDir + "/agent/etc/kubelet.conf.d/50-own.conf"
	tr := server(t)
	tr.dir(k3s.DefaultDataDir+"/agent", 0o700)
	tr.dir(k3s.DefaultDataDir+"/agent/etc/kubelet.conf.d", 0o700)
	tr.file(file, 0o600, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication:\n  anonymous:\n    enabled: true\n")
	r := tr.result(t, "kubelet.anonymous-auth")
	assert.Equal(t, benchmark.Fail, r.Status, r.Found)
	assert.Equal(t, file, r.Evidence[0].Source)
	assert.Equal(t, benchmark.Pass, tr.result(t, "files.kubelet-config.mode").Status)
}

// TestKubeletNamed: the file that kubelet-arg names is judged whichever release
// reads it, and so is the copy that K3s makes of it for everybody to read.
func TestKubeletNamed(t *testing.T) {
	const (
		named  = "/etc/rancher/kubelet.yaml"
		copied = k3s.DefaultDataDir + "/agent/etc/kubelet.conf.d/10-cli-config.conf"
		text   = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	)
	for name, c := range map[string]struct {
		release, benchmark string
		mode, copied       fs.FileMode // copied 0: not there
		uid                int
		status, owner      benchmark.Status
		says               string
	}{
		"not there yet":              {"v1.36.3+k3s1", "cis-2.1", 0o600, 0, 0, benchmark.Manual, benchmark.Deferred, "10-cli-config.conf"},
		"put there before":           {"v1.36.3+k3s1", "cis-2.1", 0o600, 0o600, 0, benchmark.Pass, benchmark.Pass, named},
		"made by K3s":                {"v1.36.3+k3s1", "cis-2.1", 0o600, 0o644, 0, benchmark.Fail, benchmark.Pass, copied + " 0644"},
		"open itself":                {"v1.36.3+k3s1", "cis-2.1", 0o644, 0o600, 0, benchmark.Fail, benchmark.Pass, named + " 0644"},
		"another's":                  {"v1.36.3+k3s1", "cis-2.1", 0o600, 0o600, 1000, benchmark.Pass, benchmark.Fail, ""},
		"a release that copies none": {"v1.30.4+k3s1", "cis-1.8", 0o600, 0, 0, benchmark.Pass, benchmark.Pass, named},
		"that, and open":             {"v1.30.4+k3s1", "cis-1.8", 0o640, 0, 1000, benchmark.Fail, benchmark.Fail, named + " 0640"},
		"wide enough":                {"v1.26.3+k3s1", "cis-1.23", 0o644, 0, 0, benchmark.Pass, benchmark.Pass, named},
	} {
		t.Run(name, func(t *testing.T) {
			tr := hardened(t, c.release, k3s.Server, c.benchmark)
			tr.arg(t, k3s.Kubelet, "config="+named)
			tr.put(node.Entry{Path: named, Kind: node.KindFile, Mode: c.mode, UID: c.uid, Data: []byte(text)})
			if c.copied != 0 {
				tr.dir(path.Dir(copied), 0o700)
				tr.file(copied, c.copied, text)
			}
			for _, r := range benchmark.Evaluate(tr.input(t, c.benchmark)) {
				switch r.Key {
				case "files.kubelet-config.mode":
					assert.Equal(t, c.status, r.Status, "%s %s", r.Found, r.Reason)
					assert.Contains(t, r.Found, c.says)
				case "files.kubelet-config.owner":
					assert.Equal(t, c.owner, r.Status, "%s %s", r.Found, r.Reason)
				}
			}
		})
	}
}

// TestMovedToFile: where another flag names a file for the matter, that decides.
func TestMovedToFile(t *testing.T) {
	const authn, authz = "/etc/rancher/k3s/authn.yaml", "/srv/authz.yaml"
	for _, c := range []struct {
		key, flag, file, text string
		want                  benchmark.Status
	}{
		{"apiserver.anonymous-auth", "authentication-config", authn, "kind: AuthenticationConfiguration\nanonymous: {enabled: false}\n", benchmark.Pass},
		{"apiserver.anonymous-auth", "authentication-config", authn, "kind: AuthenticationConfiguration\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n", benchmark.Fail},
		{"apiserver.anonymous-auth", "authentication-config", authn, "kind: AuthenticationConfiguration\njwt: []\n", benchmark.Fail},
		{"apiserver.anonymous-auth", "authentication-config", authn, "kind: [\n", benchmark.Fail},
		{"apiserver.authz-node", "authorization-config", authz, "authorizers:\n- type: Node\n- type: RBAC\n", benchmark.Pass},
		{"apiserver.authz-rbac", "authorization-config", authz, "authorizers:\n- type: Node\n", benchmark.Fail},
		{"apiserver.authz-not-alwaysallow", "authorization-config", authz, "authorizers:\n- type: Node\n- type: AlwaysAllow\n", benchmark.Fail},
	} {
		tr := server(t)
		tr.arg(t, k3s.APIServer, c.flag+"="+c.file)
		assert.Equal(t, benchmark.Fail, tr.result(t, c.key).Status, "%s: the file is missing", c.key)
		tr.file(c.file, 0o600, c.text)
		r := tr.result(t, c.key)
		assert.Equal(t, c.want, r.Status, "%s: %s", c.key, r.Found)
	}
}

// TestFollowUp: a file in a place of the user's own is an error until it was
// looked at.
func TestFollowUp(t *testing.T) {
	tr := server(t)
	tr.arg(t, k3s.APIServer, "audit-policy-file=/srv/audit.yaml")
	tr.file("/srv/audit.yaml", 0o600, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")
	n := tr.node(benchmark.Query(k3s.Server, ""))
	blind := node.New(n.Query(), dropBelow(n.Entries(), "/srv"))
	e, err := k3s.Resolve(blind, tr.release, tr.role)
	require.NoError(t, err)
	assert.Equal(t, node.Query{{Path: "/srv"}, {Path: "/srv/audit.yaml", Content: true}}, benchmark.FollowUp(benchmark.Input{Node: blind, Effective: e}))
	got := count(benchmark.Evaluate(benchmark.Input{Node: blind, Effective: e, Benchmark: "cis-2.1", Role: tr.role, Now: now}))
	assert.Contains(t, got[benchmark.Error], "controlplane.audit-policy")
	assert.Equal(t, benchmark.Pass, tr.result(t, "controlplane.audit-policy").Status)
	plain := server(t).input(t, "cis-2.1")
	assert.Empty(t, benchmark.FollowUp(benchmark.Input{Node: plain.Node, Effective: plain.Effective}))
}

func dropBelow(entries []node.Entry, dir string) []node.Entry {
	var out []node.Entry
	for _, e := range entries {
		if !strings.HasPrefix(e.Path, dir) {
			out = append(out, e)
		}
	}
	return out
}

// TestRunningMachine: what a running machine has by nature does not fail it,
// and what K3s left behind does.
func TestRunningMachine(t *testing.T) {
	tr := server(t)
	running("10")(t, tr)
	for p, text := range map[string]string{
		"/etc/machine-id": "0123456789abcdef0123456789abcdef\n", "/etc/ssh/ssh_host_rsa_key": "k",
		"/var/lib/cloud/instance": "", "/var/lib/systemd/random-seed": "x", "/root/.bash_history": "ls\n",
	} {
		tr.file(p, 0o600, text)
	}
	for _, key := range []string{"machine-id", "ssh-host-keys", "cloud-init", "random-seed", "shell-history"} {
		r := tr.result(t, "node.hygiene."+key)
		assert.Equal(t, benchmark.Deferred, r.Status, key)
		assert.Contains(t, r.Reason, "the machine is running")
	}
	tr.file(k3s.DefaultDataDir+"/server/token", 0o600, "K10...")
	assert.Equal(t, benchmark.Fail, tr.result(t, "node.hygiene.tokens").Status)
	delete(tr.kernel, "kernel.panic")
	assert.Equal(t, benchmark.Error, tr.result(t, "node.kernel-parameters").Status, "the running kernel was not asked")
}

// TestWithoutComponents: what a node does not run is not judged, and why.
func TestWithoutComponents(t *testing.T) {
	tr := server(t)
	tr.config(t, func(m map[string]any) { m["disable-agent"] = true })
	r := tr.result(t, "kubelet.anonymous-auth")
	assert.Equal(t, benchmark.NotApplicable, r.Status, r.Found)
	assert.Equal(t, "this node runs no kubelet", r.Reason)
	assert.Equal(t, "disable-agent: true", r.Evidence[0].Detail)

	tr = server(t)
	tr.config(t, func(m map[string]any) { m["datastore-endpoint"] = "postgres://k3s:S3CR3T@db/k3s" })
	r = tr.result(t, "etcd.server-cert")
	assert.Equal(t, benchmark.NotApplicable, r.Status)
	assert.Equal(t, "the datastore is external, so K3s runs no etcd", r.Reason)
	assert.NotEmpty(t, r.Evidence)
}

// TestSecretsAreNamedAndNeverShown: wherever a secret is, reports tell where
// and not what.
func TestSecretsAreNamedAndNeverShown(t *testing.T) {
	const secret = "S3CR3T"
	tr := server(t)
	tr.config(t, func(m map[string]any) {
		m["token"], m["agent-token"] = secret, secret
		m["datastore-endpoint"] = "mysql://u:" + secret + "@tcp(h)/k3s"
		m["etcd-s3-secret-key"] = secret
	})
	tr.arg(t, k3s.APIServer, "etcd-servers=https://u:"+secret+"@h:2379")
	tr.file("/etc/systemd/system/k3s.service", 0o644, "[Service]\nEnvironment=K3S_TOKEN="+secret+"\nExecStart=/usr/local/bin/k3s server --token "+secret+"\n")
	tr.file("/etc/systemd/system/k3s.service.env", 0o600, "K3S_TOKEN="+secret+"\nHTTPS_PROXY=http://u:"+secret+"@p\n")
	tr.file(k3s.RegistriesFile, 0o600, "configs:\n  r:\n    auth: {username: u, password: "+secret+"}\n")
	tr.file(manifests+"secret.yaml", 0o600, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: "+secret+"}\ntypo: "+secret+"\n")
	tr.file(k3s.DefaultDataDir+"/server/token", 0o600, secret)
	tr.file(encryptionFile, 0o600, "resources: [{resources: [secrets], providers: [{aescbc: {keys: [{secret: "+secret+"}]}}]}\n")
	tr.arg(t, k3s.APIServer, "encryption-provider-config="+encryptionFile)
	out, err := json.Marshal(benchmark.Evaluate(tr.input(t, "cis-2.1")))
	require.NoError(t, err)
	assert.NotContains(t, string(out), secret)
	for _, key := range []string{"config-secrets", "environment-secrets", "service-secrets", "registry-secrets", "tokens"} {
		assert.Equal(t, benchmark.Fail, tr.result(t, "node.hygiene."+key).Status, key)
	}
	r := tr.result(t, "node.hygiene.environment-secrets")
	assert.Equal(t, []benchmark.Evidence{
		{Source: "/etc/systemd/system/k3s.service.env", Line: 1, Detail: "K3S_TOKEN has a value (not shown)"},
		{Source: "/etc/systemd/system/k3s.service.env", Line: 2, Detail: "HTTPS_PROXY has a URL with a password (not shown)"},
	}, r.Evidence[:2])
}

// TestProgram: a script in K3s's place may start anything.
func TestProgram(t *testing.T) {
	for text, want := range map[string]benchmark.Status{
		"\x7fELF": benchmark.Pass,
		"":        benchmark.Pass,
		"#!/bin/sh\nexec /opt/k3s -c /opt/x \"$@\"\n": benchmark.Error,
		"#! /usr/bin/env K3S_CONFIG_FILE=/x k3s\n":    benchmark.Error,
	} {
		for _, program := range []string{"/usr/local/bin/k3s", "/opt/k3s/bin/k3s", "/usr/local/bin/k3s-v1.36"} {
			tr := server(t)
			tr.file(program, 0o755, text)
			tr.file("/etc/systemd/system/k3s.service", 0o644, "[Service]\nExecStart=/usr/bin/nice -n 1 "+program+" server\n")
			assert.Equal(t, want, tr.result(t, "apiserver.anonymous-auth").Status, "%s: %q", program, text)
			assert.Equal(t, want, tr.result(t, "node.k3s-starts").Status, "%s: %q", program, text)
		}
	}
}

// TestReleaseNewerThanKnown: defaults of a release that is not known are no
// proof, what the node says itself is.
func TestReleaseNewerThanKnown(t *testing.T) {
	for _, role := range []k3s.Role{k3s.Server, k3s.Agent} {
		known := count(benchmark.Evaluate(hardened(t, "v1.37.1+k3s1", role, "cis-2.1").input(t, "cis-2.1")))
		results := benchmark.Evaluate(hardened(t, "v1.40.0+k3s1", role, "cis-2.1").input(t, "cis-2.1"))
		newer := count(results)
		assert.Subset(t, known[benchmark.Pass], newer[benchmark.Pass])
		assert.Less(t, len(newer[benchmark.Pass]), len(known[benchmark.Pass]))
		for _, r := range results {
			for _, e := range r.Evidence {
				assert.NotContains(t, e.Source, "v1.40", r.Key)
			}
			switch r.Key {
			case "kubelet.anonymous-auth", "kubelet.make-iptables-util-chains", "kubelet.rotate-certificates":
				assert.Equal(t, benchmark.Deferred, r.Status, r.Key)
				assert.Contains(t, r.Reason, "this is the default of v1.37, which proves nothing for v1.40", r.Key)
			case "kubelet.streaming-idle-timeout", "kubelet.tls-ciphers", "node.config.mode", "node.hygiene.tokens":
				assert.Equal(t, benchmark.Pass, r.Status, r.Key)
			}
		}
	}
	tr := hardened(t, "v1.40.0+k3s1", k3s.Server, "cis-2.1")
	tr.arg(t, k3s.Kubelet, "anonymous-auth=false")
	assert.Equal(t, benchmark.Pass, tr.result(t, "kubelet.anonymous-auth").Status)
	tr.arg(t, k3s.Kubelet, "anonymous-auth=true")
	assert.Equal(t, benchmark.Fail, tr.result(t, "kubelet.anonymous-auth").Status)
}

// TestAccess: what the build got in by is the machine's while it runs, and must
// not be in the image; what is empty or public lets nobody in.
func TestAccess(t *testing.T) {
	for file, bad := range map[string]bool{
		"/root/.ssh/authorized_keys=ssh-ed25519 A":          true,
		"/home/debian/.ssh/authorized_keys=ssh-ed25519 A":   true,
		"/root/.ssh/authorized_keys=":                       false,
		"/root/.ssh/known_hosts=h ssh-ed25519 A":            false,
		"/root/.ssh/id_rsa.pub=ssh-rsa A":                   false,
		"/root/.ssh/config=Host *":                          false,
		"/etc/skel/.ssh/authorized_keys=":                   false,
		"/root/.docker/config.json.example={}":              false,
		"/home/debian/.ssh/id_ecdsa=-----BEGIN PRIVATE KEY": true,
	} {
		p, text, _ := strings.Cut(file, "=")
		tr := server(t)
		tr.file(p, 0o600, text)
		assert.Equal(t, bad, tr.result(t, "node.hygiene.access").Status == benchmark.Fail, file)
		running("10")(t, tr)
		if bad {
			assert.Equal(t, benchmark.Deferred, tr.result(t, "node.hygiene.access").Status, file)
		}
	}
}

// TestSecretsInEverySpelling: a secret counts however YAML spells it, and one
// rule says what is harmless, for the hardening too.
func TestSecretsInEverySpelling(t *testing.T) {
	for text, bad := range map[string]bool{
		"token: [S3CR3T]\n":                 true,
		"token:\n- S3CR3T\n":                true,
		"token: {a: S3CR3T}\n":              true,
		"node-name: &a S3CR3T\ntoken: *a\n": true,
		"token: \"\"\n":                     false,
		"token:\n":                          false,
		"datastore-endpoint: postgres://db/k3s?user=k&password=p\n": true,
		"datastore-endpoint: [\"postgres://k:p@db/k3s\"]\n":         true,
		"datastore-endpoint: k3s:p@tcp(db:3306)/k3s\n":              true,
		"datastore-endpoint: postgres://k3s@db/k3s?sslmode=off\n":   false,
		"datastore-endpoint: https://etcd.example.org:2379\n":       false,
		"etcd-s3-proxy: user:p@proxy:3128\n":                        true,
	} {
		tr := server(t)
		tr.file("/etc/rancher/k3s/config.yaml.d/99.yaml", 0o600, text)
		r := tr.result(t, "node.hygiene.config-secrets")
		assert.Equal(t, bad, r.Status == benchmark.Fail, text)
	}
	tr := server(t)
	tr.file("/etc/systemd/system/k3s.service", 0o644, "[Service]\nExecStart=/usr/local/bin/k3s server\n")
	tr.file("/etc/systemd/system/k3s.service.env", 0o600, "K3S_DATASTORE_ENDPOINT='postgres://db/k3s?user=k&password=p'\n")
	assert.Equal(t, benchmark.Fail, tr.result(t, "node.hygiene.environment-secrets").Status)
}

// TestSecretsThatTheConfigurationNames: what a key, a variable or a flag names
// is in the image too, and so is whatever else lies in K3s's directory.
func TestSecretsThatTheConfigurationNames(t *testing.T) {
	token := "K10" + strings.Repeat("0123456789abcdef", 4) + "::server:S3CR3T"
	for name, c := range map[string]struct {
		config, file, text string
		control            string
		bad                bool
	}{
		"token-file":                {"token-file: /opt/join", "/opt/join", "S3CR3T\n", "config-secrets", true},
		"token-file, in K3s's":      {"token-file: /etc/rancher/k3s/join-token", "/etc/rancher/k3s/join-token", "S3CR3T\n", "config-secrets", true},
		"token-file, empty":         {"token-file: /opt/join", "/opt/join", "\n", "config-secrets", false},
		"token-file, at first boot": {"token-file: /run/join", "", "", "config-secrets", false},
		"agent-token-file":          {"agent-token-file: /opt/join", "/opt/join", "S3CR3T\n", "config-secrets", true},
		"vpn-auth-file":             {"vpn-auth-file: /opt/vpn", "/opt/vpn", "name=x,joinKey=S3CR3T\n", "config-secrets", true},
		"datastore-keyfile":         {"datastore-keyfile: /opt/key", "/opt/key", "-----BEGIN RSA PRIVATE KEY-----\n", "config-secrets", true},
		"private-registry":          {"private-registry: /opt/r.yaml", "/opt/r.yaml", "configs: {r: {auth: {password: S3CR3T}}}\n", "registry-secrets", true},
		"private-registry, none":    {"private-registry: /opt/r.yaml", "/opt/r.yaml", "mirrors: {r: {endpoint: [\"https://m\"]}}\n", "registry-secrets", false},
		"encryption keys": {
			"kube-apiserver-arg+: [encryption-provider-config=/opt/enc.yaml]", "/opt/enc.yaml",
			"resources: [{resources: [secrets], providers: [{aescbc: {keys: [{name: k, secret: S3CR3T}]}}]}]\n", "config-secrets", true,
		},
		"encryption by kms": {
			"kube-apiserver-arg+: [encryption-provider-config=/opt/enc.yaml]", "/opt/enc.yaml",
			"resources: [{resources: [secrets], providers: [{kms: {name: k, endpoint: \"unix:///run/kms\"}}]}]\n", "config-secrets", false,
		},
		"webhook's kubeconfig": {
			"kube-apiserver-arg+: [authentication-token-webhook-config-file=/opt/hook]", "/opt/hook",
			"users: [{name: u, user: {token: S3CR3T}}]\n", "config-secrets", true,
		},
		"a flag's key":           {"kubelet-arg+: [tls-private-key-file=/opt/key]", "/opt/key", "S3CR3T", "config-secrets", true},
		"a key of a signer":      {"kube-controller-manager-arg+: [cluster-signing-kubelet-serving-key-file=/opt/key]", "/opt/key", "S3CR3T", "config-secrets", true},
		"a kubeconfig's token":   {"kube-scheduler-arg+: [authentication-kubeconfig=/opt/kc]", "/opt/kc", "users: [{user: {token: S3CR3T}}]", "config-secrets", true},
		"a token beside":         {"", "/etc/rancher/k3s/notes.txt", "join with " + token + "\n", "config-secrets", true},
		"a key beside":           {"", "/etc/rancher/k3s/etcd.key", "-----BEGIN EC PRIVATE KEY-----\n", "config-secrets", true},
		"a Secret beside":        {"", "/etc/rancher/k3s/deep/s.yaml", "a: b\n---\nkind: Secret\ndata: {p: UzNDUjNU}\n", "config-secrets", true},
		"a configuration beside": {"", "/etc/rancher/k3s/config.yaml.bak", "token: S3CR3T\n", "config-secrets", true},
		"a certificate beside":   {"", "/etc/rancher/k3s/ca.crt", "-----BEGIN CERTIFICATE-----\n", "config-secrets", false},
		"a policy beside":        {"", "/etc/rancher/k3s/my-audit.yaml", "rules: [{level: Metadata, resources: [{resources: [secrets]}]}]\n", "config-secrets", false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := server(t)
			if c.config != "" {
				tr.file("/etc/rancher/k3s/config.yaml.d/99.yaml", 0o600, c.config+"\n")
			}
			if c.file != "" {
				tr.file(c.file, 0o600, c.text)
			}
			r := tr.result(t, "node.hygiene."+c.control)
			want := benchmark.Pass
			if c.bad {
				want = benchmark.Fail
			}
			assert.Equal(t, want, r.Status, r.Found)
			assert.NotContains(t, r.Found, "S3CR3T")
			if c.bad {
				assert.Equal(t, c.file, r.Evidence[0].Source)
			}
		})
	}
	tr := server(t)
	tr.file("/etc/systemd/system/k3s.service", 0o644, "[Service]\nEnvironmentFile=-/etc/systemd/system/k3s.service.env\nExecStart=/usr/local/bin/k3s server\n")
	tr.file("/etc/systemd/system/k3s.service.env", 0o600, "K3S_TOKEN_FILE=/opt/join\n")
	tr.file("/opt/join", 0o600, "S3CR3T")
	assert.Equal(t, benchmark.Fail, tr.result(t, "node.hygiene.config-secrets").Status)
}

// TestLeftInTheDefaultDataDirectory: K3s may have run before it was given
// another one.
func TestLeftInTheDefaultDataDirectory(t *testing.T) {
	tr := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1", func(o *harden.Options) { o.Config = map[string]any{"data-dir": "/srv/k3s"} })
	assert.Equal(t, benchmark.Pass, tr.result(t, "node.hygiene.tokens").Status)
	tr.file(k3s.DefaultDataDir+"/server/token", 0o600, "S3CR3T")
	r := tr.result(t, "node.hygiene.tokens")
	assert.Equal(t, benchmark.Fail, r.Status, r.Found)
}

// TestAdmissionWithoutPodSecurity: an admission configuration may have no entry
// for PodSecurity, whose default admits everything.
func TestAdmissionWithoutPodSecurity(t *testing.T) {
	tr := server(t)
	tr.file(psaFile, 0o600, "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: []\n")
	r := tr.result(t, "podsec.privileged")
	assert.Equal(t, benchmark.Fail, r.Status, r.Found)
	assert.Contains(t, r.Found, "has no entry for PodSecurity")
}

// TestSecretsInKeptCopies: the hardening keeps what it replaces beside it, and a
// copy of the default file stays when another one is the main one later.
func TestSecretsInKeptCopies(t *testing.T) {
	const main = "/etc/k3s/main.yaml"
	tr := server(t)
	tr.file("/etc/systemd/system/k3s.service", 0o644, "[Service]\nExecStart=/usr/local/bin/k3s server --config "+main+"\n")
	tr.file(main, 0o600, string(tr.entries[k3s.ConfigFile].Data))
	delete(tr.entries, k3s.ConfigFile)
	require.Equal(t, benchmark.Pass, tr.result(t, "node.hygiene.config-secrets").Status)
	for _, kept := range []string{main + ".before-k3s-cis", k3s.ConfigFile + ".before-k3s-cis"} {
		one := tr.clone()
		one.file(kept, 0o600, "token: S3CR3T\n")
		r := one.result(t, "node.hygiene.config-secrets")
		assert.Equal(t, benchmark.Fail, r.Status, kept)
		assert.Equal(t, []benchmark.Evidence{{Source: kept, Line: 1, Detail: "token has a value (not shown)"}}, r.Evidence[:1])
	}
}

// TestHostileNode: whatever is on the node, evaluation ends, soon, with one
// line a text and nothing endless.
func TestHostileNode(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for _, c := range "bcdefghi" {
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 9) + "]\n"
	}
	for name, text := range map[string]string{
		"bomb": bomb, "binary": "\x00\x01\xff\xfe", "long line": strings.Repeat("x", 1<<20),
		"control characters": "k: \"\x1b[31m\r\n", "deep": strings.Repeat("[", 20_000), "tabs": "\ta: b\n",
	} {
		tr := server(t)
		for _, p := range []string{
			k3s.ConfigFile, psaFile, auditFile, netpolFile, k3s.RegistriesFile,
			"/etc/sysctl.d/90-kubelet.conf", "/etc/systemd/system/k3s.service", "/etc/systemd/system/k3s.service.env",
		} {
			one := tr.clone()
			one.file(p, 0o600, text)
			began := time.Now()
			for _, r := range benchmark.Evaluate(one.input(t, "cis-2.1")) {
				for _, s := range []string{r.Found, r.Reason, r.Expected} {
					assert.LessOrEqual(t, len(s), 1100, "%s in %s: %s", name, p, r.Key)
					assert.NotContains(t, s, "\x1b")
					assert.NotContains(t, s, "\n")
				}
			}
			assert.Less(t, time.Since(began), time.Minute, "%s in %s", name, p)
		}
	}
}
