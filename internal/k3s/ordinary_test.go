package k3s_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// followed resolves a node of files, collecting on top what Missing names.
func followed(t *testing.T, version string, role k3s.Role, entries []node.Entry) *k3s.Effective {
	t.Helper()
	n := node.New(k3s.Query(role, ""), entries)
	e, err := k3s.Resolve(n, release(t, version), role)
	require.NoError(t, err)
	for range 4 {
		if len(e.Missing) == 0 {
			return e
		}
		for _, p := range e.Missing {
			require.True(t, strings.HasPrefix(p.Path, "/"), "%s cannot be collected", p.Path)
		}
		n = node.New(append(n.Query(), e.Missing...), entries)
		e, err = k3s.Resolve(n, release(t, version), role)
		require.NoError(t, err)
	}
	return e
}

// TestKeysOfNewerPatches: K3s adds keys in patch releases too, so that one that
// is not known is no mistake where the release is newer than the table.
func TestKeysOfNewerPatches(t *testing.T) {
	for _, c := range []struct {
		name, version string
		role          k3s.Role
		key           string
		want          k3s.Consequence
	}{
		{"known to the patch", "v1.36.3+k3s1", k3s.Server, "helm-controller-arg", ""},
		{"not yet to the one before", "v1.36.2+k3s1", k3s.Server, "helm-controller-arg", k3s.Ignored},
		{"backported", "v1.33.13+k3s1", k3s.Server, "helm-controller-arg", ""},
		{"before it was backported", "v1.33.12+k3s1", k3s.Server, "helm-controller-arg", k3s.Ignored},
		{"a server's on an agent", "v1.36.3+k3s1", k3s.Agent, "helm-controller-arg", k3s.Fatal},
		{"unknown to a patch that is known", "v1.36.3+k3s1", k3s.Server, "brand-new-key", k3s.Ignored},
		{"unknown to a newer patch", "v1.36.4+k3s1", k3s.Server, "brand-new-key", k3s.Unknown},
		{"unknown to a newer line", "v1.40.0+k3s1", k3s.Server, "brand-new-key", k3s.Unknown},
		{"unknown to a line that has no more patches", "v1.30.99+k3s1", k3s.Server, "brand-new-key", k3s.Ignored},
		{"on an agent", "v1.36.4+k3s1", k3s.Agent, "brand-new-key", k3s.Unknown},
		{"misspelt, in a newer patch", "v1.36.4+k3s1", k3s.Server, "secret-encryption", k3s.Ignored},
		{"misspelt, on an agent of a newer patch", "v1.36.4+k3s1", k3s.Agent, "protect-kernel-default", k3s.Fatal},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := k3s.Resolve(tree(c.role, map[string]string{mainFile: c.key + ": x\n"}), release(t, c.version), c.role)
			require.NoError(t, err)
			if c.want == "" {
				assert.Empty(t, problems(e))
				return
			}
			require.Len(t, e.Problems, 1, problems(e))
			assert.Equal(t, c.want, e.Problems[0].Consequence, problems(e))
		})
	}
	e := resolve(t, "v1.36.4+k3s1", k3s.Server, map[string]string{unitFile: unit("--brand-new=x --another --token-file /b")})
	assert.Equal(t, "/b@k3s.service:5", short(e, "token-file"))
	assert.Equal(t, 2, strings.Count(problems(e), "unknown k3s.service:5: "), problems(e))
	e = resolve(t, "v1.36.4+k3s1", k3s.Server, map[string]string{unitFile: unit("--brand-new x --token-file /b")})
	assert.Contains(t, problems(e), "unreadable k3s.service:5: K3s v1.36.4+k3s1 is newer than the options known here")
}

