package harden

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

const (
	dropIn = "/etc/rancher/k3s/config.yaml.d/99-user.yaml"
	unit   = "/etc/systemd/system/k3s.service"
)

// execStart is a unit as K3s's installer writes it, with arguments.
func execStart(args ...string) string {
	return "[Unit]\nDescription=Lightweight Kubernetes\n\n[Service]\nType=notify\nExecStart=/usr/local/bin/k3s \\\n    server \\\n" +
		"\t'" + strings.Join(args, "' \\\n\t'") + "'\n"
}

// guideUnit is the unit that the guide's text makes.
var guideUnit = execStart(
	"--protect-kernel-defaults=true", "--secrets-encryption=true",
	"--kube-apiserver-arg=admission-control-config-file=/var/lib/rancher/k3s/server/psa.yaml",
	"--kube-apiserver-arg=audit-log-path=/var/lib/rancher/k3s/server/logs/audit.log",
	"--kube-apiserver-arg=audit-policy-file=/var/lib/rancher/k3s/server/audit.yaml",
	"--kube-apiserver-arg=audit-log-maxage=30",
)

// TestMerge brings the guide's settings into configurations that nodes have.
func TestMerge(t *testing.T) {
	tests := []struct {
		name    string
		files   map[string]string
		options func(*Options)
		// want and lack are lines of the merged config.yaml.
		want, lack []string
		// dropIn is what becomes of the drop-in; "" means that it is not touched.
		dropIn string
	}{
		{
			name:  "the user's keys, comments and order survive byte by byte",
			files: map[string]string{k3s.ConfigFile: "# ours\ntls-san:   [ a.example.org,b.example.org ]\n\nnode-label:\n    - \"zone=a\"   # rack 1\n"},
			want:  []string{"# ours", "tls-san:   [ a.example.org,b.example.org ]", "    - \"zone=a\"   # rack 1", "protect-kernel-defaults: true"},
		},
		{
			name:  "facts 3.1: a list that is there is extended, not written twice",
			files: map[string]string{k3s.ConfigFile: "kube-apiserver-arg:\n  # why\n  - v=2 # loud\n  - 'audit-log-maxage=60'\n# end\nnode-name: a\n"},
			want:  []string{"  # why", "  - v=2 # loud", "  - 'audit-log-maxage=60'", "  - audit-log-maxbackup=10", "# end", "node-name: a"},
			lack:  []string{"  - audit-log-maxage=30"},
		},
		{
			name:  "a single text becomes a list",
			files: map[string]string{k3s.ConfigFile: "kubelet-arg: max-pods=200\n"},
			want:  []string{"  - max-pods=200", "  - pod-max-pids=4096"},
		},
		{
			name:  "facts 3.2: admission plugins are joined in one item and NodeRestriction stays",
			files: map[string]string{k3s.ConfigFile: "kube-apiserver-arg:\n  - enable-admission-plugins=AlwaysPullImages\n"},
			want:  []string{"  - enable-admission-plugins=NodeRestriction,DenyServiceExternalIPs,AlwaysPullImages"},
			lack:  []string{"  - enable-admission-plugins=AlwaysPullImages"},
		},
		{
			name:  "facts 3.2: leading dashes are read over",
			files: map[string]string{k3s.ConfigFile: "kubelet-arg: [--pod-max-pids=100]\n"},
			want:  []string{"  - streaming-connection-idle-timeout=5m"},
			lack:  []string{"  - pod-max-pids=4096"},
		},
		{
			name:  "facts 3.1: yes and on are true",
			files: map[string]string{k3s.ConfigFile: "protect-kernel-defaults: yes\nsecrets-encryption: On\n"},
			want:  []string{"protect-kernel-defaults: yes", "secrets-encryption: On"},
			lack:  []string{"protect-kernel-defaults: true", "secrets-encryption: true"},
		},
		{
			name:  "facts 3.1: a drop-in that appends is left alone",
			files: map[string]string{dropIn: "kube-apiserver-arg+: [v=2]\n"},
			want:  []string{"  - audit-log-maxage=30"},
		},
		{
			name:    "overwrite turns a drop-in that replaces a list into one that appends",
			files:   map[string]string{dropIn: "# mine\nkube-apiserver-arg:\n  - v=2\n"},
			options: func(o *Options) { o.Overwrite = Overwrite{true, true, true} },
			want:    []string{"  - audit-log-maxage=30"},
			dropIn:  "# mine\nkube-apiserver-arg+:\n  - v=2\n",
		},
		{
			name:    "overwrite replaces a value that contradicts the guide",
			files:   map[string]string{k3s.ConfigFile: "protect-kernel-defaults: false # for now\nkubelet-arg:\n  - streaming-connection-idle-timeout=0\n"},
			options: func(o *Options) { o.Overwrite = Overwrite{true, true, true} },
			want:    []string{"protect-kernel-defaults: true # for now", "  - streaming-connection-idle-timeout=5m"},
			lack:    []string{"  - streaming-connection-idle-timeout=0"},
		},
		{
			name:    "overwrite switches plugins on again, and leaves the others off",
			files:   map[string]string{k3s.ConfigFile: "kube-apiserver-arg:\n  - disable-admission-plugins=PodSecurity,StorageObjectInUseProtection\n"},
			options: func(o *Options) { o.Overwrite = Overwrite{true, true, true} },
			want:    []string{"  - disable-admission-plugins=StorageObjectInUseProtection"},
		},
		{
			name:    "overwrite takes out what is wrong alone",
			files:   map[string]string{k3s.ConfigFile: "# a\nkube-apiserver-arg: disable-admission-plugins=NodeRestriction\nnode-name: b # c\n"},
			options: func(o *Options) { o.Overwrite = Overwrite{true, true, true} },
			want:    []string{"# a", "node-name: b # c", "  - audit-log-maxage=30"},
			lack:    []string{"  - disable-admission-plugins=NodeRestriction"},
		},
		{
			name:    "a key that only a newer patch release may know",
			options: func(o *Options) { o.Release.Patch, o.Config = 99, map[string]any{"brand-new-key": "x"} },
			want:    []string{"brand-new-key: x"},
		},
		{
			name:  "a backup beside the drop-ins",
			files: map[string]string{dropIn + ".bak": "kube-apiserver-arg: [v=2]\n"},
			want:  []string{"  - audit-log-maxage=30"},
		},
		{
			name:    "overwrite closes the administrator's kubeconfig",
			files:   map[string]string{k3s.ConfigFile: "write-kubeconfig-mode: \"0644\" # for all\n"},
			options: func(o *Options) { o.Overwrite = Overwrite{true, true, true} },
			want:    []string{"write-kubeconfig-mode: \"0600\" # for all"},
		},
		{
			name:    "and one that K3s would read otherwise than it looks",
			files:   map[string]string{k3s.ConfigFile: "write-kubeconfig-mode: 0644\n"},
			options: func(o *Options) { o.Overwrite = Overwrite{true, true, true} },
			want:    []string{"write-kubeconfig-mode: \"0600\""},
		},
		{
			name:  "a kubeconfig that is closed already stays as it is written",
			files: map[string]string{k3s.ConfigFile: "write-kubeconfig-mode: \"400\"\n"},
			want:  []string{"write-kubeconfig-mode: \"400\""},
		},
		{
			name:    "a mode that the user asks for is the user's",
			options: func(o *Options) { o.Config = map[string]any{"write-kubeconfig-mode": "0640"} },
			want:    []string{"write-kubeconfig-mode: \"0640\""},
		},
		{
			name:  "an argument of the kubelet without a value would make K3s drop the next",
			files: map[string]string{k3s.ConfigFile: "kubelet-arg:\n  - seccomp-default # on\n  - pod-max-pids=4096\n"},
			want:  []string{"  - seccomp-default=true # on", "  - pod-max-pids=4096", "  - streaming-connection-idle-timeout=5m"},
		},
		{
			name:  "a value that holds as well stays: a number of the user's own choice",
			files: map[string]string{k3s.ConfigFile: "kube-controller-manager-arg: [terminated-pod-gc-threshold=1000]\n"},
			want:  []string{"kube-controller-manager-arg: [terminated-pod-gc-threshold=1000]"},
		},
		{
			name: "what the unit says already is not said twice",
			files: map[string]string{
				unit: execStart("--protect-kernel-defaults=true", "--kubelet-arg=pod-max-pids=500", "--kube-apiserver-arg=audit-log-maxage=90"),
			},
			want: []string{"secrets-encryption: true", "  - audit-log-maxbackup=10", "  - seccomp-default=true"},
			lack: []string{"protect-kernel-defaults: true", "  - pod-max-pids=4096", "  - audit-log-maxage=30"},
		},
		{
			name:  "a node hardened through ExecStart as the guide shows keeps its paths",
			files: map[string]string{unit: guideUnit},
			want:  []string{"  - audit-log-maxbackup=10"},
			lack:  []string{"  - audit-policy-file=/etc/rancher/k3s/audit.yaml", "  - admission-control-config-file=/etc/rancher/k3s/psa.yaml"},
		},
		{
			name:    "options are merged like the guide's",
			files:   map[string]string{k3s.ConfigFile: "tls-san: [a.example.org]\n"},
			options: func(o *Options) { o.Config = map[string]any{"tls-san": []string{"a.example.org", "b.example.org"}} },
			want:    []string{"tls-san: [a.example.org, b.example.org]"},
		},
		{
			name:  "a file in braces is written anew",
			files: map[string]string{k3s.ConfigFile: "{node-name: a, kubelet-arg: [max-pods=200]}"},
			want:  []string{},
		},
		{
			name:  "an empty file, and one of comments alone",
			files: map[string]string{k3s.ConfigFile: "# nothing yet\n"},
			want:  []string{"# nothing yet", "secrets-encryption: true"},
		},
		{
			name:  "carriage returns",
			files: map[string]string{k3s.ConfigFile: "node-name: a\r\nkubelet-arg:\r\n  - max-pods=200\r\n"},
			want:  []string{"node-name: a", "  - max-pods=200", "  - pod-max-pids=4096"},
		},
		{
			name:  "a bracket on a line of its own",
			files: map[string]string{k3s.ConfigFile: "kubelet-arg: [\n  max-pods=200,\n]\n\nnode-name: a\n"},
			want:  []string{"  - max-pods=200", "  - pod-max-pids=4096", "node-name: a"},
		},
		{
			name:  "text over several lines",
			files: map[string]string{k3s.ConfigFile: "kubelet-arg:\n  - >-\n    node-labels=a=b,\n    c=d\nnode-name: a\n"},
			want:  []string{"  - pod-max-pids=4096", "node-name: a"},
		},
		{
			name:  "an alias for a list",
			files: map[string]string{k3s.ConfigFile: "kubelet-arg: &a\n  - max-pods=200\n"},
			want:  []string{"  - max-pods=200", "  - pod-max-pids=4096"},
		},
		{
			name:  "the kubelet's suites in another order are the same",
			files: map[string]string{k3s.ConfigFile: "kubelet-arg:\n  - tls-cipher-suites=" + reversed(k3s.CipherSuites()) + "\n"},
			want:  []string{"  - tls-cipher-suites=" + reversed(k3s.CipherSuites())},
			lack:  []string{"  - tls-cipher-suites=" + strings.Join(k3s.CipherSuites(), ",")},
		},
		{
			name:  "strong suites other than the guide's are what the check takes too",
			files: map[string]string{k3s.ConfigFile: "kubelet-arg:\n  - tls-cipher-suites=TLS_AES_256_GCM_SHA384,TLS_RSA_WITH_AES_128_GCM_SHA256\n"},
			want:  []string{"  - tls-cipher-suites=TLS_AES_256_GCM_SHA384,TLS_RSA_WITH_AES_128_GCM_SHA256"},
			lack:  []string{"  - tls-cipher-suites=" + strings.Join(k3s.CipherSuites(), ",")},
		},
		{
			name:  "fewer of the strong suites are as strong",
			files: map[string]string{k3s.ConfigFile: "kubelet-arg:\n  - tls-cipher-suites=" + k3s.CipherSuites()[1] + "\n"},
			want:  []string{"  - tls-cipher-suites=" + k3s.CipherSuites()[1]},
			lack:  []string{"  - tls-cipher-suites=" + strings.Join(k3s.CipherSuites(), ",")},
		},
		{
			name:    "overwrite takes one of several out of a list",
			files:   map[string]string{k3s.ConfigFile: "kube-apiserver-arg:\n  - v=2\n  - disable-admission-plugins=NodeRestriction\n"},
			options: func(o *Options) { o.Overwrite = Overwrite{true, true, true} },
			want:    []string{"  - v=2"},
			lack:    []string{"  - disable-admission-plugins=NodeRestriction"},
		},
		{
			name:  "K3s's hidden name of a key",
			files: map[string]string{k3s.ConfigFile: "kube-controller-arg:\n  - terminated-pod-gc-threshold=12\n"},
			lack:  []string{"  - terminated-pod-gc-threshold=100"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newest(t)
			if tt.options != nil {
				tt.options(&o)
			}
			have := having(t, o, tt.files)
			plan, err := Make(o, have)
			require.NoError(t, err)
			lines := strings.Split(planned(t, plan, k3s.ConfigFile), "\n")
			for _, l := range tt.want {
				assert.Contains(t, lines, l)
			}
			for _, l := range tt.lack {
				assert.NotContains(t, lines, l)
			}
			if tt.dropIn == "" {
				_, touched := modeOf(plan, dropIn)
				assert.False(t, touched, "the drop-in is the user's")
			} else {
				assert.Equal(t, tt.dropIn, planned(t, plan, dropIn))
				assert.Equal(t, "/etc/rancher/k3s/99-user.yaml.before-k3s-cis", plan.Change.Keep[dropIn])
			}
			if _, was := tt.files[k3s.ConfigFile]; was {
				assert.Equal(t, k3s.ConfigFile+".before-k3s-cis", plan.Change.Keep[k3s.ConfigFile])
			}

			after := applied(t, o, plan, have)
			again, err := Make(o, after)
			require.NoError(t, err)
			assert.Empty(t, Diff(again, after), "a second run changes nothing")
			assert.Equal(t, planned(t, plan, k3s.ConfigFile), planned(t, again, k3s.ConfigFile))
		})
	}
}

