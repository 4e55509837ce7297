package harden

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

const manifests = "/var/lib/rancher/k3s/server/manifests"

// TestRefusals has what would keep K3s, or what the user baked, from working:
// each is refused before anything is written, with the reason.
func TestRefusals(t *testing.T) {
	args := func(c k3s.Component, items ...string) func(*Options) {
		return func(o *Options) { o.Args = map[k3s.Component][]string{c: items} }
	}
	tests := []struct {
		name    string
		files   map[string]string
		options func(*Options)
		want    []string
	}{
		{
			"EventRateLimit without limits", nil, args(k3s.APIServer, "enable-admission-plugins=EventRateLimit"),
			[]string{"EventRateLimit", "must not be empty"},
		},
		{
			"PodSecurityPolicy from v1.25 on", nil, args(k3s.APIServer, "enable-admission-plugins=PodSecurityPolicy"),
			[]string{"kube_apiserver_args", "PodSecurityPolicy"},
		},
		{
			"an unknown admission plugin", nil, args(k3s.APIServer, "enable-admission-plugins=NodeRestrictions"),
			[]string{"NodeRestrictions"},
		},
		{"a plugin that is gone", nil, args(k3s.APIServer, "enable-admission-plugins=SecurityContextDeny"), []string{"SecurityContextDeny"}},
		{"a flag of old guides", nil, args(k3s.APIServer, "insecure-port=0"), []string{"kube_apiserver_args", "insecure-port"}},
		{
			"flags of old guides in the image",
			map[string]string{k3s.ConfigFile: "kube-scheduler-arg: [port=0, address=0.0.0.0]\n"},
			nil,
			[]string{"/etc/rancher/k3s/config.yaml:1: ", "--port", "--address"},
		},
		{
			"the guide's own mistake: a controller manager's flag given to the API server", nil, args(k3s.APIServer, "terminated-pod-gc-threshold=10"),
			[]string{"terminated-pod-gc-threshold"},
		},
		{"the plugin both on and off", nil, args(k3s.APIServer, "disable-admission-plugins=NodeRestriction"), []string{"NodeRestriction"}},
		{
			"images kept and AlwaysPullImages",
			map[string]string{"/var/lib/rancher/k3s/agent/images/k3s.tar.zst": "x"},
			args(k3s.APIServer, "enable-admission-plugins=AlwaysPullImages"),
			[]string{"AlwaysPullImages", "/var/lib/rancher/k3s/agent/images"},
		},
		{
			"a server's key on an agent",
			map[string]string{k3s.ConfigFile: "tls-san: [a]\n"},
			func(o *Options) { o.Role = k3s.Agent },
			[]string{"/etc/rancher/k3s/config.yaml:1: ", "tls-san"},
		},
		{
			"an admission file that does not parse",
			map[string]string{
				k3s.ConfigFile: "kube-apiserver-arg: [admission-control-config-file=/var/lib/rancher/k3s/server/psa.yaml]\n",
				"/var/lib/rancher/k3s/server/psa.yaml": "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: PodSecurity\n" +
					"  configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, default: {}}\n",
			},
			nil,
			[]string{"/var/lib/rancher/k3s/server/psa.yaml:", "default"},
		},
		{
			"an audit policy without rules",
			map[string]string{
				k3s.ConfigFile:                           "kube-apiserver-arg: [audit-policy-file=/var/lib/rancher/k3s/server/audit.yaml]\n",
				"/var/lib/rancher/k3s/server/audit.yaml": "apiVersion: audit.k8s.io/v1\nkind: Policy\n",
			},
			nil,
			[]string{"/var/lib/rancher/k3s/server/audit.yaml", "rule"},
		},
		{
			"a manifest in the image that K3s takes for ours",
			map[string]string{manifests + "/a/k3s-cis-network-policies.yml": "apiVersion: v1\nkind: List\nitems: []\n"},
			nil,
			[]string{"k3s-cis-network-policies"},
		},
		{"a manifest in the image that does not parse", map[string]string{manifests + "/mine.yaml": "a: [\n"}, nil, []string{manifests + "/mine.yaml"}},
		{
			"PodSecurityPolicies in the image",
			map[string]string{manifests + "/old.yaml": "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata: {name: a}\nspec: {}\n"},
			nil,
			[]string{manifests + "/old.yaml", "PodSecurityPolicy"},
		},
		{
			"a manifest that disable deletes",
			map[string]string{k3s.ConfigFile: "disable: [traefik, mine]\n", manifests + "/mine.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"},
			nil,
			[]string{"/etc/rancher/k3s/config.yaml:1: disable names mine"},
		},
		{
			"our manifest skipped",
			map[string]string{manifests + "/k3s-cis-network-policies.yaml.skip": ""},
			nil,
			[]string{"k3s-cis-network-policies.yaml.skip: K3s passes over"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newest(t)
			if tt.options != nil {
				tt.options(&o)
			}
			plan, err := Make(o, having(t, o, tt.files))
			require.Error(t, err)
			assert.Nil(t, plan)
			for _, w := range tt.want {
				assert.ErrorContains(t, err, w)
			}
		})
	}
	t.Run("a directory in the place of a file", func(t *testing.T) {
		o := newest(t)
		_, err := Make(o, node.New(Query(o), []node.Entry{{Path: "/etc/rancher/k3s/audit.yaml", Kind: node.KindDirectory}}))
		assert.ErrorContains(t, err, "/etc/rancher/k3s/audit.yaml: found a directory where a file is wanted")
	})
	t.Run("a file that cannot be read", func(t *testing.T) {
		o := newest(t)
		_, err := Make(o, node.New(Query(o), []node.Entry{{Path: k3s.ConfigFile, Kind: node.KindFile, Unread: "larger than 4 MiB"}}))
		require.ErrorContains(t, err, "/etc/rancher/k3s/config.yaml: ")
		assert.ErrorContains(t, err, "larger than 4 MiB")
	})
	t.Run("no release", func(t *testing.T) {
		_, err := Make(Options{Role: k3s.Server}, nil)
		assert.ErrorContains(t, err, "k3s_version: is missing")
	})
	t.Run("no role", func(t *testing.T) {
		_, err := Make(Options{Release: release(t, "v1.36.3+k3s1"), Role: "boss"}, nil)
		assert.ErrorContains(t, err, `role: "boss" is not one of server, agent`)
	})
}