// TestOrdinaryUse: what people do on purpose is to be noted, and no mistake.
func TestOrdinaryUse(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  k3s.Consequence
	}{
		"a backup among the drop-ins":              {map[string]string{dropIns + "50-a.yaml.bak": "node-name: a\n"}, k3s.Noted},
		"a README among the drop-ins":              {map[string]string{dropIns + "README": "x"}, k3s.Noted},
		"a drop-in that gives another name":        {map[string]string{mainFile: "node-name: a\n", dropIns + "b.yaml": "node-name: b\n"}, k3s.Noted},
		"a command line that does":                 {map[string]string{mainFile: "node-name: a\n", unitFile: unit("--node-name b")}, k3s.Noted},
		"an argument appended over another":        {map[string]string{mainFile: "kube-apiserver-arg: [audit-log-maxage=30]\n", dropIns + "b.yaml": "kube-apiserver-arg+: [audit-log-maxage=90]\n"}, k3s.Noted},
		"a key twice in one file":                  {map[string]string{mainFile: "node-name: a\nnode-name: b\n"}, k3s.Ignored},
		"an argument twice in one file":            {map[string]string{mainFile: "kube-apiserver-arg: [audit-log-maxage=30, audit-log-maxage=90]\n"}, k3s.Ignored},
		"a list that is lost to a later drop-in":   {map[string]string{mainFile: "node-label: [a=1]\n", dropIns + "b.yaml": "node-label: [b=2]\n"}, k3s.Ignored},
		"a drop-in that cannot be read as YAML":    {map[string]string{dropIns + "b.yaml": "a: [\n"}, k3s.Fatal},
		"arguments that are lost to the next file": {map[string]string{mainFile: "kubelet-arg: [a=1]\n", dropIns + "b.yaml": "kubelet-arg: a=2\n"}, k3s.Ignored},
	} {
		t.Run(name, func(t *testing.T) {
			e := resolve(t, "v1.36", k3s.Server, c.files)
			require.Len(t, e.Problems, 1, problems(e))
			assert.Equal(t, c.want, e.Problems[0].Consequence, problems(e))
		})
	}
}

// TestPathsOfTheService: a path is found from where the service starts K3s.
func TestPathsOfTheService(t *testing.T) {
	file := func(p, text string) node.Entry {
		return node.Entry{Path: p, Kind: node.KindFile, Mode: 0o600, Size: int64(len(text)), Data: []byte(text)}
	}
	dir := func(p string) node.Entry { return node.Entry{Path: p, Kind: node.KindDirectory, Mode: 0o755} }
	starts := func(words, more string) node.Entry {
		return file(unitFile, "[Service]\n"+more+"ExecStart=/usr/local/bin/k3s server "+words+"\n")
	}
	for name, c := range map[string]struct {
		entries               []node.Entry
		config, dataDir, text string
		problem               string
	}{
		"a specifier": {
			entries: []node.Entry{starts("--config=%E/rancher/k3s/config.yaml", ""), file(mainFile, "node-name: a\n")},
			config:  mainFile, text: "a",
		},
		"a relative configuration file": {
			entries: []node.Entry{starts("--config=config.yaml", ""), file("/config.yaml", "node-name: a\n")},
			config:  "/config.yaml", text: "a",
		},
		"its drop-ins": {
			entries: []node.Entry{starts("-c etc/k3s.yaml", ""), dir("/etc/k3s.yaml.d"), file("/etc/k3s.yaml.d/1.yaml", "node-name: a\n")},
			config:  "/etc/k3s.yaml", text: "a",
		},
		"from the working directory": {
			entries: []node.Entry{starts("--config=./config.yaml", "WorkingDirectory=/srv/k3s\n"), file("/srv/k3s/config.yaml", "node-name: a\n")},
			config:  "/srv/k3s/config.yaml", text: "a",
		},
		"from the last working directory given": {
			entries: []node.Entry{starts("--config=c.yaml", "WorkingDirectory=/a\nWorkingDirectory=-/b\n"), file("/b/c.yaml", "node-name: a\n")},
			config:  "/b/c.yaml", text: "a",
		},
		"a relative data directory": {
			entries: []node.Entry{file(mainFile, "data-dir: data\nnode-name: a\n")},
			config:  mainFile, dataDir: "/data", text: "a",
		},
		"a data directory in the home directory": {
			entries: []node.Entry{file(mainFile, "data-dir: ~/k3s\nnode-name: a\n")},
			config:  mainFile, dataDir: "/root/k3s", text: "a",
		},
		"the variable of the environment": {
			entries: []node.Entry{starts("", "Environment=K3S_CONFIG_FILE=etc/k.yaml\n"), file("/etc/k.yaml", "node-name: a\n")},
			config:  "/etc/k.yaml", text: "a",
		},
		"drop-ins of another configuration file": {
			entries: []node.Entry{
				starts("", "Environment=K3S_CONFIG_FILE=/etc/k3s/config.yaml\n"),
				dir("/etc/k3s"), file("/etc/k3s/config.yaml", "node-label: [a=1]\n"), dir("/etc/k3s/config.yaml.d"), file("/etc/k3s/config.yaml.d/10.yaml", "node-name: a\n"),
			},
			config: "/etc/k3s/config.yaml", text: "a",
		},
		"a specifier that no file gives": {
			entries: []node.Entry{starts("--config=/etc/%b.yaml", "")},
			config:  "/etc/%b.yaml", problem: "unreadable",
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := followed(t, "v1.36", k3s.Server, c.entries)
			assert.Equal(t, c.config, e.ConfigFile)
			if c.dataDir != "" {
				assert.Equal(t, c.dataDir, e.DataDir)
			}
			assert.Equal(t, c.text, e.Text("node-name"))
			if c.problem == "" {
				assert.Empty(t, problems(e))
			} else {
				assert.Contains(t, problems(e), c.problem)
			}
		})
	}
}

