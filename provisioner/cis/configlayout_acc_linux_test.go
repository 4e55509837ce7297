package cis_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// firstBoots are configuration files that a first boot writes, and the controls
// that do not hold then on a node that was hardened in a drop-in, by what K3s
// makes of the two: its merge takes the file first, a plain key of a drop-in
// replaces it, "key+" appends, and of a flag given twice the last value counts.
var firstBoots = map[string]struct {
	config string
	fails  map[string]string // by role
}{
	"joins": {config: "server: https://k3s.example.org:6443\ntoken-file: /run/k3s/token\nnode-label: [a=b]\n"},
	"contradicts what the drop-in sets": {
		config: "protect-kernel-defaults: false\nkubelet-arg: [max-pods=50, streaming-connection-idle-timeout=0, pod-max-pids=-1]\n",
	},
	"contradicts the server's drop-in": {
		config: "secrets-encryption: false\nkube-apiserver-arg: [audit-log-maxage=1, audit-log-path=/dev/null, v=2]\nkube-controller-manager-arg: terminated-pod-gc-threshold=0\n",
		fails:  map[string]string{"agent": "node.k3s-starts"},
	},
	"sets what K3s's defaults do": {
		config: "kube-apiserver-arg: [anonymous-auth=true, profiling=true]\nwrite-kubeconfig-mode: '0644'\n",
		fails:  map[string]string{"server": "1.1.13 1.2.1 1.2.15", "agent": "node.k3s-starts", "both": "1.1.13 1.2.1 1.2.15"},
	},
	"sets what the kubelet's defaults do": {
		config: "kubelet-arg: [anonymous-auth=true, read-only-port=10255, protect-kernel-defaults=false]\n",
		fails:  map[string]string{"server": "4.2.1 4.2.4 kubelet.protect-kernel-defaults", "agent": "4.2.1 4.2.4 kubelet.protect-kernel-defaults", "both": "4.2.1 4.2.4 kubelet.protect-kernel-defaults"},
	},
	"uses another name of a key": {
		config: "kube-controller-manager-arg: [v=2]\nkube-controller-arg: [terminated-pod-gc-threshold=0]\n",
		fails:  map[string]string{"server": "1.3.1", "agent": "node.k3s-starts", "both": "1.3.1"},
	},
	"ends a list with a flag without value": {config: "kubelet-arg: [seccomp-default]\n"},
	"appends itself":                        {config: "kube-apiserver-arg+: [v=2]\n", fails: map[string]string{"agent": "node.k3s-starts"}},
	"is none K3s can parse":                 {config: "kubelet-arg: [\n", fails: map[string]string{"server": "node.k3s-starts", "agent": "node.k3s-starts", "both": "node.k3s-starts"}},
	"is empty":                              {config: ""},
	"joins etcd":                            {config: "cluster-init: true\n", fails: map[string]string{"agent": "node.k3s-starts"}},
}

// layoutSetup is a node before it is hardened, and what its first boot writes.
type layoutSetup struct {
	name    string
	role    string
	files   map[string]string
	options string
	writes  string   // the file that first boot writes; config.yaml unless given
	boots   []string // of firstBoots
	// except holds what fails for one of boots where it is not what firstBoots has.
	except map[string]string
}

const (
	k3sUnit      = "etc/systemd/system/k3s.service"
	k3sAgentUnit = "etc/systemd/system/k3s-agent.service"
	mainConfig   = "etc/rancher/k3s/config.yaml"
	inDropIns    = mainConfig + ".d/"
	runsServer   = "[Service]\nEnvironmentFile=-/etc/systemd/system/k3s.service.env\nExecStart=/usr/local/bin/k3s server\n"
	runsAgent    = "[Service]\nEnvironmentFile=-/etc/systemd/system/k3s-agent.service.env\nExecStart=/usr/local/bin/k3s agent\n"
	openRCScript = "#!/sbin/openrc-run\nset -o allexport\nif [ -f /etc/rancher/k3s/%[1]s.env ]; then . /etc/rancher/k3s/%[1]s.env; fi\nset +o allexport\ncommand=\"/usr/local/bin/k3s\"\ncommand_args=\"%[2]s\"\n"
)

type tree = map[string]string

