package k3s_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

const (
	mainFile = k3s.ConfigFile
	dropIns  = k3s.ConfigFile + ".d/"
	unitFile = "/etc/systemd/system/k3s.service"
	envFile  = "/etc/systemd/system/k3s.service.env"
)

// unit is a service file that runs the server with these words.
func unit(words string) string {
	return "[Service]\nEnvironmentFile=-/etc/default/%N\nEnvironmentFile=-/etc/sysconfig/%N\nEnvironmentFile=-" + envFile + "\nExecStart=/usr/local/bin/k3s server " + words + "\n"
}

// short renders a setting as "value@file:line" items.
func short(e *k3s.Effective, key string) string {
	var out []string
	for _, v := range e.Settings[key].Values {
		out = append(out, v.Text+"@"+base(v.Origin))
	}
	return strings.Join(out, " ")
}

func base(o k3s.Origin) string {
	if o.Default {
		return "default"
	}
	s := o.String()
	return s[strings.LastIndexByte(s, '/')+1:]
}

func problems(e *k3s.Effective) string {
	var out []string
	for _, p := range e.Problems {
		out = append(out, fmt.Sprintf("%s %s: %s", p.Consequence, base(p.Origin), p.Text))
	}
	return strings.Join(out, "\n")
}

// TestMerging checks where settings come from and which of several counts.
// Each row is named after the rule it stands for.
func TestMerging(t *testing.T) {
	type files = map[string]string
	for name, c := range map[string]struct {
		files   files
		version string
		key     string // looked at; token-file unless given
		want    string
		problem string // text one of the problems must hold; none may be there when empty
	}{
		"file name: the default":                    {files: files{mainFile: "token-file: /a\n"}, want: "/a@config.yaml:1"},
		"file name: --config beats the default":     {files: files{mainFile: "token-file: /a\n", unitFile: unit("--config /etc/rancher/k3s/config.yaml.d/x.txt"), dropIns + "x.txt": "token-file: /b\n"}, want: "/b@x.txt:1", problem: "is not read: "},
		"file name: -c= form":                       {files: files{unitFile: unit("-c=/etc/rancher/k3s/config.yaml.d/x.yaml"), dropIns + "x.yaml": "token-file: /b\n"}, want: "/b@x.yaml:1"},
		"file name: the environment beats --config": {files: files{mainFile: "token-file: /a\n", unitFile: unit("--config /nowhere.yaml"), envFile: "K3S_CONFIG_FILE=" + mainFile}, want: "/a@config.yaml:1"},
		"file name: one that does not exist":        {files: files{unitFile: unit(""), envFile: "K3S_CONFIG_FILE=" + mainFile}, problem: "which does not exist: K3s starts without any"},
		"drop-ins: sorted by name":                  {files: files{dropIns + "2.yaml": "token-file: /2\n", dropIns + "10.yaml": "token-file: /10\n"}, want: "/2@2.yaml:1", problem: "replaced by /2"},
		"drop-ins: without a main file":             {files: files{dropIns + "a.yml": "token-file: /a\n"}, want: "/a@a.yml:1"},
		"drop-ins: endings in any case":             {files: files{dropIns + "a.YAML": "token-file: /a\n"}, want: "/a@a.YAML:1"},
		"drop-ins: other endings are not read":      {files: files{dropIns + "a.conf": "token-file: /a\n"}, problem: "only files ending in .yaml or .yml"},
		"drop-ins: no directories":                  {files: files{dropIns + "a.yaml/": "", mainFile: "token-file: /a"}, want: "/a@config.yaml:1"},
		"drop-ins: not before v1.21":                {files: files{dropIns + "a.yaml": "token-file: /a\n"}, version: "v1.20", problem: "reads no drop-ins"},
		"files: none before v1.19":                  {files: files{mainFile: "token-file: /a\n"}, version: "v1.18", problem: "reads no configuration file"},
		"files: config.yaml.d is a file":            {files: files{k3s.ConfigFile + ".d": "x"}, problem: "is not a directory"},

		"yaml: the last of two equal keys counts": {files: files{mainFile: "token-file: /a\ntoken-file: /b\n"}, want: "/b@config.yaml:2", problem: "is given again at"},
		"yaml: the first document only":           {files: files{mainFile: "token-file: /a\n---\ntoken-file: /b\n"}, want: "/a@config.yaml:1", problem: "only the first YAML document"},
		"yaml: an empty first document":           {files: files{mainFile: "---\n---\ntoken-file: /b\n"}, problem: "only the first YAML document"},
		"yaml: yes is true":                       {files: files{mainFile: "protect-kernel-defaults: yes\n"}, key: "protect-kernel-defaults", want: "true@config.yaml:1"},
		"yaml: off is false":                      {files: files{mainFile: "protect-kernel-defaults: off\n"}, key: "protect-kernel-defaults", want: "false@config.yaml:1"},
		"yaml: a quoted yes is no boolean":        {files: files{mainFile: "protect-kernel-defaults: 'yes'\n"}, key: "protect-kernel-defaults", want: "yes@config.yaml:1", problem: "is not a boolean"},
		"yaml: an empty boolean":                  {files: files{mainFile: "protect-kernel-defaults:\n"}, key: "protect-kernel-defaults", want: "@config.yaml:1", problem: "is not a boolean"},
		"yaml: a bare 0644 is octal":              {files: files{mainFile: "write-kubeconfig-mode: 0644\n"}, key: "write-kubeconfig-mode", want: "420@config.yaml:1"},
		"yaml: a quoted 0644 is text":             {files: files{mainFile: "write-kubeconfig-mode: \"0644\"\n"}, key: "write-kubeconfig-mode", want: "0644@config.yaml:1"},
		"yaml: an alias":                          {files: files{mainFile: "node-label: &x [a=b]\nnode-taint: *x\n"}, key: "node-taint", want: "a=b@config.yaml:1"},
		"yaml: a mapping as value":                {files: files{mainFile: "node-label:\n  a: b\n"}, key: "node-label", problem: "has keys below it"},
		"yaml: a broken file":                     {files: files{mainFile: "a: [\n"}, problem: "cannot parse it and exits"},
		"yaml: a list as root":                    {files: files{mainFile: "- a\n"}, problem: "cannot parse it and exits"},
		"yaml: bytes that are no text":            {files: files{mainFile: "a: \x00\xff\n"}, problem: "cannot parse it and exits"},
		"yaml: no keys at all":                    {files: files{mainFile: "# nothing\n"}},
		"yaml: the line of each item":             {files: files{mainFile: "node-label:\n  - a=1\n\n  - b=2\n"}, key: "node-label", want: "a=1@config.yaml:2 b=2@config.yaml:4"},

		"merge: a plain key in a drop-in replaces the list": {files: files{mainFile: "node-label: [a=1, b=2]\n", dropIns + "a.yaml": "node-label: c=3\n"}, key: "node-label", want: "c=3@a.yaml:1", problem: "is replaced whole by"},
		"merge: key+ appends to a list":                     {files: files{mainFile: "node-label: [a=1]\n", dropIns + "a.yaml": "node-label+: [b=2]\n"}, key: "node-label", want: "a=1@config.yaml:1 b=2@a.yaml:1"},
		"merge: key+ turns a text into a list":              {files: files{mainFile: "node-label: a=1\n", dropIns + "a.yaml": "node-label+: b=2\n"}, key: "node-label", want: "a=1@config.yaml:1 b=2@a.yaml:1"},
		"merge: key+ with nothing before sets":              {files: files{dropIns + "a.yaml": "node-label+: b=2\n"}, key: "node-label", want: "b=2@a.yaml:1"},
		"merge: key+ within one file":                       {files: files{mainFile: "node-label: a=1\nnode-label+: b=2\n"}, key: "node-label", want: "a=1@config.yaml:1 b=2@config.yaml:2"},
		"merge: a plain key after key+ replaces both":       {files: files{mainFile: "node-label: a=1\n", dropIns + "a.yaml": "node-label+: b=2\n", dropIns + "b.yaml": "node-label: [c=3]\n"}, key: "node-label", want: "c=3@b.yaml:1", problem: "is replaced whole by"},
		"merge: an equal value is no contradiction":         {files: files{mainFile: "token-file: /a\n", dropIns + "a.yaml": "token-file: /a\n"}, want: "/a@a.yaml:1"},
		"merge: key+ is a key of that name before v1.21":    {files: files{mainFile: "node-label+: b=2\n"}, version: "v1.20", key: "node-label", problem: "no key node-label+"},

		"command line: beats the file for one value":     {files: files{mainFile: "token-file: /a\n", unitFile: unit("--token-file /b")}, want: "/b@k3s.service:5", problem: "token-file is set to /a here and to /b at"},
		"command line: the same value is no conflict":    {files: files{mainFile: "token-file: /b\n", unitFile: unit("--token-file=/b")}, want: "/b@k3s.service:5"},
		"command line: appends to lists":                 {files: files{mainFile: "node-label: a=1\n", unitFile: unit("--node-label b=2")}, key: "node-label", want: "a=1@config.yaml:1 b=2@k3s.service:5"},
		"command line: a boolean without a value":        {files: files{unitFile: unit("--protect-kernel-defaults --token-file /b")}, key: "protect-kernel-defaults", want: "true@k3s.service:5"},
		"command line: a boolean takes its value with =": {files: files{unitFile: unit("--protect-kernel-defaults=false")}, key: "protect-kernel-defaults", want: "false@k3s.service:5"},
		"command line: a stray word":                     {files: files{unitFile: unit("--protect-kernel-defaults false")}, key: "protect-kernel-defaults", want: "true@k3s.service:5", problem: `"false" is not an option`},
		"command line: one dash will do":                 {files: files{unitFile: unit("-token-file /b")}, want: "/b@k3s.service:5"},
		"command line: a short name":                     {files: files{unitFile: unit("-d /data")}, key: "data-dir", want: "/data@k3s.service:5", problem: "was not looked at"},
		"command line: an unknown option":                {files: files{unitFile: unit("--protect-kernel-default")}, problem: "has no option --protect-kernel-default and exits; did you mean protect-kernel-defaults?"},
		"command line: no value":                         {files: files{unitFile: unit("--token-file")}, problem: "--token-file has no value"},
		"command line: through a shell":                  {files: files{unitFile: "[Service]\nExecStart=/bin/sh -c 'exec k3s server'\n"}, problem: "the command is not k3s itself"},
		"command line: through another program":          {files: files{unitFile: "[Service]\nExecStart=/usr/bin/nice -n 5 /usr/local/bin/k3s server --token-file /b\n"}, want: "/b@k3s.service:2"},
		"command line: another role":                     {files: files{unitFile: "[Service]\nExecStart=/usr/local/bin/k3s agent\n"}, problem: "the service runs k3s agent"},
		"command line: a refused unit":                   {files: files{unitFile: unit("'"), mainFile: ""}, problem: "systemd refuses the unit"},

		"environment: where nothing else says it":  {files: files{unitFile: unit(""), envFile: "K3S_TOKEN_FILE=/e\n"}, want: "/e@k3s.service.env:1"},
		"environment: the file beats it":           {files: files{mainFile: "token-file: /a\n", unitFile: unit(""), envFile: "K3S_TOKEN_FILE=/e\n"}, want: "/a@config.yaml:1"},
		"environment: the command line beats it":   {files: files{unitFile: unit("--token-file /b"), envFile: "K3S_TOKEN_FILE=/e\n"}, want: "/b@k3s.service:5"},
		"environment: the unit's own file is last": {files: files{unitFile: unit(""), "/etc/default/k3s": "K3S_TOKEN_FILE=/d\n", envFile: "K3S_TOKEN_FILE=/e\n"}, want: "/e@k3s.service.env:1"},
		"environment: nobody's without a service":  {files: files{envFile: "K3S_TOKEN_FILE=/e\n"}},
		"environment: a unit without it":           {files: files{unitFile: "[Service]\nExecStart=/k3s server\n", envFile: "K3S_TOKEN_FILE=/e\n"}},
		"environment: a boolean that is none":      {files: files{unitFile: unit(""), envFile: "K3S_SELINUX=maybe\n"}, key: "selinux", want: "maybe@k3s.service.env:1", problem: "not a boolean"},
		"environment: OpenRC's file":               {files: files{"/etc/init.d/k3s": "command=/usr/local/bin/k3s\ncommand_args=\"server '--node-label' 'a=1'\"\n. /etc/rancher/k3s/k3s.env\n", "/etc/rancher/k3s/k3s.env": "K3S_TOKEN_FILE=/e\n"}, want: "/e@k3s.env:1"},
		"keys: a misspelt one":                     {files: files{mainFile: "secret-encryption: true\n"}, key: "secrets-encryption", problem: "did you mean secrets-encryption?"},
		"keys: one too new for the release":        {files: files{mainFile: "secrets-encryption-provider: secretbox\n"}, version: "v1.32", key: "secrets-encryption-provider", problem: "has no key secrets-encryption-provider"},
		"values: one K3s does not take":            {files: files{mainFile: "egress-selector-mode: none\n"}, key: "egress-selector-mode", want: "none@config.yaml:1", problem: "egress-selector-mode has a value that is none of agent, cluster, pod, disabled, and K3s exits"},
		"values: a number that is none":            {files: files{mainFile: "https-listen-port: https\n"}, key: "https-listen-port", want: "https@config.yaml:1", problem: "is not a number"},
		"values: disable-etcd alone":               {files: files{mainFile: "disable-etcd: true\n"}, problem: "disable-etcd needs a server to join"},
		"values: disable-etcd of a joining server": {files: files{mainFile: "disable-etcd: true\nserver: https://a\n"}},
		"values: cluster-reset with a server":      {files: files{mainFile: "cluster-reset: true\nserver: https://a\n"}, problem: "does not go together with server"},
		"files: config.yaml is a directory":        {files: files{mainFile + "/": ""}, problem: "is a directory, and K3s refuses to start"},
		"yaml: an error tells nothing of the file": {files: files{mainFile: "K10secret\n"}, problem: "K3s cannot parse it and exits: a value of the wrong type"},
		"yaml: a merge key brings nothing in":      {files: files{mainFile: "x: &x\n  token-file: /x\n<<: *x\nnode-label: a=1\n"}, problem: "has keys below it"},
		"yaml: lines behind a merge key":           {files: files{mainFile: "<<: {token-file: /x}\nnode-label: a=1\n"}, key: "node-label", want: "a=1@config.yaml:2"},
		"yaml: a mapping within a list":            {files: files{mainFile: "kube-apiserver-arg:\n- profiling: false\n"}, key: "kube-apiserver-arg", problem: "an item of kube-apiserver-arg is a mapping"},
		"yaml: a list within a list":               {files: files{mainFile: "node-label: [[a=1, b=2]]\n"}, key: "node-label", want: "a=1@config.yaml:1"},
		"yaml: blanks around a value are cut":      {files: files{mainFile: "token-file: ' /a '\n"}, want: "/a@config.yaml:1"},
		"merge: key+ after a key without value":    {files: files{mainFile: "node-label:\n", dropIns + "a.yaml": "node-label+: b=2\n"}, key: "node-label", want: "b=2@a.yaml:1"},
		"merge: an empty key+":                     {files: files{mainFile: "node-label: a=1\n", dropIns + "a.yaml": "node-label+:\n"}, key: "node-label", want: "a=1@config.yaml:1"},
		"merge: an empty list":                     {files: files{mainFile: "node-label: []\n"}, key: "node-label"},
		"keys: hidden aliases":                     {files: files{mainFile: "kube-controller-arg: a=1\nkube-controller-manager-arg: b=2\n"}, key: "kube-controller-manager-arg", want: "a=1@config.yaml:1 b=2@config.yaml:2"},
		"keys: short names in files":               {files: files{mainFile: "i: [10.0.0.1]\n"}, key: "node-ip", want: "10.0.0.1@config.yaml:1"},
		"keys: unknown ones stop old releases":     {files: files{mainFile: "nonsense: 1\n"}, version: "v1.21", problem: "it exits or drops the key"},
	} {
		t.Run(name, func(t *testing.T) {
			version, key := c.version, c.key
			if version == "" {
				version = "v1.36"
			}
			if key == "" {
				key = "token-file"
			}
			e := resolve(t, version, k3s.Server, c.files)
			assert.Equal(t, c.want, short(e, key))
			if c.problem == "" {
				assert.Empty(t, problems(e))
			} else {
				assert.Contains(t, problems(e), c.problem)
			}
		})
	}
}

