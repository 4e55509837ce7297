package benchmark_test

import (
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

const (
	psaFile    = "/etc/rancher/k3s/psa.yaml"
	auditFile  = "/etc/rancher/k3s/audit.yaml"
	manifests  = k3s.DefaultDataDir + "/server/manifests/"
	netpolFile = manifests + "k3s-cis-network-policies.yaml"
	saFile     = manifests + "k3s-cis-service-accounts.yaml"
	pspFile    = manifests + "k3s-cis-pod-security-policies.yaml"
)

// atBaseline are the pod security controls that the level baseline keeps.
var atBaseline = []string{
	"podsec.policy-active", "podsec.privileged", "podsec.hostpid", "podsec.hostipc", "podsec.hostnetwork",
	"podsec.added-caps", "podsec.windows-hostprocess", "podsec.hostpath", "podsec.hostports", "podsec.procmount",
}

// atRestricted are those that only the level restricted keeps.
var atRestricted = []string{"podsec.privesc", "podsec.root", "podsec.net-raw", "podsec.caps"}

func edits(file, from, to string) func(*testing.T, *tree) {
	return func(t *testing.T, tr *tree) { tr.edit(t, file, from, to) }
}

func removes(file string) func(*testing.T, *tree) {
	return func(_ *testing.T, tr *tree) { delete(tr.entries, file) }
}

func except(keys []string, key string) []string {
	var out []string
	for _, k := range keys {
		if k != key {
			out = append(out, k)
		}
	}
	return out
}

// policyMutants weaken the files that the API server and K3s are given.
func policyMutants() []mutant {
	psa := func(b base) bool { return !b.psp() }
	all := append(append([]string{}, atBaseline...), atRestricted...)
	var out []mutant
	for _, key := range atBaseline {
		out = append(out, mutant{control: key, on: psa, breaks: edits(psaFile, "enforce: restricted", "enforce: privileged"), also: fails(except(all, key)...)})
	}
	for _, key := range atRestricted {
		out = append(out, mutant{control: key, on: psa, breaks: edits(psaFile, "enforce: restricted", "enforce: baseline"), also: fails(except(atRestricted, key)...)})
	}
	out = append(out,
		mutant{
			control: "podsec.policy-active", on: psa, breaks: removes(psaFile),
			also: fails(append(except(all, "podsec.policy-active"), "node.k3s-starts", "node.admission-files.mode")...),
		},
		mutant{
			control: "podsec.policy-active", on: psa, breaks: edits(psaFile, "enforce: restricted", "enforced: restricted"),
			also: fails(append(except(all, "podsec.policy-active"), "node.k3s-starts")...),
		},
		mutant{
			control: "podsec.policy-active", on: psa, also: fails(except(all, "podsec.policy-active")...),
			breaks: func(t *testing.T, tr *tree) { tr.arg(t, k3s.APIServer, "disable-admission-plugins=PodSecurity") },
		},
		mutant{
			control: "podsec.policy-active", on: psa, also: fails(except(all, "podsec.policy-active")...),
			breaks: edits(psaFile, "- kube-system", "- default\n          - kube-system"),
		},
		mutant{
			control: "podsec.policy-active", on: psa, also: fails(except(all, "podsec.policy-active")...),
			breaks: edits(psaFile, "usernames: []", "usernames: [\"system:serviceaccount:kube-system:replicaset-controller\"]"),
		},
		mutant{
			control: "podsec.policy-active", on: psa, also: fails(except(all, "podsec.policy-active")...),
			breaks: func(_ *testing.T, tr *tree) {
				tr.file(manifests+"open-default.yaml", 0o600, "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  labels:\n    pod-security.kubernetes.io/enforce: privileged\n")
			},
		},
	)
	return append(append(out, pspMutants()...), deployedMutants()...)
}

// pspMutants concern K3s before v1.25.
func pspMutants() []mutant {
	psp := func(b base) bool { return b.psp() }
	var out []mutant
	for _, f := range []struct {
		control, from, to string
		also              []string
	}{
		{"podsec.privileged", "privileged: false", "privileged: true", []string{"podsec.policy-active"}},
		{"podsec.hostpid", "hostPID: false", "hostPID: true", nil},
		{"podsec.hostipc", "hostIPC: false", "hostIPC: true", nil},
		{"podsec.hostnetwork", "hostNetwork: false", "hostNetwork: true", []string{"podsec.windows-hostprocess"}},
		{"podsec.windows-hostprocess", "hostNetwork: false", "hostNetwork: true", []string{"podsec.hostnetwork"}},
		{"podsec.privesc", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", nil},
		{"podsec.root", "rule: MustRunAsNonRoot", "rule: RunAsAny", nil},
		{"podsec.net-raw", "- ALL", "- CHOWN", []string{"podsec.caps"}},
		{"podsec.caps", "- ALL", "- NET_RAW", nil},
		{"podsec.added-caps", "privileged: false", "privileged: false\n  allowedCapabilities: [SYS_ADMIN]", nil},
		{"podsec.hostpath", "- configMap", "- configMap\n    - hostPath", nil},
		{"podsec.hostports", "privileged: false", "privileged: false\n  hostPorts: [{min: 1, max: 65535}]", nil},
		{"podsec.policy-active", "privileged: false", "privileged: true", []string{"podsec.privileged"}},
	} {
		out = append(out, mutant{control: f.control, on: psp, breaks: edits(pspFile, f.from, f.to), also: fails(f.also...)})
	}
	everything := append(append([]string{}, atBaseline...), atRestricted...)
	dropsPlugin := func(t *testing.T, tr *tree) { tr.plugins(t, less("PodSecurityPolicy")) }
	return append(out,
		mutant{control: "apiserver.admission.psp", on: psp, breaks: dropsPlugin, also: fails(append(everything, "apiserver.admission.securitycontextdeny")...)},
		mutant{control: "apiserver.admission.securitycontextdeny", on: psp, breaks: dropsPlugin, also: fails(append(everything, "apiserver.admission.psp")...)},
	)
}

// openPolicy admits a peer to every pod of namespace default.
func openPolicy(ingress string) func(*testing.T, *tree) {
	return func(_ *testing.T, tr *tree) {
		tr.file(manifests+"open.yaml", 0o600, networkPolicy+"  ingress: "+ingress+"\n")
	}
}

const networkPolicy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: open, namespace: default}\nspec:\n  podSelector: {}\n"

// deployedMutants concern manifests, the audit policy and the event rate limit.
func deployedMutants() []mutant {
	limits := "  - name: EventRateLimit\n    configuration:\n      apiVersion: eventratelimit.admission.k8s.io/v1alpha1\n      kind: Configuration\n      limits:\n      - {type: Server, qps: 50, burst: 100}\n"
	limited := func(t *testing.T, tr *tree) {
		tr.plugins(t, with("EventRateLimit"))
		if _, ok := tr.entries[psaFile]; ok {
			tr.edit(t, psaFile, "plugins:\n", "plugins:\n"+limits)
			return
		}
		tr.arg(t, k3s.APIServer, "admission-control-config-file="+psaFile)
		tr.file(psaFile, 0o600, "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"+limits)
	}
	return []mutant{
		{
			control: "apiserver.admission.eventratelimit", given: limited, turns: benchmark.Manual,
			breaks: func(t *testing.T, tr *tree) { tr.plugins(t, less("EventRateLimit")) },
		},
		{
			control: "apiserver.admission.eventratelimit", given: limited, also: fails("node.k3s-starts"),
			breaks: edits(psaFile, limits, ""),
		},
		{
			control: "controlplane.audit-policy", breaks: removes(auditFile),
			also: fails("controlplane.audit-policy-coverage", "node.k3s-starts", "node.admission-files.mode"),
		},
		{control: "controlplane.audit-policy", breaks: edits(auditFile, "level: Metadata", "level: None"), also: fails("controlplane.audit-policy-coverage")},
		{
			control: "controlplane.audit-policy-coverage", breaks: removes(auditFile),
			also: fails("controlplane.audit-policy", "node.k3s-starts", "node.admission-files.mode"),
		},
		{control: "controlplane.audit-policy-coverage", breaks: edits(auditFile, "level: Metadata", "level: Request"), turns: benchmark.Manual},
		{control: "controlplane.audit-policy", breaks: edits(auditFile, "rules:", "omitStages: [RequestReceived, ResponseStarted, ResponseComplete, Panic]\nrules:"), also: fails("controlplane.audit-policy-coverage")},
		{control: "controlplane.audit-policy", breaks: edits(auditFile, "level: Metadata", "level: Metadata\n    omitStages: [RequestReceived, ResponseStarted, ResponseComplete]"), also: fails("controlplane.audit-policy-coverage")},
		{control: "controlplane.audit-policy-coverage", breaks: auditFirst("{level: None, namespaces: [kube-system]}"), turns: benchmark.Manual, also: policyToReview},
		{control: "controlplane.audit-policy-coverage", breaks: auditFirst("{level: None, namespaces: [payments]}"), turns: benchmark.Manual, also: policyToReview},
		{control: "controlplane.audit-policy-coverage", breaks: auditFirst("{level: None, userGroups: [system:masters]}"), turns: benchmark.Manual, also: policyToReview},
		{control: "controlplane.audit-policy-coverage", breaks: auditFirst("{level: None, userGroups: [system:serviceaccounts]}"), turns: benchmark.Manual, also: policyToReview},
		{control: "controlplane.audit-policy-coverage", breaks: auditFirst("{level: Metadata, resources: [{group: '', resources: [secrets]}], omitStages: [RequestReceived, ResponseComplete]}"), turns: benchmark.Manual, also: policyToReview},
		{
			control: "apiserver.audit-log-path", also: map[string]benchmark.Status{"controlplane.audit-policy": benchmark.Fail, "controlplane.audit-policy-coverage": benchmark.Fail, "node.audit-log-dir.mode": benchmark.NotApplicable},
			breaks: func(t *testing.T, tr *tree) {
				tr.args(t, k3s.APIServer, func(l []string) []string { return without(l, "audit-log-path") })
			},
		},
		{
			control: "apiserver.audit-log-path", also: map[string]benchmark.Status{"node.audit-log-dir.mode": benchmark.NotApplicable},
			breaks: func(t *testing.T, tr *tree) { tr.arg(t, k3s.APIServer, "audit-log-path=-") },
		},
		{control: "netpol.all-namespaces", breaks: removes(netpolFile)},
		{control: "netpol.all-namespaces", breaks: edits(netpolFile, "namespace: kube-public", "namespace: elsewhere")},
		{control: "netpol.all-namespaces", breaks: openPolicy("[{}]")},
		{control: "netpol.all-namespaces", breaks: openPolicy("[{from: [{namespaceSelector: {}}]}]")},
		{control: "netpol.all-namespaces", breaks: openPolicy("[{from: [{podSelector: {}}, {ipBlock: {cidr: 0.0.0.0/0}}]}]")},
		{control: "netpol.all-namespaces", breaks: func(_ *testing.T, tr *tree) { tr.file(netpolFile+".skip", 0o600, "") }},
		{control: "netpol.all-namespaces", breaks: func(t *testing.T, tr *tree) {
			tr.config(t, func(m map[string]any) { m["disable"] = []string{"k3s-cis-network-policies"} })
		}},
		// Policies of a namespace add up.
		{control: "netpol.all-namespaces", breaks: morePolicies("podSelector: {matchExpressions: [{key: x, operator: DoesNotExist}]}", "[{}]")},
		{control: "netpol.all-namespaces", breaks: morePolicies("podSelector: {matchExpressions: [{key: x, operator: NotIn, values: [a]}]}", "[{from: [{ipBlock: {cidr: 128.0.0.0/1}}]}]")},
		{control: "netpol.all-namespaces", breaks: morePolicies("podSelector: {matchExpressions: [{key: pod-template-hash, operator: Exists}]}", "[{from: [{namespaceSelector: {matchExpressions: [{key: x, operator: DoesNotExist}]}}]}]")},
		{control: "netpol.all-namespaces", breaks: morePolicies("podSelector: {}", "[{ports: [{protocol: TCP, port: 1, endPort: 65535}]}]")},
		// Ours is replaced, or not, by one that reaches nobody.
		{
			control: "netpol.all-namespaces", also: fails("node.manifest-names"),
			breaks: func(_ *testing.T, tr *tree) {
				tr.file(manifests+"zz.yaml", 0o600, policy("intra-namespace", "podSelector: {}", "[{from: [{namespaceSelector: {matchLabels: {name: kube-system}}}]}]"))
			},
		},
		{
			control: "node.manifest-names", also: fails("netpol.all-namespaces", "rbac.default-sa", "node.manifests.mode"), on: noPSP,
			breaks: func(_ *testing.T, tr *tree) {
				tr.put(node.Entry{Path: manifests + "old.yaml", Kind: node.KindLink, Target: "gone"})
			},
		},
		{
			control: "node.manifest-names", also: fails("netpol.all-namespaces", "rbac.default-sa"), on: noPSP,
			breaks: func(t *testing.T, tr *tree) {
				tr.config(t, func(m map[string]any) { m["disable"] = "traefik," })
			},
		},
		{
			control: "node.manifest-names", also: fails("netpol.all-namespaces", "rbac.default-sa"), on: noPSP,
			breaks: func(t *testing.T, tr *tree) { tr.config(t, func(m map[string]any) { m["disable"] = "" }) },
		},
		{control: "rbac.default-sa", breaks: removes(saFile)},
		{
			control: "rbac.default-sa", also: fails("node.manifest-names"),
			breaks: func(_ *testing.T, tr *tree) {
				tr.file(manifests+"aa.yaml", 0o600, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\n")
			},
		},
		{control: "rbac.default-sa", breaks: edits(saFile, "automountServiceAccountToken: false", "automountServiceAccountToken: true")},
	}
}

func noPSP(b base) bool { return !b.psp() }

// auditFirst puts a rule before those of the audit policy.
// policyToReview: a policy that leaves something out is for a person to review.
var policyToReview = map[string]benchmark.Status{"controlplane.audit-policy": benchmark.Manual}

func auditFirst(rule string) func(*testing.T, *tree) {
	return edits(auditFile, "rules:\n", "rules:\n  - "+rule+"\n")
}

// policy is a NetworkPolicy of kube-system for incoming traffic.
func policy(name, selector, ingress string) string {
	return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " + name + ", namespace: kube-system}\nspec: {" + selector + ", policyTypes: [Ingress], ingress: " + ingress + "}\n"
}

// morePolicies adds a policy in a file of its own.
func morePolicies(selector, ingress string) func(*testing.T, *tree) {
	return func(_ *testing.T, tr *tree) {
		tr.file(manifests+"more.yaml", 0o600, policy("more", selector, ingress))
	}
}
