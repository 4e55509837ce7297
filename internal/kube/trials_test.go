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

var ownAuthentication = []string{"authentication-config=" + trialOther}

func authenticationFile(text string) map[string]string {
	return map[string]string{trialOther: "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\n" + text}
}

var ownEncryption = []string{"encryption-provider-config=" + trialOther}

const (
	encryptionHead = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
	key32          = "{keys: [{name: k, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}"
)

func encryptionFile(providers string) map[string]string {
	return map[string]string{trialOther: encryptionHead + "resources:\n- resources: [secrets]\n  providers: " + providers + "\n"}
}

// firstAdded is the line that a trial's own first argument comes from.
const firstAdded = 101

const metadataPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: Metadata
`

const authorizationFile = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {type: Node, name: node}
- {type: RBAC, name: rbac}
`

// Trial is one way of starting an API server: a good one with something
// changed. One table of them serves the unit tests, which say that this
// package refuses or lets pass, and the acceptance test, which says that the
// real kube-apiserver does the same.
type Trial struct {
	Name string
	// args are passed after the good ones.
	args []string
	// files replace the good ones; empty content takes the file away.
	files map[string]string
	// minors restricts the trial to releases; the zero span is all of them.
	minors span
	// Says is what both kube-apiserver and this package say; empty for trials
	// that start.
	Says string
	// Ours and Theirs are said instead of Says where the words differ.
	Ours, Theirs string
	// line is where this package finds it, 0 for none.
	line int
	// ignored is what this package tells of although the server starts.
	ignored string
}

// In says whether release r is one of the trial's.
func (t Trial) In(r k3s.Release) bool {
	return r.AtLeast(1, t.minors.since) && (t.minors.until == 0 || !r.AtLeast(1, t.minors.until))
}

// Refused says whether the API server does not start.
func (t Trial) Refused() bool { return t.Says != "" || t.Ours != "" }

// Content returns the files of the trial by path.
func (t Trial) Content() map[string]string {
	out := map[string]string{trialAdmission: restricted, trialAudit: metadataPolicy}
	maps.Copy(out, t.files)
	maps.DeleteFunc(out, func(_, data string) bool { return data == "" })
	return out
}