// TestDanglingDropIn: K3s takes a drop-in that cannot be found for a missing
// configuration and starts without any of it.
func TestDanglingDropIn(t *testing.T) {
	n := tree(k3s.Server, map[string]string{mainFile: guideConfig})
	n = node.New(n.Query(), append(n.Entries(), node.Entry{Path: dropIns + "a.yaml", Kind: node.KindLink, Target: "/gone"}))
	e, err := k3s.Resolve(n, release(t, "v1.36"), k3s.Server)
	require.NoError(t, err)
	assert.False(t, e.Bool("protect-kernel-defaults"))
	assert.Contains(t, problems(e), "ignored a.yaml: "+dropIns+"a.yaml is a link that leads nowhere")
}

// TestDanglingDropInBehindBrokenFile: K3s reads its files in order and exits at
// the first that it cannot parse, before it comes to a link that leads nowhere.
func TestDanglingDropInBehindBrokenFile(t *testing.T) {
	for broken, want := range map[string]string{dropIns + "a.yaml": "fatal a.yaml:1: K3s cannot parse it", dropIns + "c.yaml": "ignored b.yaml: " + dropIns + "b.yaml is a link"} {
		n := tree(k3s.Server, map[string]string{mainFile: guideConfig, broken: "a: [\n"})
		n = node.New(n.Query(), append(n.Entries(), node.Entry{Path: dropIns + "b.yaml", Kind: node.KindLink, Target: "/gone"}))
		e, err := k3s.Resolve(n, release(t, "v1.36"), k3s.Server)
		require.NoError(t, err)
		assert.Contains(t, problems(e), want)
		assert.Equal(t, strings.HasPrefix(want, "fatal"), strings.Contains(problems(e), "fatal"))
	}
}