func systemdServer(more tree) tree { return with(tree{k3sUnit: runsServer}, more) }
func systemdAgent(more tree) tree  { return with(tree{k3sAgentUnit: runsAgent}, more) }
func systemdBoth(more tree) tree {
	return with(tree{k3sUnit: runsServer, k3sAgentUnit: runsAgent}, more)
}

func with(files, more tree) tree {
	for name, text := range more {
		files[name] = text
	}
	return files
}

func layoutSetups() []layoutSetup {
	openRC := func(name, role string) tree {
		return tree{"etc/init.d/" + name: fmt.Sprintf(openRCScript, name, role)}
	}
	usual := []string{"joins", "contradicts the server's drop-in", "sets what K3s's defaults do"}
	kubelets := []string{"contradicts what the drop-in sets", "sets what the kubelet's defaults do", "ends a list with a flag without value"}
	odd := []string{"uses another name of a key", "appends itself", "is none K3s can parse"}
	forAgents := []string{"joins", "contradicts what the drop-in sets", "contradicts the server's drop-in"}
	return []layoutSetup{
		{name: "nothing", files: systemdServer(nil), boots: usual},
		{name: "nothing, kubelet", files: systemdServer(nil), boots: kubelets},
		{name: "nothing, odd", files: systemdServer(nil), boots: odd},
		{name: "a comment", files: systemdServer(tree{mainConfig: "# nothing\n"}), boots: []string{"is empty", "joins etcd", "appends itself"}},
		{name: "lists", files: systemdServer(tree{mainConfig: "tls-san: [a.example.org]\nnode-label: [a=b]\n"}), boots: usual},
		{name: "arguments", files: systemdServer(tree{mainConfig: "kube-apiserver-arg: [v=2]\nkubelet-arg:\n- max-pods=50\n"}), boots: kubelets},
		{name: "an argument without a list", files: systemdServer(tree{mainConfig: "kube-apiserver-arg: v=2\n"}), boots: usual},
		{name: "values that serve", files: systemdServer(tree{mainConfig: "kube-apiserver-arg: [audit-log-maxage=90]\nkubelet-arg: [streaming-connection-idle-timeout=1h]\n"}), boots: kubelets},
		{name: "plugins of its own", files: systemdServer(tree{mainConfig: "kube-apiserver-arg: [enable-admission-plugins=AlwaysPullImages]\n"}), boots: odd},
		{name: "a data directory", files: systemdServer(tree{mainConfig: "data-dir: /data/k3s\n"}), boots: usual},
		{name: "a drop-in before that appends", files: systemdServer(tree{inDropIns + "10-a.yaml": "kube-apiserver-arg+: [v=2]\n"}), boots: usual},
		{
			name: "a drop-in before that replaces", files: systemdServer(tree{inDropIns + "10-a.yaml": "kube-apiserver-arg: [v=2]\n"}),
			boots: usual, except: map[string]string{"sets what K3s's defaults do": "1.1.13 node.k3s-config-keys", "contradicts the server's drop-in": "node.k3s-config-keys"},
		},
		{name: "a drop-in behind that appends", files: systemdServer(tree{inDropIns + "zz.yaml": "kube-apiserver-arg+: [v=2]\n"}), boots: odd},
		{name: "a drop-in named .yml behind", files: systemdServer(tree{inDropIns + "99-z.yml": "node-label+: [c=d]\n"}), boots: usual},
		{
			name: "a drop-in in capitals before", files: systemdServer(tree{inDropIns + "10-A.YAML": "kubelet-arg+: [max-pods=50]\n"}), boots: kubelets,
			except: map[string]string{"ends a list with a flag without value": "node.k3s-config-keys"},
		}, // K3s drops max-pods=50
		{name: "a text among the drop-ins", files: systemdServer(tree{inDropIns + "zz.txt": "kube-apiserver-arg: [v=2]\n"}), boots: usual},
		{name: "arguments in the unit", files: systemdServer(tree{k3sUnit: "[Service]\nExecStart=/usr/local/bin/k3s server --kube-apiserver-arg=v=2 --node-label a=b\n"}), boots: usual},
		{name: "a key in the unit", files: systemdServer(tree{k3sUnit: "[Service]\nExecStart=/usr/local/bin/k3s server --protect-kernel-defaults --secrets-encryption\n"}), boots: usual},
		{name: "K3S_CONFIG_FILE", writes: "etc/rancher/k3s/main.yaml", files: systemdServer(tree{k3sUnit + ".env": "K3S_CONFIG_FILE=/etc/rancher/k3s/main.yaml\n"}), boots: usual},
		{name: "K3S_CONFIG_FILE with lists", writes: "opt/k3s/main.yaml", files: systemdServer(tree{k3sUnit + ".env": "K3S_CONFIG_FILE=/opt/k3s/main.yaml\n", "opt/k3s/main.yaml": "kubelet-arg: [max-pods=9]\n"}), boots: kubelets},
		{name: "--config", writes: "etc/k3s.yaml", files: systemdServer(tree{k3sUnit: "[Service]\nExecStart=/usr/local/bin/k3s server -c /etc/k3s.yaml\n", "etc/k3s.yaml": "node-label: [a=b]\n"}), boots: usual},
		{name: "OpenRC", files: openRC("k3s", "server"), boots: usual},
		{name: "OpenRC with an environment", files: with(openRC("k3s", "server"), tree{"etc/rancher/k3s/k3s.env": "K3S_NODE_NAME=n\n"}), boots: odd},
		{name: "etcd", files: systemdServer(tree{mainConfig: "cluster-init: true\n"}), boots: usual},
		{name: "a server that joins", files: systemdServer(tree{mainConfig: "server: https://k3s.example.org:6443\ntoken-file: /run/k3s/token\n"}), boots: usual},
		{name: "values that contradict", files: systemdServer(tree{mainConfig: "protect-kernel-defaults: false\nkubelet-arg: [streaming-connection-idle-timeout=0]\n"}), options: "overwrite = true", boots: kubelets},
		{name: "a drop-in behind that replaces", files: systemdServer(tree{inDropIns + "zz.yaml": "kube-apiserver-arg: [v=2]\n"}), options: "overwrite = true", boots: usual},
		{name: "keys of the options", files: systemdServer(nil), options: `config = { "tls-san" = jsonencode(["a.example.org"]), "flannel-backend" = "wireguard-native" }`, boots: usual},
		{name: "arguments of the options", files: systemdServer(nil), options: `kubelet_args = ["max-pods=200"]` + "\n" + `kube_apiserver_args = ["goaway-chance=0.001"]`, boots: kubelets},
		{name: "v1.30", files: systemdServer(nil), options: `k3s_version = "v1.30.14+k3s1"`, boots: []string{"joins", "contradicts what the drop-in sets", "ends a list with a flag without value"}},
		{name: "v1.24", files: systemdServer(nil), options: `k3s_version = "v1.24.17+k3s1"`, boots: []string{"joins", "contradicts what the drop-in sets", "appends itself"}},
		{name: "v1.21", files: systemdServer(nil), options: `k3s_version = "v1.21.14+k3s1"`, boots: []string{"joins", "contradicts what the drop-in sets", "contradicts the server's drop-in"}},

		{name: "an agent", role: "agent", files: systemdAgent(nil), boots: forAgents},
		{name: "an agent, kubelet", role: "agent", files: systemdAgent(tree{mainConfig: "server: https://k3s.example.org:6443\ntoken-file: /run/k3s/token\n"}), boots: kubelets},
		{
			name: "an agent with a drop-in before", role: "agent", files: systemdAgent(tree{inDropIns + "10-a.yaml": "node-label: [x=y]\n", k3sAgentUnit + ".env": "K3S_URL=https://k3s.example.org:6443\n"}),
			boots: []string{"contradicts what the drop-in sets", "sets what K3s's defaults do", "is none K3s can parse"},
		},
		{name: "an agent on OpenRC", role: "agent", files: openRC("k3s-agent", "agent"), boots: []string{"joins", "joins etcd", "sets what the kubelet's defaults do"}},

		{name: "both", role: "both", files: systemdBoth(nil), boots: usual},
		{name: "both, kubelet", role: "both", files: systemdBoth(tree{mainConfig: "server: https://k3s.example.org:6443\ntoken-file: /run/k3s/token\nkubelet-arg: [max-pods=50]\n"}), boots: kubelets},
		{
			name: "both, the agent's file", role: "both", writes: "etc/rancher/k3s/agent.yaml", files: systemdBoth(nil), boots: forAgents,
			except: map[string]string{"contradicts the server's drop-in": "node.k3s-starts"},
		},
		{
			name: "both, each with a file of its own", role: "both", writes: "etc/rancher/k3s/a.yaml",
			files: systemdBoth(tree{k3sAgentUnit: "[Service]\nEnvironment=K3S_CONFIG_FILE=/etc/rancher/k3s/a.yaml\nExecStart=/usr/local/bin/k3s agent\n"}),
			boots: []string{"joins", "sets what the kubelet's defaults do", "joins etcd"}, except: map[string]string{"joins etcd": "node.k3s-starts"},
		},
		{name: "both on OpenRC", role: "both", files: with(openRC("k3s", "server"), openRC("k3s-agent", "agent")), boots: usual},
	}
}

