package benchmark_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

const ownControl = `- key: acme.motd
  title: The banner is there and root's
  roles: [server, agent]
  expect:
    - file: {path: /etc/motd, mode: "644", owner: root}
  remediation: Lay down /etc/motd.
`

func TestLoadControlsErrors(t *testing.T) {
	long := "- key: a\n  title: t\n  roles: [server]\n  expect:\n"
	for name, c := range map[string]struct{ text, want string }{
		"empty":              {"", "own.yaml:1:1: there is no control in the file"},
		"no list":            {"key: a\n", "own.yaml:1:1: the file must be a list, found a mapping"},
		"not YAML":           {"- key: [\n", "own.yaml:1:1: not valid YAML: "},
		"two documents":      {ownControl + "---\n- key: b\n", "own.yaml:7:1: a second document is not read: put all controls into one list"},
		"unknown field":      {ownControl + "  sev: high\n", `own.yaml:7:3: a control has no "sev": it knows`},
		"ids":                {ownControl + "  ids: {}\n", `own.yaml:7:3: a control has no "ids"`},
		"missing fields":     {"- title: t\n", `own.yaml:1:3: a control needs "key"`},
		"bad key":            {"- key: A b\n", `own.yaml:1:8: key "A b" must be at most 100 lower-case letters`},
		"long key":           {"- key: " + strings.Repeat("a", 101) + "\n", `must be at most 100 lower-case letters`},
		"a key of ours":      {strings.Replace(ownControl, "acme.motd", "node.config.mode", 1), `own.yaml:1:3: key "node.config.mode" is taken`},
		"the same key twice": {ownControl + ownControl, `own.yaml:7:3: key "acme.motd" is there twice`},
		"a field twice":      {ownControl + "  title: u\n", `own.yaml:7:3: a control: "title" is there twice`},
		"bad role":           {strings.Replace(ownControl, "agent", "boss", 1), `own.yaml:3:19: "boss" is not one of server, agent`},
		"bad mode":           {strings.Replace(ownControl, `"644"`, `"648"`, 1), `own.yaml:5:37: a file mode in octal such as "600" is wanted here, found "648"`},
		"bad path":           {strings.Replace(ownControl, "/etc/motd,", "etc/motd,", 1), `own.yaml:5:20: "etc/motd" must be an absolute, clean path`},
		"a path upwards":     {strings.Replace(ownControl, "/etc/motd,", "/etc/../motd,", 1), `must be an absolute, clean path`},
		"unknown type":       {long + "    - shell: rm -rf /\n", `own.yaml:5:7: an expectation has no "shell"`},
		"two types":          {long + "    - file: {path: /a, mode: \"600\"}\n      gone: {paths: [/b]}\n", "own.yaml:5:7: an expectation has exactly one type, found 2"},
		"no condition":       {long + "    - argument: {component: kubelet, flag: v}\n", "own.yaml:5:17: exactly one condition is wanted"},
		"two conditions":     {long + "    - argument: {component: kubelet, flag: v, equals: \"1\", absent: true}\n", "own.yaml:5:17: exactly one condition is wanted"},
		"bad component":      {long + "    - argument: {component: kubeadm, flag: v, present: true}\n", `own.yaml:5:29: "kubeadm" is not one of`},
		"bad number":         {long + "    - argument: {component: kubelet, flag: v, at_least: many}\n", `own.yaml:5:57: a whole number is wanted here, found "many"`},
		"bad switch":         {long + "    - argument: {component: kubelet, flag: v, present: false}\n", `own.yaml:5:56: write true, or leave the key out`},
		"bad pattern":        {long + "    - file: {path: /a, match: \"[\", mode: \"600\"}\n", `own.yaml:5:31: "[" is not a pattern`},
		"an alias":           {"- &a\n  key: a\n- *a\n", "own.yaml:3:3: a control must be a mapping, found an alias, which is not read here"},
		"no expectation":     {strings.Replace(ownControl, "    - file: {path: /etc/motd, mode: \"644\", owner: root}\n", "", 1), "found nothing"},
		"no role":            {strings.Replace(ownControl, "[server, agent]", "[]", 1), "own.yaml:3:10: roles is an empty list"},
		"an empty list":      {strings.Replace(ownControl, "    - file: {path: /etc/motd, mode: \"644\", owner: root}\n", "    []\n", 1), "own.yaml:5:5: expect is an empty list"},
	} {
		t.Run(name, func(t *testing.T) {
			controls, err := benchmark.LoadControls("own.yaml", []byte(c.text))
			require.Error(t, err)
			assert.Nil(t, controls)
			assert.Contains(t, err.Error(), c.want)
		})
	}
}

