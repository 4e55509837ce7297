package harden

// presets are platforms whose own workloads the restricted level does not let
// run, with the namespaces they live in.
var presets = map[string][]string{
	// Rancher Manager, reference guide "Sample PodSecurityConfiguration"
	// (rancher-restricted), v2.7 to v2.15. kube-system, kube-public and
	// kube-node-lease of that list are left out: the first is exempt anyway,
	// the others hold no pods.
	"rancher": {
		"calico-apiserver", "calico-system",
		"cattle-alerting", "cattle-capi-system", "cattle-csp-adapter-system", "cattle-elemental-system",
		"cattle-epinio-system", "cattle-externalip-system", "cattle-fleet-local-system", "cattle-fleet-system",
		"cattle-gatekeeper-system", "cattle-global-data", "cattle-global-nt", "cattle-impersonation-system",
		"cattle-istio", "cattle-istio-system", "cattle-logging", "cattle-logging-system",
		"cattle-monitoring-system", "cattle-neuvector-system", "cattle-prometheus",
		"cattle-provisioning-capi-system", "cattle-resources-system", "cattle-sriov-system", "cattle-system",
		"cattle-turtles-system", "cattle-ui-plugin-system", "cattle-windows-gmsa-system",
		"cert-manager", "cis-operator-system", "compliance-operator-system", "fleet-default", "fleet-local",
		"ingress-nginx", "istio-system", "longhorn-system", "rancher-alerting-drivers",
		"rancher-compliance-system", "security-scan", "sr-operator-system", "tigera-operator", "traefik",
	},
	// Longhorn installs everything into longhorn-system; its managers and
	// instance managers are privileged (Longhorn documentation, "Pod Security
	// Policies" and the chart's namespace).
	"longhorn": {"longhorn-system"},
	// Node exporters need the host's namespaces: the namespace of the
	// kube-prometheus manifests and that of Rancher Monitoring.
	"monitoring": {"monitoring", "cattle-monitoring-system"},
}

// presetNames in the order in which messages list them.
var presetNames = []string{"rancher", "longhorn", "monitoring"}

// guideExemptions are the namespaces that the guide exempts: kube-system, where
// K3s's own pods run, and that of Rancher's CIS scanner, which the guide calls
// by its new name from the variant for v1.29 on.
func guideExemptions(o Options) []string {
	if o.Release.AtLeast(1, 29) {
		return []string{"kube-system", "compliance-operator-system"}
	}
	return []string{"kube-system", "cis-operator-system"}
}