// layoutBuild is one source of a template, and the tree it is made from.
type layoutBuild struct{ setup, tree, options, more string }

const layoutTemplate = `
source "k3s-image" %[1]q {
  rootfs_directory = %[2]q
  %[3]s
}
build {
  sources = ["source.k3s-image.%[1]s"]
  provisioner "k3s-cis" {
    %[4]s
    config_layout = "drop-in"
    report_dir    = "report-%[1]s"
    %[5]s
  }
}
`

// runLayouts gives trees to one Packer and returns what does not hold by setup.
func runLayouts(t *testing.T, p *packertest.Packer, builds []layoutBuild) (map[string]string, packertest.Result) {
	t.Helper()
	var b strings.Builder
	for i, l := range builds {
		version := `k3s_version = "v1.36.3+k3s1"`
		if strings.Contains(l.options, "k3s_version") {
			version = ""
		}
		name := fmt.Sprintf("s%d", i)
		fmt.Fprintf(&b, layoutTemplate, name, l.tree, strings.ReplaceAll(l.more, "NAME", name), version, l.options)
	}
	dir := packertest.Write(t, b.String())
	r := p.Run(t, dir, "build", "-parallel-builds=4", ".")
	out := map[string]string{}
	for i, l := range builds {
		path := filepath.Join(dir, fmt.Sprintf("report-s%d", i), "report.json")
		data, err := os.ReadFile(path)
		require.NoError(t, err, "%s: %s", l.setup, r.Output)
		made, err := report.LoadReport(data)
		require.NoError(t, err)
		var ids []string
		for _, res := range made.Failed() {
			ids = append(ids, res.ID)
		}
		slices.Sort(ids)
		out[l.setup] = strings.Join(ids, " ")
	}
	return out, r
}