// TestDanglingConfiguration: the one cause of all that then fails is said.
func TestDanglingConfiguration(t *testing.T) {
	n := tree(k3s.Server, nil)
	n = node.New(n.Query(), append(n.Entries(), node.Entry{Path: mainFile, Kind: node.KindLink, Target: "/gone/config.yaml"}))
	e, err := k3s.Resolve(n, release(t, "v1.36"), k3s.Server)
	require.NoError(t, err)
	assert.Contains(t, problems(e), "ignored config.yaml: "+mainFile+" is a link that leads nowhere")
}

// TestServiceUnderAnotherName: the service that counts is the one that runs
// K3s, whatever it is called.
func TestServiceUnderAnotherName(t *testing.T) {
	const words = "[Service]\nExecStart=/usr/local/bin/k3s \\\n  server --token-file /b\n"
	for name, c := range map[string]struct {
		files   map[string]string
		want    string
		problem string
	}{
		"the installer's with a name": {map[string]string{"/etc/systemd/system/k3s-eu.service": words}, "/b@k3s-eu.service:3", ""},
		"any other name":              {map[string]string{"/etc/systemd/system/cluster.service": words}, "/b@cluster.service:3", ""},
		"packaged":                    {map[string]string{"/usr/lib/systemd/system/k3s-eu.service": words}, "/b@k3s-eu.service:3", ""},
		"with a drop-in":              {map[string]string{"/etc/systemd/system/k3s-eu.service": words, "/etc/systemd/system/k3s-eu.service.d/a.conf": "[Service]\nExecStart=\nExecStart=/usr/local/bin/k3s server --token-file /c\n"}, "/c@a.conf:3", ""},
		"with an environment":         {map[string]string{"/etc/systemd/system/k3s-eu.service": "[Service]\nEnvironmentFile=-/etc/systemd/system/%N.service.env\nExecStart=/usr/local/bin/k3s server\n", "/etc/systemd/system/k3s-eu.service.env": "K3S_TOKEN_FILE=/e\n"}, "/e@k3s-eu.service.env:1", ""},
		"two of them":                 {map[string]string{"/etc/systemd/system/k3s-eu.service": words, unitFile: unit("")}, "", "runs K3s too, besides " + unitFile},
		"an agent beside":             {map[string]string{"/etc/systemd/system/k3s-eu.service": "[Service]\nExecStart=/usr/local/bin/k3s agent\n", unitFile: unit("--token-file /b")}, "/b@k3s.service:5", ""},
		"the installer's agent":       {map[string]string{"/etc/systemd/system/k3s-agent.service": "[Service]\nExecStart=/usr/local/bin/k3s agent\n", unitFile: unit("--token-file /b")}, "/b@k3s.service:5", ""},
		"a server named k3s-agent":    {map[string]string{"/etc/systemd/system/k3s-agent.service": words}, "/b@k3s-agent.service:3", ""},
		"through a shell":             {map[string]string{"/etc/systemd/system/x.service": "[Service]\nExecStart=/bin/sh -c 'exec /usr/local/bin/k3s server'\n"}, "", "the command is not k3s itself"},
		"a helper of K3s":             {map[string]string{"/etc/systemd/system/k3s-certs.service": "[Service]\nExecStart=/bin/sh -c 'chmod 600 /var/lib/rancher/k3s/server/tls/*.crt'\n", unitFile: unit("--token-file /b")}, "/b@k3s.service:5", ""},
		"a command of K3s":            {map[string]string{"/etc/systemd/system/backup.service": "[Service]\nExecStart=/usr/local/bin/k3s etcd-snapshot save\n", unitFile: unit("--token-file /b")}, "/b@k3s.service:5", ""},
		"OpenRC":                      {map[string]string{"/etc/init.d/k3s-eu": "command=/usr/local/bin/k3s\ncommand_args=\"server --token-file /b\"\n"}, "/b@k3s-eu:2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := tree(k3s.Server, c.files)
			for i, e := range n.Entries() { // packaged units are listed without what they say at first
				if strings.HasPrefix(e.Path, "/usr/lib/") || strings.HasPrefix(e.Path, "/etc/init.d/") {
					entries := n.Entries()
					entries[i].Data = nil
					n = node.New(n.Query(), entries)
				}
			}
			e, err := k3s.Resolve(n, release(t, "v1.36"), k3s.Server)
			require.NoError(t, err)
			for range 3 {
				if len(e.Missing) == 0 {
					break
				}
				n = node.New(append(n.Query(), e.Missing...), tree(k3s.Server, c.files).Entries())
				e, err = k3s.Resolve(n, release(t, "v1.36"), k3s.Server)
				require.NoError(t, err)
			}
			assert.Empty(t, e.Missing)
			assert.Equal(t, c.want, short(e, "token-file"))
			if c.problem == "" {
				assert.Empty(t, problems(e))
			} else {
				assert.Contains(t, problems(e), c.problem)
			}
		})
	}
}

