package kube

import (
	"fmt"
	"maps"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// The files of the trial API server stand here, in the unit tests by name and
// in the acceptance test below a temporary directory.
const (
	trialAdmission = "/etc/rancher/k3s/psa.yaml"
	trialAudit     = "/etc/rancher/k3s/audit.yaml"
	trialOther     = "/etc/rancher/k3s/other.yaml"
)

const metadataPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: Metadata
`

// trial is one way of starting an API server: a good one with something
// changed. One table of them serves the unit tests, which say that this
// package refuses or lets pass, and the acceptance test, which says that the
// real kube-apiserver does the same.
type trial struct {
	name string
	// args are passed after the good ones.
	args []string
	// files replace the good ones; empty content takes the file away.
	files map[string]string
	// minors restricts the trial to releases; the zero span is all of them.
	minors span
	// says is what both kube-apiserver and this package say; empty for trials
	// that start.
	says string
	// ours and theirs are said instead of says where the words differ.
	ours, theirs string
	// line is where this package finds it, 0 for none.
	line int
	// ignored is what this package tells of although the server starts.
	ignored string
}

func (t trial) in(r k3s.Release) bool {
	return r.AtLeast(1, t.minors.since) && (t.minors.until == 0 || !r.AtLeast(1, t.minors.until))
}

func (t trial) refused() bool { return t.says != "" || t.ours != "" }

// content returns the files of the trial by path.
func (t trial) content() map[string]string {
	out := map[string]string{trialAdmission: restricted, trialAudit: metadataPolicy}
	maps.Copy(out, t.files)
	maps.DeleteFunc(out, func(_, data string) bool { return data == "" })
	return out
}

// arguments returns what is passed beside certificates, store and ports.
func (t trial) arguments() []k3s.Argument {
	good := []string{
		"enable-admission-plugins=NodeRestriction",
		"admission-control-config-file=" + trialAdmission,
		"audit-policy-file=" + trialAudit,
		"audit-log-maxage=30", "audit-log-maxbackup=10", "audit-log-maxsize=100",
		"service-account-extend-token-expiration=false", "request-timeout=300s",
	}
	var out []k3s.Argument
	for i, a := range append(good, t.args...) {
		name, value, _ := strings.Cut(a, "=")
		out = append(out, k3s.Argument{Name: name, Value: value, Origin: k3s.Origin{Source: "/etc/rancher/k3s/config.yaml", Line: i + 1}})
	}
	return out
}

// swap returns the good admission file with one text replaced.
func swap(from, to string) map[string]string {
	if !strings.Contains(restricted, from) {
		panic(fmt.Sprintf("the admission file has no %q", from))
	}
	return map[string]string{trialAdmission: strings.Replace(restricted, from, to, 1)}
}

func withLimits(entry string) map[string]string {
	return map[string]string{trialAdmission: restricted + entry}
}

const rateLimited = "enable-admission-plugins=EventRateLimit"

var trials = []trial{
	// What starts.
	{name: "the guide's files"},
	{name: "EventRateLimit with limits", args: []string{rateLimited}, files: withLimits(limits)},
	{name: "EventRateLimit from a relative path", args: []string{rateLimited}, files: map[string]string{
		trialAdmission: restricted + "- name: EventRateLimit\n  path: other.yaml\n",
		trialOther:     "apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: Namespace, qps: 1, burst: 1}]\n"}},
	{name: "EventRateLimit configured, not enabled", files: withLimits(limits)},
	{name: "unknown field in a limit", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "cacheSize", "cachesize", 1)),
		ignored: `unknown field "limits[1].cachesize"`, line: 22},
	{name: "second entry of a plugin", files: withLimits("- name: PodSecurity\n"), ignored: `plugin "PodSecurity" has an entry already in line 4`, line: 16},
	{name: "entry of no plugin", files: withLimits("- name: PodSecurty\n"), ignored: `plugin "PodSecurty" is unknown`, line: 16},
	{name: "PodSecurity v1beta1", files: swap("pod-security.admission.config.k8s.io/v1", "pod-security.admission.config.k8s.io/v1beta1")},
	{name: "admission file of before AdmissionConfiguration", files: map[string]string{trialAdmission: "podNodeSelectorPluginConfig:\n  clusterDefaultNodeSelector: a=b\n"}},
	{name: "unknown field in the audit policy", files: map[string]string{trialAudit: metadataPolicy + "  levle: None\n"},
		ignored: `unknown field "rules[0].levle"`, line: 5},
	{name: "no admission plugins named", args: []string{"disable-admission-plugins="}},

	// The admission file.
	{name: "admission file missing", files: map[string]string{trialAdmission: ""}, says: "unable to read admission control configuration from", line: 2},
	{name: "admission file empty", files: map[string]string{trialAdmission: "\n"}, says: "Object 'Kind' is missing"},
	{name: "admission file not YAML", files: map[string]string{trialAdmission: "plugins: [\n"}, says: "yaml: line 1: did not find expected node content", line: 1},
	{name: "admission file of another kind", files: map[string]string{trialAdmission: metadataPolicy}, says: `no kind "Policy" is registered for version "audit.k8s.io/v1"`, line: 1},
	{name: "unknown field of the admission file", files: swap("plugins:", "plugin: []\nplugins:"), says: `unknown field "plugin"`, line: 3},
	{name: "unknown field of psa.yaml", files: swap(`enforce: "restricted"`, `enforced: "restricted"`), says: `unknown field "defaults.enforced"`, line: 9},
	{name: "level that is none", files: swap(`enforce: "restricted"`, `enforce: "restrictd"`), says: `defaults.enforce: Invalid value: "restrictd"`, line: 9},
	{name: "version that is none", files: swap("v1.30", "1.30"), says: `defaults.enforce-version: Invalid value: "1.30"`, line: 10},
	{name: "exempt namespace twice", files: swap("[kube-system]", "[kube-system, kube-system]"), says: `exemptions.namespaces[1]: Duplicate value: "kube-system"`, line: 15},
	{name: "exempt namespace with a wildcard", files: swap("[kube-system]", `["cattle-*"]`), says: `exemptions.namespaces[0]: Invalid value: "cattle-*"`, line: 15},
	{name: "key twice", files: swap(`      audit: "restricted"`, "      enforce: baseline"), ours: `key "enforce" already set in map`, theirs: `"enforce" already set in map`, line: 11},
	{name: "PodSecurity without a kind", files: swap("    kind: PodSecurityConfiguration\n", ""), says: "Object 'Kind' is missing", line: 5},
	{name: "plugin's own file missing", files: swap("  configuration:\n", "  path: none.yaml\n  config:\n"), ours: `unknown field "plugins[0].config"`, theirs: "unknown field", line: 6},
	{name: "plugin's own file missing, for real", files: withLimits("- name: EventRateLimit\n  path: none.yaml\n"), args: []string{rateLimited}, ours: "couldn't open admission plugin configuration /etc/rancher/k3s/none.yaml", theirs: "Couldn't open admission plugin configuration", line: 17},

	// EventRateLimit.
	{name: "EventRateLimit without limits", args: []string{rateLimited}, says: `couldn't init admission plugin "EventRateLimit": limits: Invalid value: null: must not be empty`, line: 9},
	{name: "EventRateLimit without an admission file", args: []string{rateLimited, "admission-control-config-file="}, says: `couldn't init admission plugin "EventRateLimit": limits: Invalid value: null: must not be empty`, line: 9},
	{name: "EventRateLimit with an empty list", args: []string{rateLimited}, files: withLimits(limits[:strings.Index(limits, "limits:")] + "limits: []\n"), says: "must not be empty", line: 20},
	{name: "EventRateLimit without a kind", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "    kind: Configuration\n", "", 1)), says: "Object 'Kind' is missing", line: 17},
	{name: "limit of no type", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "Server", "Cluster", 1)), says: `type: Unsupported value: "Cluster"`, line: 21},
	{name: "limit without qps", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "qps: 5000, ", "", 1)), says: "qps: Invalid value: 0: must be positive", line: 21},
	{name: "limit with a negative burst", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "burst: 100", "burst: -1", 1)), says: "burst: Invalid value: -1: must be positive", line: 22},
	{name: "limit with a negative cache", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "cacheSize: 2000", "cacheSize: -1", 1)), says: "cacheSize: Invalid value: -1: must not be negative", line: 22},
	{name: "limit with a word for a number", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "5000", "many", 1)), says: "cannot unmarshal string into Go struct field", line: 17},

	// The audit policy.
	{name: "audit policy missing", files: map[string]string{trialAudit: ""}, says: "failed to read file path", line: 3},
	{name: "audit policy empty", files: map[string]string{trialAudit: "\n"}, says: "failed decoding: Object 'Kind' is missing"},
	{name: "audit policy without rules", files: map[string]string{trialAudit: strings.Split(metadataPolicy, "rules")[0]}, says: "loaded illegal policy with 0 rules", line: 1},
	{name: "audit level that is none", files: map[string]string{trialAudit: strings.Replace(metadataPolicy, "Metadata", "metadata", 1)}, says: `rules[0].level: Unsupported value: "metadata"`, line: 4},
	{name: "audit rule of both kinds", files: map[string]string{trialAudit: metadataPolicy + "  nonResourceURLs: [/healthz]\n  namespaces: [a]\n"}, says: "rules cannot apply to both regular resources and non-resource URLs", line: 5},
	{name: "audit group with a version", files: map[string]string{trialAudit: metadataPolicy + "  resources: [{group: apps/v1}]\n"}, says: `rules[0].resources.group: Invalid value: "apps/v1"`, line: 5},
	{name: "audit policy v1beta1", minors: span{since: 24}, files: map[string]string{trialAudit: strings.Replace(metadataPolicy, "/v1", "/v1beta1", 1)}, says: `no kind "Policy" is registered for version "audit.k8s.io/v1beta1"`, line: 1},

	// Plugins.
	{name: "unknown plugin", args: []string{"enable-admission-plugins=Nonsense"}, says: `enable-admission-plugins plugin "Nonsense" is unknown`, line: 9},
	{name: "blank in a list of plugins", args: []string{"enable-admission-plugins=NodeRestriction, AlwaysPullImages"}, says: `enable-admission-plugins plugin " AlwaysPullImages" is unknown`, line: 9},
	{name: "unknown plugin disabled", args: []string{"disable-admission-plugins=Nonsense"}, says: `disable-admission-plugins plugin "Nonsense" is unknown`, line: 9},
	{name: "plugin enabled and disabled", args: []string{"disable-admission-plugins=NodeRestriction"}, says: "[NodeRestriction] in enable-admission-plugins and disable-admission-plugins overlapped", line: 9},
	{name: "PodSecurityPolicy", minors: span{since: 25}, args: []string{"enable-admission-plugins=PodSecurityPolicy"}, says: `plugin "PodSecurityPolicy" is unknown`, line: 9},
	{name: "SecurityContextDeny", minors: span{since: 30}, args: []string{"enable-admission-plugins=SecurityContextDeny"}, says: `plugin "SecurityContextDeny" is unknown`, line: 9},

	// Flags.
	{name: "insecure-port", minors: span{since: 24}, args: []string{"insecure-port=0"}, says: "unknown flag: --insecure-port", line: 9},
	{name: "insecure-bind-address", minors: span{since: 24}, args: []string{"insecure-bind-address=127.0.0.1"}, says: "unknown flag: --insecure-bind-address", line: 9},
	{name: "port", minors: span{since: 24}, args: []string{"port=0"}, says: "unknown flag: --port", line: 9},
	{name: "address", minors: span{since: 24}, args: []string{"address=127.0.0.1"}, says: "unknown flag: --address", line: 9},
	{name: "basic-auth-file", minors: span{}, args: []string{"basic-auth-file=/etc/passwords"}, says: "unknown flag: --basic-auth-file", line: 9},
	{name: "kubelet-https", minors: span{since: 22}, args: []string{"kubelet-https=true"}, says: "unknown flag: --kubelet-https", line: 9},
	{name: "a controller manager's flag", args: []string{"terminated-pod-gc-threshold=10"}, says: "unknown flag: --terminated-pod-gc-threshold", line: 9},
	{name: "a kubelet's flag", args: []string{"make-iptables-util-chains=true"}, says: "unknown flag: --make-iptables-util-chains", line: 9},
	{name: "misspelt flag", args: []string{"audit-log-maxags=3"}, says: "unknown flag: --audit-log-maxags", line: 9},
	{name: "duration without a unit", args: []string{"request-timeout=300"}, says: `invalid argument "300" for "--request-timeout" flag`, line: 9},
	{name: "word for a number", args: []string{"audit-log-maxage=month"}, says: `invalid argument "month" for "--audit-log-maxage" flag`, line: 9},
	{name: "word for a boolean", args: []string{"profiling=off"}, says: `invalid argument "off" for "--profiling" flag`, line: 9},
	{name: "negative number of days", args: []string{"audit-log-maxage=-1"}, says: "--audit-log-maxage -1 can't be a negative number", line: 9},
	{name: "unknown cipher suite", args: []string{"tls-cipher-suites=TLS_FOO"}, says: "TLS_FOO", line: 9},
	{name: "unknown TLS version", args: []string{"tls-min-version=1.2"}, says: `"1.2"`, line: 9},
	{name: "unknown authorization mode", args: []string{"authorization-mode=Node,Rbac"}, says: `authorization-mode "Rbac" is not a valid mode`, line: 9},
}
