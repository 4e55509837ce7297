package cis

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// planter puts secrets into the files of a tree. Each secret is a word of its
// own that begins with mark and stands nowhere else.
type planter struct {
	*rand.Rand
	mark  string
	count int
	files map[string]string
	// damage is done to every file before it is written.
	damage func(string) string
}

// marks begin the secrets: some look like a token, some like a name.
const markLetters = "Zq7xS3cret"

func newPlanter(seed uint64) *planter {
	return &planter{Rand: rand.New(rand.NewPCG(seed, 1)), mark: markLetters, files: map[string]string{}} // a test that can be repeated
}

// secret is a new secret.
func (p *planter) secret() string {
	p.count++
	return fmt.Sprintf("%s%d", p.mark, p.count)
}

func (p *planter) one(of ...string) string { return of[p.IntN(len(of))] }

// address is an address with a secret in it, as people write proxies, registries
// and databases, well and badly.
func (p *planter) address() string {
	s := p.secret()
	return fmt.Sprintf(p.one(
		"http://user:%s@proxy:3128", "user:%s@proxy:3128", "http://u:pa%%zz%s@p", "https://h/?password=%s", "http://u:%s@[::1",
		"postgres://db/k3s?user=k&password=%s", "postgres://k:%s@db:5432/k3s?sslmode=disable", "k3s:%s@tcp(db:3306)/k3s",
		"host=db user=k password=%s dbname=k3s", "nats://u:a b%s@n", "https://db/?pass%%77ord=%s", "http://u:x/%s@p", "http://%s:@p:1",
	), s)
}

// shapes are the ways in which YAML can say a value, well and badly.
var shapes = []string{
	"%s", "'%s'", "\"%s\"", "[%s]", "\n- %s", "\n  - a\n  - %s", "{a: %s}", "\n  k: %s", "|\n  %s", ">-\n  a\n  %s", "|2\n   %s\n ",
	"a\n  %s", "*%s", "&%s x", "&a %s", "!%s x", "!!int %s", "!!binary %s", "!!float '%s'", "!!timestamp %s", "!!bool %s", "!x!%s y",
	"'%s", "\"%s", "\"\\x%s\"", "[%s", "{%s", "\t%s", "@%s", "`%s`", "%%%s", "%s: x", "- %s", "? %s", "x # %s", "# %s", "%s\n%[1]s\n",
	"\n%s", "\n%s: x", "\n  %s\n k: v", "~ %s", "<<: %s", "\n  <<: %s", "\n  <<: *%s", "&a [*a, %s]", "1%s", "0x%s", "\x00%s", "\x1b%s", "\xff%s", "K10%s::server:x",
	"{\"%s\": 1", "[{%s: 1}]", "'a': %s", "\"a\" %s", "--- %s", "\n--- %s", "\n---\ntoken: %s", "\n...\n%s", "|\n %s\n\t- x",
}

func (p *planter) shaped(value string) string { return fmt.Sprintf(p.one(shapes...), value) }

// keyLine is a line of K3s's configuration with a secret in it.
func (p *planter) keyLine() string {
	all := k3s.Keys()
	key := all[p.IntN(len(all))]
	name := p.one(append([]string{key.Name}, key.Aliases...)...)
	switch {
	case k3s.Secret(key.Name), p.IntN(8) == 0:
		name = p.one(name, name, name, name+"+", "\""+name+"\"", " "+name, "-"+name, "? "+name+"\n", name[:len(name)-1], name+"x", "tokn", "agent_token")
		return name + ": " + p.shaped(p.secret())
	case key.Kind == k3s.Boolean, key.Kind == k3s.Number, len(key.OneOf) > 0:
		return name + ": " + p.one("%s", "'%s'", "[%s]", "true %s", "1%s", "{%s: 1}")
	case strings.HasSuffix(key.Name, "-arg"):
		return name + ":\n- " + p.argument() + "\n- v=2"
	}
	switch p.IntN(6) {
	case 0:
		return p.secret() + p.one(":", ": x", "", ": [", "=x")
	case 1:
		return "# " + p.one("token: ", "", "password ") + p.secret()
	case 2:
		return "token: " + p.secret() + "\n" + "token: " + p.secret()
	case 3:
		return "tokn: " + p.shaped(p.secret())
	}
	return name + ": " + strconv.Quote(p.address())
}