// TestHelpersAndAliases: what else runs k3s is no second K3s, and a service
// under two names is one.
func TestHelpersAndAliases(t *testing.T) {
	const installers = "[Service]\nEnvironmentFile=-/etc/default/%N\nEnvironmentFile=-/etc/sysconfig/%N\nExecStart=/usr/local/bin/k3s server --token-file /b\n"
	const server = "[Service]\nExecStart=/usr/local/bin/k3s server --token-file /b\n"
	helper := func(words string) map[string]string {
		return map[string]string{unitFile: unit("--token-file /b"), "/etc/systemd/system/helper.service": "[Service]\nExecStart=/usr/local/bin/k3s " + words + "\n"}
	}
	for name, c := range map[string]struct {
		files   map[string]string
		links   map[string]string
		problem string
	}{
		"a namespace named server":         {files: helper("kubectl get pods -n server")},
		"a label":                          {files: helper("kubectl get nodes -l role=agent agent")},
		"behind a global option":           {files: helper("--debug kubectl get pods -n server")},
		"ctr":                              {files: helper("ctr --address x images ls server")},
		"a global option with a value":     {files: helper("--data-dir /x etcd-snapshot ls server")},
		"a second server":                  {files: helper("--debug server"), problem: "runs K3s too"},
		"a second server elsewhere":        {files: helper("--data-dir /x server"), problem: "runs K3s too"},
		"through a shell, a second server": {files: map[string]string{unitFile: unit(""), "/etc/systemd/system/h.service": "[Service]\nExecStart=/bin/sh -c \"exec /usr/local/bin/k3s server\"\n"}, problem: "runs K3s too"},
		"an alias": {
			files: map[string]string{"/etc/systemd/system/k3s-server.service": server},
			links: map[string]string{unitFile: "k3s-server.service"},
		},
		"an alias of a packaged unit": {
			files: map[string]string{"/usr/lib/systemd/system/k3s-server.service": server},
			links: map[string]string{unitFile: "/usr/lib/systemd/system/k3s-server.service"},
		},
		"an alias of the installer's": {
			files: map[string]string{unitFile: installers},
			links: map[string]string{"/etc/systemd/system/rancher.service": "k3s.service"},
		},
		"an alias of the installer's, with a file by its name": {
			files:   map[string]string{unitFile: installers, "/etc/default/rancher": "A=b\n"},
			links:   map[string]string{"/etc/systemd/system/rancher.service": "k3s.service"},
			problem: "%N is known on the running machine only",
		},
		"an alias of the installer's, with a file by the other name": {
			files:   map[string]string{unitFile: installers, "/etc/default/k3s": "A=b\n"},
			links:   map[string]string{"/etc/systemd/system/rancher.service": "k3s.service"},
			problem: "%N is known on the running machine only",
		},
		"a link among what starts": {
			files: map[string]string{unitFile: "[Service]\nExecStart=/usr/local/bin/k3s server --token-file /b\n"},
			links: map[string]string{"/etc/systemd/system/cluster.service": "k3s.service"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var entries []node.Entry
			for p, text := range c.files {
				entries = append(entries, node.Entry{Path: p, Kind: node.KindFile, Mode: 0o644, Size: int64(len(text)), Data: []byte(text)})
			}
			for p, target := range c.links {
				at := target
				if !strings.HasPrefix(at, "/") {
					at = "/etc/systemd/system/" + target
				}
				entries = append(entries, node.Entry{Path: p, Kind: node.KindFile, Mode: 0o644, Target: target, Size: int64(len(c.files[at])), Data: []byte(c.files[at])})
			}
			e := followed(t, "v1.36", k3s.Server, entries)
			if c.problem != "" {
				assert.Contains(t, problems(e), c.problem)
				return
			}
			assert.Empty(t, problems(e))
			assert.Equal(t, "/b", e.Text("token-file"))
		})
	}
}