// TestLoadControlsTellsAllErrors: a user corrects a file once.
func TestLoadControlsTellsAllErrors(t *testing.T) {
	_, err := benchmark.LoadControls("own.yaml", []byte("- key: A\n  roles: [boss]\n- title: 1\n"))
	require.Error(t, err)
	assert.GreaterOrEqual(t, strings.Count(err.Error(), "own.yaml:"), 5, err.Error())
}

// TestOwnControls: each type of expectation that own controls can use, held
// and not held.
func TestOwnControls(t *testing.T) {
	for name, c := range map[string]struct {
		expect string
		breaks func(*testing.T, *tree)
	}{
		"file":       {`file: {path: /etc/motd, mode: "644", owner: root}`, chmod("/etc/motd", 0o666, 0)},
		"no file":    {`file: {path: /etc/motd, mode: "644"}`, removes("/etc/motd")},
		"no link":    {`file: {path: /etc/motd, mode: "644"}`, func(_ *testing.T, tr *tree) { tr.put(node.Entry{Path: "/etc/motd", Kind: node.KindLink}) }},
		"gone":       {`gone: {paths: [/etc/issue]}`, lays("/etc/issue", 0o644, "")},
		"argument":   {`argument: {component: kubelet, flag: max-pods, at_least: 50, unset: [{value: "110"}]}`, func(t *testing.T, tr *tree) { tr.arg(t, k3s.Kubelet, "max-pods=10") }},
		"one of":     {`argument: {component: kube-proxy, flag: proxy-mode, one_of: [iptables]}`, func(t *testing.T, tr *tree) { tr.arg(t, k3s.KubeProxy, "proxy-mode=ipvs") }},
		"setting":    {`setting: {key: selinux, differs: "false"}`, func(t *testing.T, tr *tree) { tr.config(t, func(m map[string]any) { m["selinux"] = false }) }},
		"document":   {`document: {path: /etc/app.yaml, field: tls.on, equals: "true"}`, lays("/etc/app.yaml", 0o644, "tls: {on: false}\n")},
		"no field":   {`document: {path: /etc/app.yaml, field: tls.on, equals: "true"}`, lays("/etc/app.yaml", 0o644, "tls: {}\n")},
		"broken":     {`document: {path: /etc/app.yaml, field: tls.on, equals: "true"}`, lays("/etc/app.yaml", 0o644, "tls: {\n")},
		"whole text": {`document: {path: /etc/motd, equals: hello}`, lays("/etc/motd", 0o644, "bye\n")},
		"kernel":     {`kernel: {parameters: {kernel.dmesg_restrict: "1"}}`, lays(laterFile, 0o644, "kernel.dmesg_restrict = 0\n")},
	} {
		t.Run(name, func(t *testing.T) {
			controls, err := benchmark.LoadControls("own.yaml", []byte("- key: acme.one\n  title: t\n  roles: [server]\n  expect:\n    - "+c.expect+"\n"))
			require.NoError(t, err)
			tr := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
			tr.file("/etc/motd", 0o644, "hello\n")
			tr.file("/etc/app.yaml", 0o644, "tls: {on: true}\n")
			tr.file("/etc/sysctl.d/50-own.conf", 0o644, "kernel.dmesg_restrict=1\n")
			judge := func() benchmark.Result {
				in := tr.input(t, "cis-2.1")
				in.Own = controls
				in.Node = tr.node(append(benchmark.Query(k3s.Server, ""), benchmark.FollowUp(benchmark.Input{Node: in.Node, Effective: in.Effective, Own: controls})...))
				results := benchmark.Evaluate(in)
				return results[len(results)-1]
			}
			before := judge()
			assert.Equal(t, "acme.one", before.ID)
			assert.Equal(t, "own", before.Section)
			assert.Equal(t, benchmark.Pass, before.Status, before.Found)
			c.breaks(t, tr)
			after := judge()
			assert.Equal(t, benchmark.Fail, after.Status, after.Found)
		})
	}
}

// FuzzLoadControls: any file gives controls or errors with a place, and what is
// read can be asked for and judged.
func FuzzLoadControls(f *testing.F) {
	f.Add([]byte(ownControl))
	for _, name := range []string{"node-checks.yaml", "node-hygiene.yaml"} {
		data, err := benchmark.CatalogueFile(name)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("- &a [*a]\n"))
	f.Add([]byte("- key: a\n  expect:\n  - file: {path: \"{data}/../x\", match: \"\\xff\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		controls, err := benchmark.LoadControls("own.yaml", data)
		if err != nil {
			assert.True(t, strings.HasPrefix(err.Error(), "own.yaml:"), err.Error())
			assert.Nil(t, controls)
			return
		}
		for _, c := range controls {
			c.Query("")
			r := benchmark.Judge(benchmark.Input{Benchmark: "cis-2.1", Role: k3s.Server}, c)
			assert.NotEqual(t, benchmark.Pass, r.Status, "nothing was collected")
		}
	})
}