// argument is an argument of a component with a secret in it.
func (p *planter) argument() string {
	s := p.secret()
	return fmt.Sprintf(p.one(
		"%s", "\"%s\"", "x=%s", "oidc-client-secret=%s", "token=%s", "etcd-password=%s", "anonymous-auth=%s", "v=%s", "audit-log-maxage=%s",
		"profiling=%s", "pod-max-pids=%s", "read-only-port=%s", "streaming-connection-idle-timeout=%s", "request-timeout=%s", "bind-address=%s",
		"etcd-servers=https://u:%s@db", "tls-min-version=%s", "tls-cipher-suites=%s", "enable-admission-plugins=%s", "disable-admission-plugins=%s",
		"feature-gates=%s=x", "authorization-mode=%s", "make-iptables-util-chains=%s", "event-qps=%s", "anonymous-auth = %s", "protect-kernel-defaults=%s",
		"seccomp-default=%s", "rotate-certificates=%s", "terminated-pod-gc-threshold=%s", "use-service-account-credentials=%s",
		"audit-log-path=http://u:%s@h", "kubeconfig=https://u:%s@h", "admission-control-config-file={%s: 1}", "[%s]", "{%s: 1}", "--%s=1", "{x: %s}",
	), s)
}

// filled replaces each %s of text by a secret.
func (p *planter) filled(text string) string {
	for strings.Contains(text, "%s") {
		text = strings.Replace(text, "%s", p.secret(), 1)
	}
	return text
}

// broken damages a text in one of the ways in which people and editors do.
func (p *planter) broken(text string) string {
	lines := strings.Split(text, "\n")
	i := p.IntN(len(lines))
	switch p.IntN(12) {
	case 0:
		lines[i] = "\t" + lines[i]
	case 1:
		lines[i] = strings.Replace(lines[i], ": ", ": '", 1)
	case 2:
		lines[i] = strings.Replace(lines[i], ": ", ": *", 1)
	case 3:
		lines[i] = strings.Replace(lines[i], ": ", ":", 1)
	case 4:
		lines = append(lines, lines[i])
	case 5:
		lines[i] = "  " + lines[i]
	case 6:
		lines[i] = strings.Replace(lines[i], ": ", ": !!int ", 1)
	case 7:
		lines = lines[:i+1]
	case 8:
		lines[i] = strings.Replace(lines[i], ": ", ": {", 1)
	}
	return strings.Join(lines, "\n")
}

const planted = "etc/rancher/k3s/config.yaml"

