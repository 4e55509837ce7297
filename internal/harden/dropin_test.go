package harden

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

const ownFile = "/etc/rancher/k3s/config.yaml.d/99-k3s-cis.yaml"

// inDropIn are the options of an image whose config.yaml is written later.
func inDropIn(t testing.TB) Options {
	t.Helper()
	o := newest(t)
	o.Layout = LayoutDropIn
	return o
}

// TestDropIn: what is wanted stands in the drop-in alone, and holds with the
// configuration file that is there, with another and without one.
func TestDropIn(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string // lines of the drop-in
		lacks []string
		later []string // configuration files of a first boot
		flag  string   // of the API server, looked at with each of them
		value string
	}{
		"nothing there": {
			want:  []string{"protect-kernel-defaults: true", "secrets-encryption: true", "kube-apiserver-arg+:", "- audit-log-maxage=30", "kubelet-arg+:", "kube-controller-manager-arg+:"},
			later: []string{"", "token-file: /run/t\n", "kube-apiserver-arg: [audit-log-maxage=1, v=2]\n", "kube-apiserver-arg: audit-log-maxage=1\nkubelet-arg: [seccomp-default]\n", "secrets-encryption: false\n"},
			flag:  "audit-log-maxage", value: "30",
		},
		"lists of the node's own": {
			files: map[string]string{k3s.ConfigFile: "kube-apiserver-arg: [v=2]\nnode-label: [a=b]\n"},
			want:  []string{"kube-apiserver-arg+:"}, lacks: []string{"v=2", "node-label"},
			later: []string{"kube-apiserver-arg: [enable-admission-plugins=AlwaysPullImages]\n"},
			flag:  "enable-admission-plugins", value: "AlwaysPullImages,NodeRestriction,DenyServiceExternalIPs",
		},
		"a value that serves as well is kept, and outlasts the file": {
			files: map[string]string{k3s.ConfigFile: "kube-apiserver-arg: [audit-log-maxage=90]\n"},
			want:  []string{"- audit-log-maxage=90"}, later: []string{"", "kube-apiserver-arg: [audit-log-maxage=1]\n"},
			flag: "audit-log-maxage", value: "90",
		},
		"one in another drop-in stands there for good": {
			files: map[string]string{"/etc/rancher/k3s/config.yaml.d/50-a.yaml": "kube-apiserver-arg+: [audit-log-maxage=90]\n"},
			lacks: []string{"audit-log-maxage"}, later: []string{"", "kube-apiserver-arg: [audit-log-maxage=1]\n"},
			flag: "audit-log-maxage", value: "90",
		},
		"a data directory that only the file names": {
			files: map[string]string{k3s.ConfigFile: "data-dir: /data/k3s\n"},
			want:  []string{"data-dir: /data/k3s"}, later: []string{"", "token-file: /run/t\n"},
			flag: "audit-log-path", value: "/data/k3s/server/logs/audit.log",
		},
		"hardened in the file before": {
			files: map[string]string{k3s.ConfigFile: planned(t, must(t, newest(t)), k3s.ConfigFile)},
			want:  []string{"kube-apiserver-arg+:", "protect-kernel-defaults: true"}, later: []string{"", "token-file: /run/t\n"},
			flag: "audit-log-maxage", value: "30",
		},
		"hardened in a drop-in before": {
			files: map[string]string{ownFile: header + "\nkube-apiserver-arg+: [audit-log-maxage=1]\n"},
			want:  []string{"- audit-log-maxage=30"}, later: []string{""},
			flag: "audit-log-maxage", value: "30",
		},
		"a drop-in behind ours that appends": {
			files: map[string]string{"/etc/rancher/k3s/config.yaml.d/zz.yaml": "kube-apiserver-arg+: [v=2]\n"},
			want:  []string{"kube-apiserver-arg+:"}, later: []string{""}, flag: "v", value: "2",
		},
		"plugins in a drop-in behind ours": {
			files: map[string]string{"/etc/rancher/k3s/config.yaml.d/zz.yaml": "kube-apiserver-arg+: [enable-admission-plugins=AlwaysPullImages]\n"},
			lacks: []string{"enable-admission-plugins"}, later: []string{""}, flag: "enable-admission-plugins", value: "NodeRestriction,DenyServiceExternalIPs,AlwaysPullImages",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := inDropIn(t)
			have := having(t, o, c.files)
			plan, err := Make(o, have)
			if incomplete := (*Incomplete)(nil); errors.As(err, &incomplete) {
				have = node.New(append(have.Query(), incomplete.Query...), have.Entries())
				plan, err = Make(o, have)
			}
			require.NoError(t, err)
			after := applied(t, o, plan, have)
			text := planned(t, plan, ownFile)
			for _, line := range c.want {
				assert.Contains(t, text, line)
			}
			for _, line := range c.lacks {
				assert.NotContains(t, text, line)
			}
			assert.Equal(t, c.files[k3s.ConfigFile], contentAt(after, k3s.ConfigFile), "the file itself is left alone")
			for _, later := range c.later {
				eff := resolved(t, o, with(after, k3s.ConfigFile, later))
				assert.True(t, eff.Bool("protect-kernel-defaults") && eff.Bool("secrets-encryption"))
				value, _, _ := eff.Flag(k3s.APIServer, c.flag)
				assert.Equal(t, c.value, value, "with %q", later)
				for _, p := range eff.Problems {
					assert.Equal(t, k3s.Noted, p.Consequence, "with %q: %s", later, p.Text)
				}
				timeout, _, _ := eff.Flag(k3s.Kubelet, "streaming-connection-idle-timeout")
				assert.Equal(t, "5m", timeout, "with %q", later)
			}
			again, err := Make(o, after)
			require.NoError(t, err)
			assert.Equal(t, text, planned(t, again, ownFile), "a second run changes nothing")
		})
	}
}