// TestConflicts has configurations that contradict the guide or an option:
// each is refused with both values and the place.
func TestConflicts(t *testing.T) {
	tests := []struct {
		name      string
		files     map[string]string
		options   func(*Options)
		overwrite bool
		want      []string
	}{
		{
			name:  "a key",
			files: map[string]string{k3s.ConfigFile: "node-name: a\nprotect-kernel-defaults: false\n"},
			want:  []string{"/etc/rancher/k3s/config.yaml:2: protect-kernel-defaults: false, but the guide wants true: change it there, or set overwrite = \"config\""},
		},
		{
			name:  "several arguments, all at once",
			files: map[string]string{k3s.ConfigFile: "kube-apiserver-arg:\n  - audit-log-maxage=5\n  - audit-log-maxsize=1\nkubelet-arg:\n  - pod-max-pids=-1\n"},
			want: []string{
				"/etc/rancher/k3s/config.yaml:2: kube-apiserver-arg audit-log-maxage=5, but the guide wants 30",
				"/etc/rancher/k3s/config.yaml:3: kube-apiserver-arg audit-log-maxsize=1, but the guide wants 100",
				"/etc/rancher/k3s/config.yaml:5: kubelet-arg pod-max-pids=-1, but the guide wants 4096",
			},
		},
		{
			name:    "an option against the file, though both would do",
			files:   map[string]string{k3s.ConfigFile: "kube-apiserver-arg: [audit-log-maxage=60]\n"},
			options: func(o *Options) { o.Audit.MaxAge = 90 },
			want:    []string{"config.yaml:1: kube-apiserver-arg audit-log-maxage=60, but audit.max_age wants 90"},
		},
		{
			name:  "a drop-in that replaces the list",
			files: map[string]string{dropIn: "\nkube-apiserver-arg:\n  - v=2\n"},
			want:  []string{"/etc/rancher/k3s/config.yaml.d/99-user.yaml:2: kube-apiserver-arg replaces the list of the files before it, so that enable-admission-plugins=", "write `kube-apiserver-arg+:` there"},
		},
		{
			name:  "a drop-in that contradicts",
			files: map[string]string{dropIn: "secrets-encryption: false\nkubelet-arg+:\n  - seccomp-default=false\n"},
			want:  []string{"99-user.yaml:1: secrets-encryption: false", "99-user.yaml:3: kubelet-arg seccomp-default=false, but the guide wants true"},
		},
		{
			name:      "the unit, which overwrite does not reach",
			files:     map[string]string{unit: execStart("--protect-kernel-defaults=false", "--kubelet-arg=streaming-connection-idle-timeout=0")},
			overwrite: true,
			want:      []string{unit + ":", "protect-kernel-defaults: false, but the guide wants true: change it there, where K3s reads it last", "streaming-connection-idle-timeout=0"},
		},
		{
			name:  "a kubeconfig that everyone may read",
			files: map[string]string{k3s.ConfigFile: "write-kubeconfig-mode: \"0644\"\n"},
			want:  []string{"/etc/rancher/k3s/config.yaml:1: write-kubeconfig-mode: 0644, but the guide wants 0600"},
		},
		{
			name:  "a weak cipher suite",
			files: map[string]string{k3s.ConfigFile: "kubelet-arg: [\"tls-cipher-suites=" + k3s.CipherSuites()[0] + ",TLS_RSA_WITH_AES_128_CBC_SHA\"]\n"},
			want:  []string{"/etc/rancher/k3s/config.yaml:1: kubelet-arg tls-cipher-suites=", "TLS_RSA_WITH_AES_128_CBC_SHA, but the guide wants"},
		},
		{
			name:    "fewer suites than an option asks for",
			files:   map[string]string{k3s.ConfigFile: "kubelet-arg: [tls-cipher-suites=" + k3s.CipherSuites()[0] + "]\n"},
			options: func(o *Options) { o.TLSCipherSuites = k3s.CipherSuites()[:2] },
			want:    []string{"but tls_cipher_suites wants " + k3s.CipherSuites()[0] + "," + k3s.CipherSuites()[1]},
		},
		{
			name:  "a list as a key",
			files: map[string]string{k3s.ConfigFile: "? [a]\n: b\n"},
			want:  []string{"/etc/rancher/k3s/config.yaml"},
		},
		{
			name:  "not YAML",
			files: map[string]string{k3s.ConfigFile: "node-name: [a\n"},
			want:  []string{"/etc/rancher/k3s/config.yaml:1: is not YAML that K3s can read: did not find expected ',' or ']'"},
		},
		{
			name:  "not a mapping",
			files: map[string]string{k3s.ConfigFile: "- a\n"},
			want:  []string{"/etc/rancher/k3s/config.yaml"},
		},
		{
			name:  "a second document",
			files: map[string]string{k3s.ConfigFile: "node-name: a\n---\nnode-name: b\n"},
			want:  []string{"/etc/rancher/k3s/config.yaml:3: K3s reads the first YAML document alone"},
		},
		{
			name:  "a misspelt key, which K3s drops",
			files: map[string]string{k3s.ConfigFile: "protect-kernel-default: true\n"},
			want:  []string{"/etc/rancher/k3s/config.yaml:1: ", "protect-kernel-default"},
		},
		{
			name:  "an admission plugin that is switched off",
			files: map[string]string{k3s.ConfigFile: "kube-apiserver-arg:\n  - disable-admission-plugins=PodSecurity\n"},
			want:  []string{"/etc/rancher/k3s/config.yaml:2: disable-admission-plugins=PodSecurity switches off PodSecurity, which the guide wants on"},
		},
		{
			name:      "an admission plugin that the unit switches off",
			files:     map[string]string{unit: execStart("--kube-apiserver-arg=disable-admission-plugins=ServiceAccount")},
			overwrite: true,
			want:      []string{unit + ":", "switches off ServiceAccount, which the guide wants on: change it there"},
		},
		{
			name:    "the node's own audit policy against an option",
			files:   map[string]string{"/etc/rancher/k3s/audit.yaml": "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Request}]\n"},
			options: func(o *Options) { o.Audit.Profile = "recommended" },
			want:    []string{"/etc/rancher/k3s/audit.yaml: the node has a policy of its own, and audit asks for another"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newest(t)
			if tt.overwrite {
				o.Overwrite = Overwrite{true, true, true}
			}
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
}

func reversed(items []string) string {
	out := slices.Clone(items)
	slices.Reverse(out)
	return strings.Join(out, ",")
}