func TestAgentKeys(t *testing.T) {
	for name, c := range map[string]struct{ config, want string }{
		"what an agent takes": {"protect-kernel-defaults: true\nkubelet-arg: [a=1]\nserver: https://x\ntoken-file: /t\n", ""},
		"a server's key":      {"node-label: a=1\nkube-apiserver-arg: [a=1]\n", "fatal config.yaml:2: kube-apiserver-arg is for servers only"},
		"an unknown key":      {"protect-kernel-default: true\n", "fatal config.yaml:1: K3s v1.36.1+k3s1 agent has no key protect-kernel-default and exits; did you mean protect-kernel-defaults?"},
	} {
		t.Run(name, func(t *testing.T) {
			e := resolve(t, "v1.36", k3s.Agent, map[string]string{mainFile: c.config})
			if c.want == "" {
				assert.Empty(t, problems(e))
			} else {
				assert.Contains(t, problems(e), c.want)
			}
			assert.Empty(t, e.Datastore)
			assert.NotContains(t, e.Args, k3s.APIServer)
			assert.Contains(t, e.Args, k3s.Kubelet)
		})
	}
	e := resolve(t, "v1.36", k3s.Agent, map[string]string{"/etc/systemd/system/k3s.service": unit("")})
	assert.Contains(t, problems(e), "the node has this service but none that runs k3s agent")
}