// TestAccConfigLayouts hardens forty kinds of nodes in a drop-in and judges each
// with three configuration files that its first boot may write: the verdict is
// what K3s's own merge gives.
func TestAccConfigLayouts(t *testing.T) {
	p := packertest.New(t, nil)
	setups := layoutSetups()
	var applied []layoutBuild
	for _, s := range setups {
		tree := bare(t)
		for name, text := range s.files {
			mode := fs.FileMode(0o600)
			if strings.HasSuffix(name, ".service") {
				mode = 0o644
			}
			if strings.Contains(name, "init.d") {
				mode = 0o755
			}
			put(t, tree, name, text, mode)
		}
		options := s.options
		if s.role != "" {
			options += fmt.Sprintf("\nrole = %q", s.role)
		}
		applied = append(applied, layoutBuild{s.name, tree, options, "output_directory = \"NAME\"\nformat = \"tar\""})
	}
	failed, r := runLayouts(t, p, applied)
	require.Zero(t, r.ExitCode, r.Output)
	for _, s := range setups {
		assert.Empty(t, failed[s.name], s.name)
	}

	var checked []layoutBuild
	want := map[string]string{}
	for i, s := range setups {
		writes := s.writes
		if writes == "" {
			writes = mainConfig
		}
		for _, boot := range s.boots {
			name := s.name + ", then a file that " + boot
			tree := copyTree(t, applied[i].tree)
			require.NoError(t, os.RemoveAll(filepath.Join(tree, writes)))
			put(t, tree, writes, firstBoots[boot].config, 0o600)
			role := s.role
			if role == "" {
				role = "server"
			}
			want[name] = firstBoots[boot].fails[role]
			if not, is := s.except[boot]; is {
				want[name] = not
			}
			checked = append(checked, layoutBuild{name, tree, applied[i].options + "\nmode = \"check\"", "read_only = true"})
		}
	}
	got, _ := runLayouts(t, p, checked)
	assert.Len(t, checked, 3*len(setups))
	assert.Equal(t, want, got)
}