// places are the kinds of files that secrets are planted in.
var places = map[string]func(*planter){
	"configuration": func(p *planter) {
		text := ""
		for range 1 + p.IntN(3) {
			text += p.filled(p.keyLine()) + "\n"
		}
		text += p.one("", "protect-kernel-defaults: true\n", "kube-apiserver-arg:\n- anonymous-auth=true\n", "disable: [traefik]\n")
		p.files[p.one(planted, planted, "etc/rancher/k3s/config.yaml.d/10.yaml", "etc/rancher/k3s/config.yaml.before-k3s-cis")] += text
	},
	"environment": func(p *planter) {
		all := k3s.Keys()
		env := ""
		for env == "" {
			env = all[p.IntN(len(all))].Env
		}
		value, _ := strings.CutPrefix(p.shaped(p.secret()), "\n")
		name := p.one(env, "K3S_TOKEN", "K3S_DATASTORE_ENDPOINT", "HTTP_PROXY", "https_proxy", "CONTAINERD_HTTP_PROXY", "K3S_TOKN", "AWS_SECRET_ACCESS_KEY")
		if !k3s.Secret(name) {
			value = p.address()
		}
		line := p.one(name+"="+value, "export "+name+"="+value, name+"='"+value, name+"=\""+value, name+" = "+value, p.secret(), p.secret()+"=1", "#"+p.secret())
		p.files[p.one("etc/systemd/system/k3s.service.env", "etc/default/k3s", "etc/sysconfig/k3s", "etc/rancher/k3s/k3s.env", "etc/environment")] += line + "\n"
		p.unit("ExecStart=/usr/local/bin/k3s server\n")
	},
	"unit": func(p *planter) {
		p.unit(p.filled(p.one(
			"Environment=K3S_TOKEN=%s\n", "Environment=\"K3S_TOKEN=%s\n", "Environment='HTTP_PROXY=u:%s@proxy:1'\n", "Environment=%s\n", "Environment=\"%s\"=1\n",
			"Environment=K3S_TOKEN=%%q%s\n", "Environment=K3S_TOKEN=\\x%s\n", "SetCredential=t:%s\n", "Tokn=%s\n", "%s\n", "[%s]\n", "PassEnvironment=%s\n", "EnvironmentFile=-/etc/%%q%s\n",
			"", "", "",
		)) + p.filled(p.one(
			"ExecStart=/usr/local/bin/k3s server\n", "ExecStart=/usr/local/bin/k3s server --token %s\n", "ExecStart=/usr/local/bin/k3s server --token=%s\n",
			"ExecStart=/usr/local/bin/k3s server -t %s\n", "ExecStart=/usr/local/bin/k3s server --tokn %s\n", "ExecStart=/usr/local/bin/k3s server --tokn=%s\n",
			"ExecStart=/usr/local/bin/k3s server %s\n", "ExecStart=/usr/local/bin/k3s server '%s\n", "ExecStart=/usr/local/bin/k3s server --%s\n", "ExecStart=/usr/local/bin/k3s %s\n",
			"ExecStart=/bin/sh -c 'k3s server --token %s'\n", "ExecStart=/usr/bin/env K3S_TOKEN=%s /usr/local/bin/k3s server\n",
			"ExecStart=/usr/local/bin/k3s server --debug=%s\n", "ExecStart=/usr/local/bin/k3s server --https-listen-port %s\n",
			"ExecStart=/usr/local/bin/k3s server --kube-apiserver-arg=anonymous-auth=%s\n", "ExecStart=/usr/local/bin/k3s server --kubelet-arg %s\n",
			"ExecStart=/usr/local/bin/k3s server --node-name http://u:%s@h\n", "ExecStart=/usr/local/bin/k3s server --token \"%s\n", "ExecStart=/usr/local/bin/k3s server \\\n  --token \\\n  %s\n",
			"ExecStart=/usr/local/bin/k3s server --token %%q%s\n", "ExecStart=/usr/local/bin/k3s server --token $$%s ${%s}\n", "ExecStart=\nExecStart=/usr/local/bin/k3s server --vpn-auth=name=x,joinKey=%s\n",
		)))
	},
	"init script": func(p *planter) {
		p.files["etc/init.d/k3s"] = p.filled(p.one(
			"#!/sbin/openrc-run\ncommand=/usr/local/bin/k3s\ncommand_args=\"server --token %s\"\n", "#!/sbin/openrc-run\ncommand=/usr/local/bin/k3s\ncommand_args=\"server $(echo %s)\"\n",
			"#!/sbin/openrc-run\ncommand=/usr/local/bin/k3s\ncommand_args='server --token %s\n", "#!/sbin/openrc-run\ncommand=/usr/local/bin/k3s\ncommand_args=\"server ${K:-%s}\"\n",
			"#!/sbin/openrc-run\ncommand=/usr/local/bin/k3s\ncommand_args=\"server `x %s`\"\nexport K3S_TOKEN=%s\n", "#!/sbin/openrc-run\ncommand=$%s\ncommand_args=server\nK3S_TOKEN=\"%s",
		))
	},
	"registries": func(p *planter) {
		p.files["etc/rancher/k3s/registries.yaml"] = p.broken(p.filled(p.one(
			"configs:\n  r:\n    auth:\n      username: u\n      password: %s\n", "configs:\n  r:\n    auth:\n      token: %s\n", "configs:\n  r:\n    auth: {auth: %s, identity_token: [%s]}\n",
			"mirrors:\n  docker.io:\n    endpoint:\n    - https://u:%s@mirror\n", "configs:\n  r:\n    auth:\n      pasword: %s\n", "%s\n", "{\"configs\": {\"r\": {\"auth\": {\"password\": \"%s\"}}}\n",
		)))
	},
	"manifest": func(p *planter) {
		s := p.secret()
		encoded := base64.StdEncoding.EncodeToString([]byte(s))
		p.files["var/lib/rancher/k3s/server/manifests/"+p.one("a.yaml", "b.json", "sub/c.yml")] = p.broken(fmt.Sprintf(p.one(
			"apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  p: %[1]s\n", "apiVersion: v1\nmetadata:\n  name: s\nstringData:\n  p: %[1]s\n",
			"kind: Secret\nstringData: %[1]s\n", "apiVersion: v1\nkind: Secret\nmetadata: %[1]s\n", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\ndata:\n  p: %[1]s\n",
			"apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\ndata:\n  p: {%[1]s: 1}\n", "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata:\n  name: c\nspec:\n  valuesContent: |\n    p: %[1]s\n",
			"{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"data\": {\"p\": \"%[1]s\"}}\n", "{\"kind\": \"Secret\", \"data\": {\"p\": \"%[1]s\"\n", "apiVersion: v1\nkind: List\nitems:\n- kind: Secret\n  stringData: {p: %[1]s}\n",
			"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  labels: {a: \"%[1]s!\"}\n", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n%[1]s: x\n",
			"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\nimmutable: %[1]s\n", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: n\nspec:\n  podSelector: {}\n  ingress:\n  - ports: [{port: \"%[1]s_\"}]\n",
			"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: n\nspec:\n  podSelector: {}\n  ingress:\n  - from: [{ipBlock: {cidr: %[1]s}}]\n",
			"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: n\nspec:\n  podSelector: {}\n  policyTypes: [%[1]s]\n", "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: default\nautomountServiceAccountToken: %[1]s\n",
			"apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - name: c\n    image: i\n    env: [{name: P, value: %[1]s}]\n    resources: {limits: {memory: %[1]s}}\n",
			"apiVersion: v1\nkind: %[1]s\nmetadata:\n  name: x\n", "apiVersion: %[1]s\nkind: Secret\nmetadata:\n  name: x\n", "--- %[1]s\nkind: Secret\n", "apiVersion: v1\nkind: Secret\nmetadata:\n  creationTimestamp: %[1]s\n  name: s\n",
		), s, encoded))
	},
	"kubeconfig": func(p *planter) {
		p.files[p.one("etc/rancher/k3s/k3s.yaml", "var/lib/rancher/k3s/agent/kubelet.kubeconfig", "root/.kube/config")] = p.broken(p.filled("users:\n- name: u\n  user:\n    token: %s\n    client-key-data: %s\n"))
	},
	"policy": func(p *planter) {
		s := p.secret()
		p.files["etc/rancher/k3s/"+p.one("psa.yaml", "audit.yaml")] = p.broken(fmt.Sprintf(p.one(
			"apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: PodSecurity\n  configuration:\n    apiVersion: pod-security.admission.config.k8s.io/v1\n    kind: PodSecurityConfiguration\n    defaults: {enforce: %[1]s}\n    exemptions: {usernames: [%[1]s, 1]}\n",
			"apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: %[1]s\n  configuration: {}\n", "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n%[1]s: []\n",
			"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: %[1]s\n", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n  %[1]s: x\n", "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [%[1]s]\nrules:\n- level: Metadata\n  verbs: %[1]s\n",
			"apiVersion: %[1]s\nkind: Policy\n", "kind: %[1]s\n", "token: *%[1]s\n", "{\"token\": \"%[1]s\"",
		), s))
		p.files[planted] += "kube-apiserver-arg:\n- admission-control-config-file=/etc/rancher/k3s/psa.yaml\n- audit-policy-file=/etc/rancher/k3s/audit.yaml\n"
	},
	"component configuration": func(p *planter) {
		flag := p.one("kube-apiserver-arg:\n- encryption-provider-config", "kube-apiserver-arg:\n- authentication-config", "kube-apiserver-arg:\n- authorization-config", "kube-scheduler-arg:\n- config", "kube-proxy-arg:\n- config", "kubelet-arg:\n- config")
		p.files[planted] += flag + "=/etc/rancher/k3s/own.yaml\n"
		p.files["etc/rancher/k3s/own.yaml"] = p.broken(p.filled(p.one(
			"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - aescbc:\n      keys: [{name: k, secret: %s}]\n",
			"resources:\n- resources: [secrets]\n  providers:\n  - %s: {}\n", "anonymous: {enabled: %s}\nprofiling: %s\nenableProfiling: %s\n", "leaderElection: %s\n", "jwt:\n- issuer: {url: 'http://u:%s@h'}\n",
			"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication: {anonymous: {enabled: %s}}\nreadOnlyPort: %s\n", "%s\n", "kind: %s\n", "[%s\n",
		)))
	},
	"kubelet drop-in": func(p *planter) {
		p.files["var/lib/rancher/k3s/agent/etc/kubelet.conf.d/10-own.conf"] = p.broken(p.filled(p.one(
			"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nreadOnlyPort: %s\n", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nprotectKernelDefaults: %s\nauthentication: {anonymous: {enabled: %s}}\n",
			"kind: %s\n", "apiVersion: %s\nkind: KubeletConfiguration\n", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n%s: 1\ntlsCipherSuites: [%s]\nstaticPodURLHeader: {A: [%s]}\n",
		)))
	},
	"kernel": func(p *planter) {
		p.files["etc/sysctl.d/50.conf"] = p.filled(p.one("kernel.x = %s\n", "%s\n", "%s = 1\n", "vm.overcommit_memory = %s\n", "# %s\n", "kernel.panic=\"%s\n"))
		p.files[p.one("etc/kernel/cmdline", "boot/cmdline.txt", "etc/default/grub")] = p.filled("GRUB_CMDLINE_LINUX=\"ds=nocloud;s=http://u:%s@h token=%s sysctl.kernel.panic=%s\"\n")
	},
	"first boot": func(p *planter) {
		text := p.broken(p.filled("#cloud-config\npassword: %s\nwrite_files:\n- path: /etc/rancher/k3s/config.yaml\n  content: |\n    token: %s\n"))
		p.files[p.one("var/lib/cloud/seed/nocloud/user-data", "etc/cloud/cloud.cfg.d/99.cfg", "etc/rancher/k3s/user-data.yaml")] = text
	},
	"file that a key names": func(p *planter) {
		p.files[planted] += p.one("token-file", "agent-token-file", "vpn-auth-file", "datastore-keyfile", "private-registry") + ": /etc/rancher/k3s/named\n"
		p.files["etc/rancher/k3s/named"] = p.filled(p.one("%s\n", "K10abc::server:%s", "configs: {r: {auth: {password: %s}}}\n", "configs: *%s\n", "name=x,joinKey=%s", "-----BEGIN KEY-----\n%s\n"))
	},
}

func (p *planter) unit(lines string) {
	file := "etc/systemd/system/" + p.one("k3s.service", "k3s.service", "k3s.service.d/10.conf")
	if p.files[file] == "" {
		p.files[file] = "[Service]\nType=notify\nEnvironmentFile=-/etc/systemd/system/k3s.service.env\n"
	}
	p.files[file] += lines
}

// plant fills a new tree with secrets and returns the kinds of files it chose.
func (p *planter) plant(t testing.TB, tree string, only ...string) []string {
	t.Helper()
	chosen := only
	for len(chosen) == 0 || p.IntN(2) == 0 && len(only) == 0 {
		names := slices.Sorted(maps.Keys(places))
		chosen = append(chosen, names[p.IntN(len(names))])
	}
	for _, name := range chosen {
		places[name](p)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "etc/sysctl.d"), 0o755))
	for name, text := range p.files {
		file := filepath.Join(tree, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		if p.damage != nil {
			text = p.damage(text)
		}
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	return chosen
}

// transcript keeps what is logged and said, which happens at the same time.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns what was written by now.
func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// spoken runs one mode on a tree and returns all that left the plugin by name:
// what was said, logged and returned, and each report.
func spoken(t testing.TB, dir, tree string, options map[string]any) map[string]string {
	t.Helper()
	t.Setenv("PACKER_LOG", "1") // so that all is told that ever is
	out := map[string]string{}
	var logged transcript
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	reports := filepath.Join(dir, "reports")
	require.NoError(t, os.RemoveAll(reports))
	raw := map[string]any{"report_dir": reports, "packer_build_name": "node", "packer_builder_type": "k3s-image", "k3s_version": release}
	for k, v := range options {
		raw[k] = v
	}
	var p Provisioner
	err := p.Prepare(raw)
	if err == nil {
		ui := &packersdk.BasicUi{Reader: strings.NewReader(""), Writer: &logged, ErrorWriter: &logged, PB: &packersdk.NoopProgressTracker{}}
		err = p.Provision(t.Context(), ui, nil, map[string]any{rootDirectoryKey: tree})
	}
	if err != nil {
		out["error"] = err.Error()
	}
	out["log"] = logged.String()
	files, _ := filepath.Glob(filepath.Join(reports, "*"))
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		out[filepath.Base(file)] = string(data)
	}
	return out
}

// leaks lists what shows a secret, with the line that does.
func leaks(out map[string]string, mark string) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(out)) {
		for line := range strings.Lines(out[name]) {
			if strings.Contains(line, mark) {
				found = append(found, name+": "+strings.TrimSpace(line))
			}
		}
	}
	return found
}