// TestIncomplete has nodes whose configuration points elsewhere: the plan asks
// for what it lacks and is right once it has that.
func TestIncomplete(t *testing.T) {
	tests := []struct {
		name   string
		config string
		files  map[string]string
		want   string // a path of the plan
	}{
		{"a data directory of the image's own", "data-dir: /data/k3s\n", nil, "/data/k3s/server/manifests/k3s-cis-network-policies.yaml"},
		{
			"a policy of the image's own", "kube-apiserver-arg: [audit-policy-file=/etc/k8s/audit.yaml]\n",
			map[string]string{"/etc/k8s/audit.yaml": "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Request}]\n"},
			"/etc/k8s/audit.yaml",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newest(t)
			have := having(t, o, map[string]string{k3s.ConfigFile: tt.config})
			_, err := Make(o, have)
			var inc *Incomplete
			require.ErrorAs(t, err, &inc)
			assert.NotEmpty(t, inc.Query)
			require.ErrorContains(t, err, inc.Query[0].Path)

			entries := have.Entries()
			for name, data := range tt.files {
				entries = append(entries, node.Entry{Path: name, Kind: node.KindFile, Mode: 0o644, Data: []byte(data)})
			}
			plan, err := Make(o, node.New(append(have.Query(), inc.Query...), entries))
			require.NoError(t, err)
			mode, ok := modeOf(plan, tt.want)
			assert.True(t, ok)
			assert.Equal(t, "0600", octal(mode))
			for name, data := range tt.files {
				assert.Equal(t, data, planned(t, plan, name), "the user's policy stays")
			}
		})
	}
}

// TestConfigElsewhere has units that name another configuration file: that one
// is merged, and the usual one, which K3s does not read, is not made.
func TestConfigElsewhere(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"by the command line": {unit: execStart("--config=/etc/k3s/own.yaml")},
		"by the environment":  {unit: execStart("--node-name=a") + "Environment=K3S_CONFIG_FILE=/etc/k3s/own.yaml\n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newest(t)
			have := having(t, o, files)
			_, err := Make(o, have)
			var inc *Incomplete
			require.ErrorAs(t, err, &inc)
			require.ErrorContains(t, err, "/etc/k3s/own.yaml")
			have = node.New(append(have.Query(), inc.Query...), append(have.Entries(),
				node.Entry{Path: "/etc/k3s/own.yaml", Kind: node.KindFile, Mode: 0o644, Data: []byte("tls-san: [a]\n")}))
			plan, err := Make(o, have)
			require.NoError(t, err)
			assert.Contains(t, planned(t, plan, "/etc/k3s/own.yaml"), "tls-san: [a]\n\n# Added by")
			_, made := modeOf(plan, k3s.ConfigFile)
			assert.False(t, made)
			var assumed []string
			for _, a := range plan.Change.Preconditions {
				assumed = append(assumed, a.Path)
			}
			assert.Contains(t, assumed, "/etc/k3s/own.yaml")
			assert.Contains(t, assumed, "/etc/k3s/own.yaml.d")
			after := applied(t, o, plan, have)
			again, err := Make(o, after)
			require.NoError(t, err)
			assert.Empty(t, Diff(again, after))
		})
	}
}