// Arguments returns what is passed beside certificates, store and ports.
func (t Trial) Arguments() []k3s.Argument {
	good := []string{
		"allow-privileged=true",
		"enable-admission-plugins=NodeRestriction",
		"admission-control-config-file=" + trialAdmission,
		"audit-policy-file=" + trialAudit, "audit-log-path=/audit.log",
		"audit-log-maxage=30", "audit-log-maxbackup=10", "audit-log-maxsize=100",
		"service-account-extend-token-expiration=false", "request-timeout=300s",
	}
	var out []k3s.Argument
	add := func(arg string, line int) {
		name, value, _ := strings.Cut(arg, "=")
		out = append(out, k3s.Argument{Name: name, Value: value, Origin: k3s.Origin{Source: "/etc/rancher/k3s/config.yaml", Line: line}})
	}
	for i, arg := range good {
		add(arg, i+1)
	}
	for i, arg := range t.args {
		add(arg, firstAdded+i)
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

// Trials are what kube-apiserver must start with, and what must end it.
var Trials = []Trial{
	// What starts.
	{Name: "the guide's files"},
	{Name: "EventRateLimit with limits", args: []string{rateLimited}, files: withLimits(limits)},
	{Name: "EventRateLimit from a relative path", args: []string{rateLimited}, files: map[string]string{
		trialAdmission: restricted + "- name: EventRateLimit\n  path: other.yaml\n",
		trialOther:     "apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: Namespace, qps: 1, burst: 1}]\n",
	}},
	{Name: "EventRateLimit configured, not enabled", files: withLimits(limits)},
	{
		Name: "unknown field in a limit", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "cacheSize", "cachesize", 1)),
		ignored: `unknown field "limits[1].cachesize"`, line: 22,
	},
	{Name: "second entry of a plugin", files: withLimits("- name: PodSecurity\n"), ignored: `plugin "PodSecurity" has an entry already in line 4`, line: 16},
	{Name: "entry of no plugin", files: withLimits("- name: PodSecurty\n"), ignored: `plugin "PodSecurty" is unknown`, line: 16},
	{Name: "PodSecurity v1beta1", files: swap("pod-security.admission.config.k8s.io/v1", "pod-security.admission.config.k8s.io/v1beta1")},
	{Name: "admission file of before AdmissionConfiguration", files: map[string]string{trialAdmission: "podNodeSelectorPluginConfig:\n  clusterDefaultNodeSelector: a=b\n"}},
	{
		Name: "unknown field in the audit policy", files: map[string]string{trialAudit: metadataPolicy + "  levle: None\n"},
		ignored: `unknown field "rules[0].levle"`, line: 5,
	},
	{Name: "no admission plugins named", args: []string{"disable-admission-plugins="}},

	// The admission file.
	{Name: "admission file missing", files: map[string]string{trialAdmission: ""}, Says: "unable to read admission control configuration from", line: 3},
	{Name: "admission file empty", files: map[string]string{trialAdmission: "\n"}, Says: "Object 'Kind' is missing"},
	{Name: "admission file not YAML", files: map[string]string{trialAdmission: "plugins: [\n"}, Ours: "did not find expected node content", Theirs: "yaml: line 1: did not find expected node content", line: 1},
	{Name: "admission file of another kind", files: map[string]string{trialAdmission: metadataPolicy}, Says: `no kind "Policy" is registered for version "audit.k8s.io/v1"`, line: 1},
	{Name: "unknown field of the admission file", files: swap("plugins:", "plugin: []\nplugins:"), Says: `unknown field "plugin"`, line: 3},
	{Name: "unknown field of psa.yaml", files: swap(`enforce: "restricted"`, `enforced: "restricted"`), Says: `unknown field "defaults.enforced"`, line: 9},
	{Name: "level that is none", files: swap(`enforce: "restricted"`, `enforce: "restrictd"`), Ours: `defaults.enforce: Invalid value: must be one of privileged, baseline, restricted`, Theirs: "enforce: must be one of privileged, baseline, restricted", line: 9},
	{Name: "version that is none", files: swap("v1.30", "1.30"), Ours: `defaults.enforce-version: Invalid value: must be "latest" or "v1.x"`, Theirs: `enforce-version: must be "latest" or "v1.x"`, line: 10},
	{Name: "exempt namespace twice", files: swap("[kube-system]", "[kube-system, kube-system]"), Says: "exemptions.namespaces[1]: Duplicate value", Theirs: `: "kube-system"`, line: 15},
	{Name: "exempt namespace with a wildcard", files: swap("[kube-system]", `["cattle-*"]`), Says: "exemptions.namespaces[0]: Invalid value: ", Theirs: `"cattle-*"`, line: 15},
	{Name: "key twice", files: swap(`      audit: "restricted"`, "      enforce: baseline"), Ours: "a key that is there twice", Theirs: `"enforce" already set in map`, line: 11},
	{Name: "PodSecurity without a kind", files: swap("    kind: PodSecurityConfiguration\n", ""), Says: "Object 'Kind' is missing", line: 5},
	{Name: "plugin's own file missing", files: swap("  configuration:\n", "  path: none.yaml\n  config:\n"), Ours: `unknown field "plugins[0].config"`, Theirs: "unknown field", line: 6},
	{Name: "plugin's own file missing, for real", files: withLimits("- name: EventRateLimit\n  path: none.yaml\n"), args: []string{rateLimited}, Ours: "couldn't open admission plugin configuration /etc/rancher/k3s/none.yaml", Theirs: "Couldn't open admission plugin configuration", line: 17},

	// EventRateLimit.
	{Name: "EventRateLimit without limits", args: []string{rateLimited}, Says: `couldn't init admission plugin "EventRateLimit": limits: Invalid value: null: must not be empty`, line: firstAdded},
	{Name: "EventRateLimit without an admission file", args: []string{rateLimited, "admission-control-config-file="}, Says: `couldn't init admission plugin "EventRateLimit": limits: Invalid value: null: must not be empty`, line: firstAdded},
	{Name: "EventRateLimit with an empty list", args: []string{rateLimited}, files: withLimits(limits[:strings.Index(limits, "limits:")] + "limits: []\n"), Says: "must not be empty", line: 20},
	{Name: "EventRateLimit without a kind", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "    kind: Configuration\n", "", 1)), Says: "Object 'Kind' is missing", line: 17},
	{Name: "limit of no type", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "Server", "Cluster", 1)), Says: "type: Unsupported value: ", Theirs: `"Cluster"`, line: 21},
	{Name: "limit without qps", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "qps: 5000, ", "", 1)), Says: "qps: Invalid value: 0: must be positive", line: 21},
	{Name: "limit with a negative burst", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "burst: 100", "burst: -1", 1)), Says: "burst: Invalid value: -1: must be positive", line: 22},
	{Name: "limit with a negative cache", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "cacheSize: 2000", "cacheSize: -1", 1)), Says: "cacheSize: Invalid value: -1: must not be negative", line: 22},
	{Name: "limit with a word for a number", args: []string{rateLimited}, files: withLimits(strings.Replace(limits, "5000", "many", 1)), Says: "cannot unmarshal string into Go struct field", line: 17},

	// The audit policy.
	{Name: "audit policy missing", files: map[string]string{trialAudit: ""}, Says: "failed to read file path", line: 4},
	{Name: "audit policy empty", files: map[string]string{trialAudit: "\n"}, Ours: "failed decoding: Object 'Kind' is missing", Theirs: "unknown group version field"},
	{Name: "audit policy without rules", files: map[string]string{trialAudit: strings.Split(metadataPolicy, "rules")[0]}, Says: "loaded illegal policy with 0 rules", line: 1},
	{Name: "audit level that is none", files: map[string]string{trialAudit: strings.Replace(metadataPolicy, "Metadata", "metadata", 1)}, Says: "rules[0].level: Unsupported value: ", Theirs: `"metadata"`, line: 4},
	{Name: "audit rule of both kinds", files: map[string]string{trialAudit: metadataPolicy + "  nonResourceURLs: [/healthz]\n  namespaces: [a]\n"}, Says: "rules cannot apply to both regular resources and non-resource URLs", line: 5},
	{Name: "audit group with a version", files: map[string]string{trialAudit: metadataPolicy + "  resources: [{group: apps/v1}]\n"}, Says: "rules[0].resources.group: Invalid value: ", Theirs: `"apps/v1"`, line: 5},
	{Name: "audit policy v1beta1", minors: span{since: 24}, files: map[string]string{trialAudit: strings.Replace(metadataPolicy, "/v1", "/v1beta1", 1)}, Says: `no kind "Policy" is registered for version "audit.k8s.io/v1beta1"`, line: 1},

	// Plugins.
	{Name: "unknown plugin", args: []string{"enable-admission-plugins=Nonsense"}, Says: `enable-admission-plugins plugin "Nonsense" is unknown`, line: firstAdded},
	{Name: "blank in a list of plugins", args: []string{"enable-admission-plugins=NodeRestriction, AlwaysPullImages"}, Says: `enable-admission-plugins plugin " AlwaysPullImages" is unknown`, line: firstAdded},
	{Name: "unknown plugin disabled", args: []string{"disable-admission-plugins=Nonsense"}, Says: `disable-admission-plugins plugin "Nonsense" is unknown`, line: firstAdded},
	{Name: "plugin enabled and disabled", args: []string{"disable-admission-plugins=NodeRestriction"}, Says: "[NodeRestriction] in enable-admission-plugins and disable-admission-plugins overlapped", line: firstAdded},
	{Name: "PodSecurityPolicy", minors: span{since: 25}, args: []string{"enable-admission-plugins=PodSecurityPolicy"}, Says: `plugin "PodSecurityPolicy" is unknown`, line: firstAdded},
	{Name: "SecurityContextDeny", minors: span{since: 30}, args: []string{"enable-admission-plugins=SecurityContextDeny"}, Says: `plugin "SecurityContextDeny" is unknown`, line: firstAdded},

	// Authorization and authentication.
	{Name: "modes of K3s", args: []string{"authorization-mode=Node,RBAC"}},
	{Name: "authorization file", minors: span{since: 32}, args: []string{"authorization-config=" + trialOther}, files: map[string]string{trialOther: authorizationFile}},
	{Name: "authorization file missing", minors: span{since: 32}, args: []string{"authorization-config=" + trialOther}, Ours: `failed to load AuthorizationConfiguration from file "/etc/rancher/k3s/other.yaml": there is no such file`, Theirs: "other.yaml: no such file or directory", line: firstAdded},
	{Name: "authorization file of another kind", minors: span{since: 32}, args: []string{"authorization-config=" + trialOther}, files: map[string]string{trialOther: metadataPolicy}, Ours: `expected AuthorizationConfiguration, got Policy of "audit.k8s.io/v1"`, Theirs: `no kind "Policy" is registered`, line: 2},
	{Name: "authorization file without a kind", minors: span{since: 32}, args: []string{"authorization-config=" + trialOther}, files: map[string]string{trialOther: "authorizers: []\n"}, Says: "Object 'Kind' is missing", line: 1},
	{Name: "authorization file not YAML", minors: span{since: 32}, args: []string{"authorization-config=" + trialOther}, files: map[string]string{trialOther: "authorizers: [\n"}, Ours: "did not find expected node content", Theirs: "yaml: line 1: did not find expected node content", line: 1},
	{Name: "authorization file and modes", minors: span{since: 32}, args: []string{"authorization-config=" + trialOther, "authorization-mode=Node,RBAC"}, files: map[string]string{trialOther: authorizationFile}, Says: "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined", line: firstAdded},
	{Name: "authentication file missing", minors: span{since: 32}, args: []string{"authentication-config=" + trialOther}, Ours: `failed to load AuthenticationConfiguration from file "/etc/rancher/k3s/other.yaml": there is no such file`, Theirs: "other.yaml: no such file or directory", line: firstAdded},
	{Name: "authentication file of another kind", minors: span{since: 32}, args: []string{"authentication-config=" + trialOther}, files: map[string]string{trialOther: authorizationFile}, Ours: "expected AuthenticationConfiguration, got AuthorizationConfiguration", Theirs: "expected AuthenticationConfiguration, got", line: 2},
	{Name: "mode ABAC without its file", args: []string{"authorization-mode=ABAC"}, Says: "authorization-mode ABAC's authorization policy file not passed", line: firstAdded},
	{Name: "mode Webhook without its file", args: []string{"authorization-mode=Node,Webhook"}, Says: "authorization-mode Webhook's authorization config file not passed", line: firstAdded},
	{Name: "policy file without mode ABAC", args: []string{"authorization-policy-file=/etc/abac"}, Says: "cannot specify --authorization-policy-file without mode ABAC", line: firstAdded},
	{Name: "webhook file without its mode", args: []string{"authorization-webhook-config-file=/etc/hook"}, Says: "cannot specify --authorization-webhook-config-file without mode Webhook", line: firstAdded},
	{Name: "mode twice", args: []string{"authorization-mode=Node,RBAC,Node"}, Says: "has mode specified more than once", line: firstAdded},

	{Name: "authentication file", minors: span{since: 34}, args: ownAuthentication, files: authenticationFile("jwt:\n- issuer: {url: \"https://i.example.org\", audiences: [a]}\n  claimMappings: {username: {claim: sub, prefix: \"\"}}\n")},
	{Name: "authentication file for anonymous requests", minors: span{since: 34}, args: ownAuthentication, files: authenticationFile("anonymous: {enabled: true, conditions: [{path: /livez}]}\n")},
	{Name: "anonymous-auth twice", minors: span{since: 34}, args: []string{ownAuthentication[0], "anonymous-auth=false"}, files: authenticationFile("anonymous: {enabled: true, conditions: [{path: /livez}]}\n"), Says: "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file", line: firstAdded},
	{Name: "anonymous-auth beside another file", minors: span{since: 34}, args: []string{ownAuthentication[0], "anonymous-auth=false"}, files: authenticationFile("jwt: []\n")},
	{Name: "oidc flags beside the file", minors: span{since: 34}, args: []string{ownAuthentication[0], "oidc-issuer-url=https://i.example.org"}, files: authenticationFile("jwt: []\n"), Says: "authentication-config file and oidc-* flags are mutually exclusive", line: firstAdded + 1},
	{Name: "issuer without TLS", minors: span{since: 34}, args: ownAuthentication, files: authenticationFile("jwt:\n- issuer: {url: \"http://i.example.org\", audiences: [a]}\n  claimMappings: {username: {claim: sub, prefix: \"\"}}\n"), Ours: "jwt[0].issuer.url: Invalid value: URL scheme must be https", Theirs: "URL scheme must be https", line: 4},
	{Name: "issuer with a query", minors: span{since: 34}, args: ownAuthentication, files: authenticationFile("jwt:\n- issuer: {url: \"https://i.example.org/?a=b\", audiences: [a]}\n  claimMappings: {username: {claim: sub, prefix: \"\"}}\n"), Ours: "jwt[0].issuer.url: Invalid value: URL must not contain a query", Theirs: "URL must not contain a query", line: 4},
	{Name: "issuer without audiences", minors: span{since: 34}, args: ownAuthentication, files: authenticationFile("jwt:\n- issuer: {url: \"https://i.example.org\"}\n  claimMappings: {username: {claim: sub, prefix: \"\"}}\n"), Says: "jwt[0].issuer.audiences: Required value: at least one", line: 4},
	{Name: "conditions of nobody", minors: span{since: 34}, args: ownAuthentication, files: authenticationFile("anonymous: {enabled: false, conditions: [{path: /livez}]}\n"), Ours: "anonymous.conditions: Invalid value: enabled should be set to true", Theirs: "enabled should be set to true when conditions are defined", line: 3},

	// Encryption.
	{Name: "keys of every kind", args: ownEncryption, files: encryptionFile("[{aescbc: " + key32 + "}, {aesgcm: " + key32 + "}, {secretbox: " + key32 + "}, {identity: {}}]")},
	{Name: "encryption file missing", args: ownEncryption, Ours: "error opening encryption provider configuration file", Theirs: "other.yaml: no such file or directory", line: firstAdded},
	{Name: "encryption file of another kind", args: ownEncryption, files: map[string]string{trialOther: metadataPolicy}, Says: `no kind "Policy" is registered`, line: 1},
	{Name: "encryption file without resources", args: ownEncryption, files: map[string]string{trialOther: encryptionHead}, Says: "resources: Required value: at least one", line: 1},
	{Name: "provider of no kind", args: ownEncryption, files: encryptionFile("[{}]"), Ours: "a provider has exactly one kind, found 0", Theirs: "provider does not contain any of the expected providers", line: 5},
	{Name: "provider of two kinds", args: ownEncryption, files: encryptionFile("[{aescbc: " + key32 + ", identity: {}}]"), Ours: "a provider has exactly one kind, found 2", Theirs: "more than one provider specified in a single element", line: 5},
	{Name: "provider that is none", minors: span{since: 30}, args: ownEncryption, files: encryptionFile("[{aes: {}}]"), Says: `unknown field "resources[0].providers[0].aes"`, line: 5},
	{Name: "short key", args: ownEncryption, files: encryptionFile("[{secretbox: {keys: [{name: k, secret: MDEyMw==}]}}]"), Says: "secret is not of the expected length, got 4, expected one of [32]", line: 5},
	{Name: "key that is not base64", args: ownEncryption, files: encryptionFile("[{aescbc: {keys: [{name: k, secret: S3CR3T!}]}}]"), Says: "secrets must be base64 encoded", line: 5},
	{Name: "key without a name", args: ownEncryption, files: encryptionFile("[{aescbc: {keys: [{secret: MDEyMzQ1Njc4OTAxMjM0NQ==}]}}]"), Says: "name is a mandatory field for a key", line: 5},
	{Name: "encryption file as it was called long ago", args: ownEncryption, files: map[string]string{trialOther: "apiVersion: v1\nkind: EncryptionConfig\nresources:\n- resources: [secrets]\n  providers: [{identity: {}}]\n"}},
	{Name: "address of a KMS plugin that is none of a socket", args: ownEncryption, files: encryptionFile("[{kms: {apiVersion: v2, name: k, endpoint: 'https://kms'}}]"), Ours: "only sockets are supported", Theirs: "unsupported scheme", line: 5},
	{Name: "KMS plugin of another version", args: ownEncryption, files: encryptionFile("[{kms: {apiVersion: v3, name: k, endpoint: 'unix:///kms'}}]"), Says: "unsupported apiVersion", line: 5},
	{Name: "KMS plugin of the first version", minors: span{since: 29}, args: ownEncryption, files: encryptionFile("[{kms: {name: k, endpoint: 'unix:///kms'}}]"), Says: "KMSv1 is deprecated", line: 5},
	{Name: "KMS name with a colon", args: ownEncryption, files: encryptionFile("[{kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///kms'}}]"), Says: "must not contain ':'", line: 5},
	{Name: "Secrets named twice", args: ownEncryption, files: map[string]string{trialOther: encryptionHead + "resources:\n- resources: [secrets, secrets]\n  providers: [{identity: {}}]\n"}, Says: "the same resource cannot be specified multiple times", line: 4},
	{Name: "no keys", args: ownEncryption, files: encryptionFile("[{aescbc: {}}]"), Says: "aescbc.keys: Required value", line: 5},

	// Flags.
	{Name: "insecure-port", minors: span{since: 24}, args: []string{"insecure-port=0"}, Says: "unknown flag: --insecure-port", line: firstAdded},
	{Name: "insecure-bind-address", minors: span{since: 24}, args: []string{"insecure-bind-address=127.0.0.1"}, Says: "unknown flag: --insecure-bind-address", line: firstAdded},
	{Name: "port", minors: span{since: 24}, args: []string{"port=0"}, Says: "unknown flag: --port", line: firstAdded},
	{Name: "address", minors: span{since: 24}, args: []string{"address=127.0.0.1"}, Says: "unknown flag: --address", line: firstAdded},
	{Name: "basic-auth-file", minors: span{}, args: []string{"basic-auth-file=/etc/passwords"}, Says: "unknown flag: --basic-auth-file", line: firstAdded},
	{Name: "kubelet-https", minors: span{since: 22}, args: []string{"kubelet-https=true"}, Says: "unknown flag: --kubelet-https", line: firstAdded},
	{Name: "a controller manager's flag", args: []string{"terminated-pod-gc-threshold=10"}, Says: "unknown flag: --terminated-pod-gc-threshold", line: firstAdded},
	{Name: "a kubelet's flag", args: []string{"make-iptables-util-chains=true"}, Says: "unknown flag: --make-iptables-util-chains", line: firstAdded},
	{Name: "misspelt flag", args: []string{"audit-log-maxags=3"}, Says: "unknown flag: --audit-log-maxags", line: firstAdded},
	{Name: "duration without a unit", args: []string{"request-timeout=300"}, Says: `invalid argument "300" for "--request-timeout" flag`, line: firstAdded},
	{Name: "word for a number", args: []string{"audit-log-maxage=month"}, Ours: `invalid argument "(hidden)" for "--audit-log-maxage" flag`, Theirs: `invalid argument "month" for "--audit-log-maxage" flag`, line: firstAdded},
	{Name: "word for a boolean", args: []string{"profiling=off"}, Ours: `invalid argument "(hidden)" for "--profiling" flag`, Theirs: `invalid argument "off" for "--profiling" flag`, line: firstAdded},
	{Name: "negative number of days", args: []string{"audit-log-maxage=-1"}, Says: "--audit-log-maxage -1 can't be a negative number", line: firstAdded},
	{Name: "negative number of days of no log", args: []string{"audit-log-maxage=-1", "audit-log-path="}},
	{Name: "unknown cipher suite", args: []string{"tls-cipher-suites=TLS_FOO"}, Says: "TLS_FOO", line: firstAdded},
	{Name: "unknown TLS version", args: []string{"tls-min-version=1.2"}, Says: `"1.2"`, line: firstAdded},
	{Name: "audit log of no format", args: []string{"audit-log-format=text"}, Ours: `"text" is not one of legacy, json`, Theirs: "invalid audit log format text", line: firstAdded},
	{Name: "audit log of no mode", args: []string{"audit-log-mode=async"}, Ours: `"async" is not one of batch, blocking, blocking-strict`, Theirs: "invalid audit log mode async", line: firstAdded},
	{Name: "format of no audit log", args: []string{"audit-log-format=text", "audit-log-path="}},
	{Name: "chance above its limit", args: []string{"goaway-chance=0.5"}, Says: "--goaway-chance can not be less than 0 or greater than 0.02", line: firstAdded},
	{Name: "negative number of requests", args: []string{"max-requests-inflight=-1"}, Says: "--max-requests-inflight", Theirs: " can not be negative value", line: firstAdded},
	{Name: "negative time of requests", args: []string{"min-request-timeout=-1"}, Says: "--min-request-timeout", Theirs: " can not be negative value", line: firstAdded},
	{Name: "negative delay", args: []string{"shutdown-delay-duration=-1s"}, Says: "--shutdown-delay-duration can not be negative value", line: firstAdded},
	{Name: "negative grace period", args: []string{"livez-grace-period=-1s"}, Ours: "--livez-grace-period can not be negative value", Theirs: "--livez-grace-period can not be a negative value", line: firstAdded},
	{Name: "reconciler of no type", args: []string{"endpoint-reconciler-type=leases"}, Ours: `"leases" is not one of lease`, Theirs: "reconciler: leases", line: firstAdded},
	{Name: "token of minutes", args: []string{"service-account-max-token-expiration=10m"}, Says: "the service-account-max-token-expiration must be between 1 hour and 2^32 seconds", line: firstAdded},
	{Name: "storage of no kind", args: []string{"storage-backend=etcd2"}, Ours: "is not one of etcd3", Theirs: "--storage-backend invalid", line: firstAdded},
	{Name: "verbosity of a word", args: []string{"v=debug"}, Ours: `--v "debug" is not a whole number`, Theirs: `invalid argument "debug" for "-v, --v" flag`, line: firstAdded},
	{Name: "log of no format", args: []string{"logging-format=xml"}, Ours: `--logging-format "xml" is not one of`, Theirs: "Unsupported log format", line: firstAdded},
	{Name: "range of no ports", args: []string{"service-node-port-range=high"}, Ours: "is not a range of ports", Theirs: `for "--service-node-port-range" flag`, line: firstAdded},
	{Name: "issuer of OpenID without TLS", args: []string{"oidc-issuer-url=http://i.example.org", "oidc-client-id=a"}, Says: "URL scheme must be https", line: firstAdded},
	{Name: "issuer of OpenID without a client", args: []string{"oidc-issuer-url=https://i.example.org"}, Says: "oidc-issuer-url and oidc-client-id must be specified together", line: firstAdded},
	{Name: "client of OpenID without an issuer", args: []string{"oidc-client-id=a"}, Says: "oidc-issuer-url and oidc-client-id must be specified together", line: firstAdded},
	{Name: "unknown algorithm of OpenID", args: []string{"oidc-issuer-url=https://i.example.org", "oidc-client-id=a", "oidc-signing-algs=HS256"}, Ours: "is not one of RS256", Theirs: "HS256", line: firstAdded + 2},
	{Name: "service range of no network", args: []string{"service-cluster-ip-range=10.43.0.0"}, Ours: "is not a network", Theirs: "service-cluster-ip-range", line: firstAdded},
	{Name: "unknown authorization mode", args: []string{"authorization-mode=Node,Rbac"}, Says: `authorization-mode "Rbac" is not a valid mode`, line: firstAdded},
}