// plantedRuns is how many trees are planted; PLANTED_RUNS asks for others.
func plantedRuns(t *testing.T) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("PLANTED_RUNS")); err == nil {
		return n
	}
	if os.Getenv("PACKER_ACC") != "" {
		return 1000
	}
	return 60
}

// No secret gets into what is said, logged, returned or written, wherever on the
// node it stands and however broken the file is.
func TestPlantedSecretsStayHidden(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the files of a node belong to root")
	}
	hits, shown := 0, 0
	kinds := slices.Sorted(maps.Keys(places))
	for seed := range uint64(plantedRuns(t)) {
		p := newPlanter(seed)
		dir := t.TempDir()
		tree := filepath.Join(dir, "tree")
		require.NoError(t, os.Mkdir(tree, 0o755))
		var chosen []string
		if int(seed) < len(kinds) { // each kind at least once
			chosen = p.plant(t, tree, kinds[seed])
		} else {
			chosen = p.plant(t, tree)
		}
		var found []string
		for _, options := range []map[string]any{{"mode": modeCheck}, {"mode": modePlan}, {"mode": modePlan, "overwrite": true}, {"mode": modeApply, "overwrite": seed%2 == 0}} {
			for _, leak := range leaks(spoken(t, dir, tree, options), p.mark) {
				found = append(found, fmt.Sprintf("%v: %s", options["mode"], leak))
			}
		}
		require.NoError(t, os.RemoveAll(dir))
		if len(found) > 0 {
			hits++
		}
		for _, leak := range found {
			if shown++; shown <= 40 {
				t.Errorf("seed %d, %v: %.400s", seed, chosen, leak)
			}
		}
	}
	t.Logf("%d of %d runs showed a secret", hits, plantedRuns(t))
	assert.Zero(t, hits)
}