// TestDropInConflicts are found before anything is changed.
func TestDropInConflicts(t *testing.T) {
	const dir = "/etc/rancher/k3s/config.yaml.d/"
	for name, c := range map[string]struct {
		files     map[string]string
		release   string
		want      string
		overwrite string // what the drop-in or the other file has with overwrite = true; "" where that does not help
	}{
		"config.yaml says otherwise":              {map[string]string{k3s.ConfigFile: "protect-kernel-defaults: false\n"}, "", "/config.yaml:1: protect-kernel-defaults: false, but the guide wants true", "protect-kernel-defaults: true"},
		"a flag in config.yaml":                   {map[string]string{k3s.ConfigFile: "kubelet-arg: [streaming-connection-idle-timeout=0]\n"}, "", "/config.yaml:1: kubelet-arg streaming-connection-idle-timeout=0", "streaming-connection-idle-timeout=5m"},
		"a drop-in before":                        {map[string]string{dir + "50.yaml": "secrets-encryption: false\n"}, "", "/50.yaml:1: secrets-encryption: false", "secrets-encryption: true"},
		"a drop-in behind":                        {map[string]string{dir + "zz.yaml": "secrets-encryption: false\n"}, "", "/zz.yaml:1: secrets-encryption: false", "secrets-encryption: true"},
		"a drop-in behind that replaces the list": {map[string]string{dir + "zz.yaml": "kube-apiserver-arg: [v=2]\n"}, "", "/zz.yaml:1: kube-apiserver-arg replaces the list of the files before it", "kube-apiserver-arg+"},
		"a unit":                     {map[string]string{"/etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s server --protect-kernel-defaults=false\n"}, "", "k3s.service:2: protect-kernel-defaults: false", ""},
		"a file of that name":        {map[string]string{ownFile: "v: 2\n"}, "", "99-k3s-cis.yaml: config_layout = \"drop-in\" writes this file", ""},
		"a release without drop-ins": {nil, "v1.20.15+k3s1", "config_layout: K3s v1.20.15+k3s1 reads no drop-ins", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := inDropIn(t)
			if c.release != "" {
				o.Release, o.Benchmark = release(t, c.release), "cis-1.6"
			}
			have := having(t, o, c.files)
			_, err := Make(o, have)
			require.ErrorContains(t, err, c.want)
			o.Overwrite = Overwrite{true, true, true}
			plan, err := Make(o, have)
			if c.overwrite == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			var all strings.Builder
			for _, e := range plan.Change.Write {
				if strings.HasSuffix(e.Path, ".yaml") && strings.HasPrefix(e.Path, dir) {
					all.Write(e.Data)
				}
			}
			assert.Contains(t, all.String(), c.overwrite)
		})
	}
}

// TestBackToFile: without the layout the drop-in goes, and config.yaml has it all.
func TestBackToFile(t *testing.T) {
	o := inDropIn(t)
	o.PodMaxPids = 100
	have := having(t, o, nil)
	plan, err := Make(o, have)
	require.NoError(t, err)
	after := applied(t, o, plan, have)
	back, err := Make(newest(t), after)
	require.NoError(t, err)
	assert.Contains(t, back.Change.Remove, ownFile)
	assert.Contains(t, planned(t, back, k3s.ConfigFile), "pod-max-pids=4096")
}

func must(t testing.TB, o Options) *Plan {
	t.Helper()
	plan, err := Make(o, nil)
	require.NoError(t, err)
	return plan
}

func resolved(t testing.TB, o Options, n *node.Node) *k3s.Effective {
	t.Helper()
	eff, err := k3s.Resolve(n, o.Release, o.Role)
	require.NoError(t, err)
	return eff
}

// with is n with another text in a file, or without the file for "".
func with(n *node.Node, p, text string) *node.Node {
	n = n.Without(p)
	if text == "" {
		return n
	}
	return node.New(n.Query(), append(n.Entries(), node.Entry{Path: p, Kind: node.KindFile, Mode: 0o600, Data: []byte(text), Size: int64(len(text))}))
}

func contentAt(n *node.Node, p string) string {
	e, _ := n.Lookup(p)
	return string(e.Data)
}