// TestUpgrade: what an earlier plan made for PodSecurityPolicy goes when the
// release has it no longer.
func TestUpgrade(t *testing.T) {
	old := Options{Release: release(t, "v1.24.17+k3s1"), Role: k3s.Server, Benchmark: "cis-1.24"}
	plan, err := Make(old, nil)
	require.NoError(t, err)
	have := applied(t, old, plan, nil)
	o := newest(t)
	_, err = Make(o, have)
	require.ErrorContains(t, err, `plugin "PodSecurityPolicy" is unknown`)

	entries := have.Entries()
	for i := range entries {
		if entries[i].Path == k3s.ConfigFile {
			entries[i].Data = []byte(strings.Replace(string(entries[i].Data), "PodSecurityPolicy,", "", 1))
		}
	}
	plan, err = Make(o, node.New(have.Query(), entries))
	require.NoError(t, err)
	assert.Equal(t, []string{manifests + "/k3s-cis-pod-security-policies.yaml"}, plan.Change.Remove)
}

// TestWorkloads has manifests whose pods the baked Pod Security defaults reject.
func TestWorkloads(t *testing.T) {
	root := File{Name: "apps/web.yaml", Data: []byte(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: apps}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers: [{name: web, image: nginx, securityContext: {privileged: true}}]
`)}
	o := newest(t)
	o.NetworkPolicies.Manifests = []File{root}
	plan, err := Make(o, nil)
	require.NoError(t, err)
	require.Len(t, plan.Warnings, 1)
	assert.Contains(t, plan.Warnings[0], "1 of your workloads would be rejected by Pod Security:")
	assert.Contains(t, plan.Warnings[0], "Deployment apps/web at level restricted: ")
	assert.Contains(t, plan.Warnings[0], "privileged")

	o.StrictManifests = true
	_, err = Make(o, nil)
	require.ErrorContains(t, err, "1 of your workloads would be rejected by Pod Security:")

	o.PodSecurity.ExemptNamespaces = []string{"apps"}
	plan, err = Make(o, nil)
	require.NoError(t, err)
	assert.Empty(t, plan.Warnings)

	o = newest(t)
	plan, err = Make(o, having(t, o, map[string]string{manifests + "/web.yaml": string(root.Data)}))
	require.NoError(t, err)
	require.Len(t, plan.Warnings, 1, "workloads found in the image are judged too")
}

// TestRefusalsOnce: two rooms know of a flag that is gone; the user hears it once.
func TestRefusalsOnce(t *testing.T) {
	o := newest(t)
	_, err := Make(o, having(t, o, map[string]string{k3s.ConfigFile: "kube-scheduler-arg: [port=0, address=0.0.0.0]\n"}))
	require.Error(t, err)
	assert.Len(t, strings.Split(err.Error(), "\n"), 2, err.Error())
}

// TestWrapper: a program that starts K3s is one error before anything is
// planned, unless the user declares what it runs.
func TestWrapper(t *testing.T) {
	o := newest(t)
	have := having(t, o, map[string]string{
		"/etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/start-cluster.sh\n",
		k3s.ConfigFile:                    "kube-apiserver-arg: [audit-log-maxage=1]\n",
	})
	_, err := Make(o, have)
	require.ErrorContains(t, err, "k3s_command: /etc/systemd/system/k3s.service:2: the service starts K3s through another program")
	assert.NotContains(t, err.Error(), "audit-log-maxage", "nothing else can be said yet")
	assert.NotContains(t, err.Error(), "\n")

	o.Overwrite, o.K3sCommand = Overwrite{true, true, true}, "server --protect-kernel-defaults=true"
	plan, err := Make(o, have)
	require.NoError(t, err)
	assert.NotContains(t, planned(t, plan, k3s.ConfigFile), "protect-kernel-defaults", "the declared command says so")
	assert.Contains(t, strings.Join(plan.Notes, "\n"), "as k3s_command declares")

	o.K3sCommand = "server --protect-kernel-defaults=false"
	_, err = Make(o, have)
	require.ErrorContains(t, err, "k3s_command, as declared: protect-kernel-defaults: false, but the guide wants true")

	o.K3sCommand = "sh -c k3s"
	_, err = Make(o, have)
	require.ErrorContains(t, err, "k3s_command: begins with neither server nor agent")
}