func TestDatastore(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  k3s.Datastore
	}{
		"nothing said":         {nil, k3s.SQLite},
		"cluster-init":         {map[string]string{mainFile: "cluster-init: true\n"}, k3s.EtcdStore},
		"cluster-init is off":  {map[string]string{mainFile: "cluster-init: false\n"}, k3s.SQLite},
		"a server to join":     {map[string]string{mainFile: "server: https://a:6443\n"}, k3s.EtcdStore},
		"K3S_CLUSTER_INIT":     {map[string]string{unitFile: unit(""), envFile: "K3S_CLUSTER_INIT=1"}, k3s.EtcdStore},
		"etcd on disk":         {map[string]string{"/var/lib/rancher/k3s/server/db/etcd/": ""}, k3s.EtcdStore},
		"an endpoint":          {map[string]string{mainFile: "datastore-endpoint: postgres://u:p@h/db\n"}, k3s.External},
		"an endpoint wins":     {map[string]string{mainFile: "datastore-endpoint: mysql://h\ncluster-init: true\n"}, k3s.External},
		"sqlite by its name":   {map[string]string{mainFile: "datastore-endpoint: 'sqlite:///x.db'\n"}, k3s.SQLite},
		"disk beats endpoints": {map[string]string{mainFile: "datastore-endpoint: mysql://h\n", "/var/lib/rancher/k3s/server/db/etcd/": ""}, k3s.EtcdStore},
	} {
		t.Run(name, func(t *testing.T) {
			e := resolve(t, "v1.36", k3s.Server, c.files)
			assert.Equal(t, c.want, e.Datastore)
			_, runs := e.Args[k3s.Etcd]
			assert.Equal(t, c.want == k3s.EtcdStore, runs)
		})
	}
}