// Every key can have an address in its place, those too whose values are used as
// paths from then on.
func TestPasswordInPlaceOfAPathStaysHidden(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the files of a node belong to root")
	}
	for _, key := range k3s.Keys() {
		if key.Kind == k3s.Boolean || key.Kind == k3s.Number || !strings.Contains(key.Name, "dir") && !strings.Contains(key.Name, "file") && !strings.Contains(key.Name, "config") {
			continue
		}
		tree := newTree(t)
		write(t, tree, planted, key.Name+": postgres://k:"+markLetters+"1@db:5432/k3s?sslmode=disable\n")
		for _, mode := range []string{modeCheck, modePlan} {
			assert.Empty(t, leaks(spoken(t, t.TempDir(), tree, map[string]any{"mode": mode}), markLetters), "%s in %s", key.Name, mode)
		}
	}
}

// Options are the user's own, and config_file and config may hold secrets too.
func TestSecretsInOptionsStayHidden(t *testing.T) {
	const secret = markLetters + "1"
	file := filepath.Join(t.TempDir(), "k3s.yaml")
	texts := []string{"token: " + secret, "tokn: " + secret, secret + ": x", "token: [" + secret, "debug: " + secret, "https-listen-port: " + secret}
	for _, shape := range shapes {
		texts = append(texts, fmt.Sprintf("token: "+shape, secret), fmt.Sprintf("tokn: "+shape, secret))
	}
	var trials []map[string]any
	for i, text := range texts {
		name := fmt.Sprintf("%s.%d", file, i)
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		trials = append(trials, map[string]any{"config_file": name})
	}
	for key, value := range map[string]any{
		"token": secret, "tokn": secret, "debug": secret, "agent-token": "[" + secret + "]", "vpn-auth": "{a: " + secret + "}",
		"datastore-endpoint": "postgres://db/k3s?password=" + secret, "node-name": "*" + secret, "node-label": "a: " + secret, "tls-san": "[{a: " + secret + "}]",
	} {
		trials = append(trials, map[string]any{"config": map[string]any{key: value}})
	}
	trials = append(trials,
		map[string]any{"config": map[string]any{"token": map[string]any{"a": secret}}},
		map[string]any{"config": map[string]any{"token": []any{secret}}},
		map[string]any{"config": secret},
		map[string]any{"sysctl": map[string]any{"a": []any{secret}}},
		map[string]any{"kube_apiserver_args": []string{secret}}, map[string]any{"kube_apiserver_args": []string{"profiling=" + secret}},
		map[string]any{"kubelet_args": []string{"tokn=" + secret, "a b=" + secret}},
		map[string]any{"execute_command": "echo " + secret + " | sudo -S sh"}, map[string]any{"execute_command": "echo " + secret + " | {{ .Path"},
		map[string]any{"execute_command": "{{ " + secret + " }} | {{ .Path }}"},
	)
	for _, options := range trials {
		assert.Empty(t, leaks(spoken(t, t.TempDir(), newTree(t), options), markLetters), "%v", options)
	}
}

// FuzzPlantedSecrets damages planted files by what the fuzzer finds.
func FuzzPlantedSecrets(f *testing.F) {
	for seed, insert := range []string{"", "\t", "*", "'", "\"", "\n", ": ", "[", "&a ", "!!int ", "---\n", "#", "\x00", "\xff", "\n  "} {
		f.Add(uint64(seed), uint16(seed), []byte(insert))
	}
	f.Fuzz(func(t *testing.T, seed uint64, at uint16, insert []byte) {
		if os.Getuid() != 0 {
			t.Skip("needs root: the files of a node belong to root")
		}
		p := newPlanter(seed)
		p.damage = func(text string) string {
			i := int(at) % (len(text) + 1)
			return text[:i] + string(insert) + text[i:]
		}
		dir := t.TempDir()
		tree := filepath.Join(dir, "tree")
		require.NoError(t, os.Mkdir(tree, 0o755))
		p.plant(t, tree)
		for _, mode := range []string{modeCheck, modePlan} {
			assert.Empty(t, leaks(spoken(t, dir, tree, map[string]any{"mode": mode}), p.mark))
		}
	})
}