func TestDataDirMovesEverything(t *testing.T) {
	release := release(t, "v1.36")
	config := map[string]string{mainFile: "data-dir: /data/k3s/\n"}
	e := resolve(t, "v1.36", k3s.Server, config)
	require.Equal(t, "/data/k3s", e.DataDir)
	require.NotEmpty(t, e.Missing, "the kubelet's files and the datastore are elsewhere now")
	again, err := k3s.Resolve(node.New(append(tree(k3s.Server, config).Query(), e.Missing...), tree(k3s.Server, config).Entries()), release, k3s.Server)
	require.NoError(t, err)
	assert.Empty(t, again.Missing)
	assert.Empty(t, problems(again))
	for _, args := range again.Args {
		for _, a := range args {
			assert.NotContains(t, a.Value, k3s.DefaultDataDir, a.Name)
		}
	}
}

func TestSecretsStayHidden(t *testing.T) {
	const secret = "hunter2"
	e := resolve(t, "v1.36", k3s.Server, map[string]string{
		mainFile:           "token: " + secret + "a\nagent-token: " + secret + "\ndatastore-endpoint: postgres://u:" + secret + "@h\netcd-s3-secret-key: " + secret + "\nvpn-auth: " + secret + "\nt: " + secret + "z\n",
		dropIns + "a.yaml": "agent-token: x" + secret + "\nvpn-auth: x\n",
		unitFile:           unit("--token " + secret + "b --etcd-s3-secret-key=" + secret + "c " + secret),
	})
	require.NotEmpty(t, e.Problems)
	assert.NotContains(t, problems(e), secret)
	for key, want := range map[string]bool{
		"token": true, "t": true, "K3S_TOKEN": true, "token-file": false, "K3S_TOKEN_FILE": false, "AWS_SECRET_ACCESS_KEY": true,
		"REGISTRY_PASSWORD": true, "node-name": false, "secrets-encryption": false, "secrets-encryption-provider": false, "vpn-auth": true,
		"vpn-auth-file": false, "agent-token-file": false, "etcd-s3-config-secret": false,
	} {
		assert.Equal(t, want, k3s.Secret(key), key)
	}
	for _, c := range []struct{ key, value, want string }{
		{"server", "http://u:p@h/", "http://(hidden)@h/"},
		{"server", "https://h:6443", "https://h:6443"},
		{"server", "http://u:pa%zz@p", "(hidden)"},
		{"server", "user:pw@proxy:3128", "(hidden)"},
		{"server", "https://h/?password=p", "(hidden)"},
		{"tokn", "abc", "(hidden)"},
		{"debug", "abc", "(hidden)"},
		{"debug", "false", "false"},
		{"https-listen-port", "abc", "(hidden)"},
		{"https-listen-port", "6443", "6443"},
		{"egress-selector-mode", "abc", "(hidden)"},
		{"egress-selector-mode", "agent", "agent"},
	} {
		assert.Equal(t, c.want, k3s.Redact(c.key, c.value), c.key+": "+c.value)
	}
	for _, c := range []struct {
		key, value string
		want       bool
	}{
		{"token", "", false},
		{"token", "x", true},
		{"K3S_TOKEN", "x", true},
		{"node-name", "x", false},
		{"REGISTRY_PASSWORD", "x", true},
		{"datastore-endpoint", "https://etcd.example.org:2379", false},
		{"datastore-endpoint", "postgres://k3s@db/k3s?sslmode=disable", false},
		{"datastore-endpoint", "postgres://k3s:@db/k3s", false},
		{"datastore-endpoint", "postgres://k3s:p@db/k3s", true},
		{"datastore-endpoint", "postgres://db/k3s?user=k&password=p", true},
		{"datastore-endpoint", "postgres://db/k3s?pass%77ord=p", true},
		{"K3S_DATASTORE_ENDPOINT", "postgres://db/k3s?user=k&password=p", true},
		{"datastore-endpoint", "mysql://k3s:p@tcp(db:3306)/k3s", true},
		{"datastore-endpoint", "k3s:p@tcp(db:3306)/k3s", true},
		{"datastore-endpoint", "host=db user=k password=p", true},
		{"datastore-endpoint", "host=db user=k passfile=/run/pgpass", false},
		{"datastore-endpoint", "http://u:pa%zz@p", true},
		{"etcd-s3-proxy", "user:p@proxy:3128", true},
		{"HTTPS_PROXY", "http://proxy:3128", false},
		{"HTTPS_PROXY", "http://user@proxy:3128", false},
	} {
		assert.Equal(t, c.want, k3s.HoldsSecret(c.key, c.value), c.key+"="+c.value)
	}
	assert.Equal(t, "token-file", k3s.SecretHint("token"))
	assert.Empty(t, k3s.SecretHint("datastore-endpoint"))
}

func TestUnknownAndUnreadable(t *testing.T) {
	r := release(t, "v1.36")
	e, err := k3s.Resolve(node.New(nil, nil), r, k3s.Server)
	require.NoError(t, err)
	assert.NotEmpty(t, e.Missing)
	for _, p := range e.Problems {
		assert.Equal(t, k3s.Unreadable, p.Consequence)
	}
	n := node.New(k3s.Query(k3s.Server, ""), []node.Entry{{Path: mainFile, Kind: node.KindFile, Size: 9, Unread: "too large"}})
	e, err = k3s.Resolve(n, r, k3s.Server)
	require.NoError(t, err)
	assert.Equal(t, "unreadable config.yaml: cannot be read: too large", problems(e))

	_, err = k3s.Resolve(n, release(t, "v1.16.15+k3s1"), k3s.Server)
	require.ErrorContains(t, err, "the oldest supported release line is v1.17")
	_, err = k3s.Resolve(n, r, "boss")
	require.ErrorContains(t, err, "server or agent")
}
