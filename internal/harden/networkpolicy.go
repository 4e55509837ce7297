package harden

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Manifests of the plan. K3s makes one AddOn of each, named after the file up
// to its first dot.
const (
	policiesManifest     = "k3s-cis-network-policies.yaml"
	morePoliciesManifest = "k3s-cis-network-policies-more.yaml"
	accountsManifest     = "k3s-cis-service-accounts.yaml"
	podPoliciesManifest  = "k3s-cis-pod-security-policies.yaml"
	kubeSystem           = "kube-system"
	namespaceLabel       = "kubernetes.io/metadata.name" // set by Kubernetes from v1.21 on
	serviceLBLabel       = "svccontroller.k3s.cattle.io/svcname"
)

// builtinNamespaces always get a policy (CIS 5.3.2). kube-node-lease holds no pods.
var builtinNamespaces = []string{kubeSystem, "default", "kube-public"}

// networkPolicies plans the manifests with the policies. Namespaces that do not
// exist at first boot are in a manifest of their own: K3s retries the whole of a
// manifest until each of its objects could be applied.
func networkPolicies(c *choices, serviceLBSpace string) ([]node.Entry, error) {
	var builtin []networkingv1.NetworkPolicy
	for _, ns := range builtinNamespaces {
		builtin = append(builtin, intraNamespace(c, ns))
	}
	builtin = append(builtin, reachable(c, serviceLBSpace)...)
	data, err := manifest(`# K3s CIS hardening guide, "NetworkPolicies": pods take connections from their own
# namespace alone; what K3s itself serves to others stays reachable.`, builtin)
	if err != nil {
		return nil, err
	}
	out := []node.Entry{file(c.manifest(policiesManifest), 0o600, data)}

	var more []networkingv1.NetworkPolicy
	for _, ns := range c.moreNamespaces() {
		more = append(more, intraNamespace(c, ns))
	}
	if len(more) == 0 {
		return out, nil
	}
	data, err = manifest(`# K3s CIS hardening guide, "NetworkPolicies", for the namespaces of the option
# network_policies.namespaces.`, more)
	return append(out, file(c.manifest(morePoliciesManifest), 0o600, data)), err
}

// moreNamespaces are the user's, each once, without those that have a policy anyway.
func (c *choices) moreNamespaces() []string {
	var out []string
	for _, ns := range c.NetworkPolicies.Namespaces {
		if !slices.Contains(builtinNamespaces, ns) && !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	return out
}

// intraNamespace admits traffic from the same namespace. Before v1.21 no
// namespace carries a label with its name, and an empty pod selector says the same.
func intraNamespace(c *choices, ns string) networkingv1.NetworkPolicy {
	peer := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
	if c.Release.Range().NamespaceLabel {
		peer = networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{namespaceLabel: ns}}}
	}
	return policy("intra-namespace", ns, metav1.LabelSelector{}, networkingv1.NetworkPolicyIngressRule{From: []networkingv1.NetworkPolicyPeer{peer}})
}

// reachable are the policies that keep K3s's own services open to all.
func reachable(c *choices, serviceLBSpace string) []networkingv1.NetworkPolicy {
	var out []networkingv1.NetworkPolicy
	labels := func(k, v string) metav1.LabelSelector {
		return metav1.LabelSelector{MatchLabels: map[string]string{k: v}}
	}
	n := c.NetworkPolicies
	if !n.DenyDNS {
		out = append(out, policy("default-network-dns-policy", kubeSystem, labels("k8s-app", "kube-dns"),
			ports(port(corev1.ProtocolUDP, intstr.FromInt32(53)), port(corev1.ProtocolTCP, intstr.FromInt32(53)))))
	}
	if !n.DenyMetricsServer {
		// K3s's metrics-server names its port https; up to v1.24 the guide's
		// policy for every port stays, since metrics-server 0.3 declares none.
		rule := networkingv1.NetworkPolicyIngressRule{}
		if c.Release.AtLeast(1, 25) {
			rule = ports(port(corev1.ProtocolTCP, intstr.FromString("https")))
		}
		out = append(out, policy("allow-all-metrics-server", kubeSystem, labels("k8s-app", "metrics-server"), rule))
	}
	if !n.DenyServiceLB && slices.Contains(append(c.moreNamespaces(), builtinNamespaces...), serviceLBSpace) {
		out = append(out,
			policy("allow-all-svclbtraefik-ingress", serviceLBSpace, labels(serviceLBLabel, "traefik"), tcp(80, 443)),
			// The pods of other LoadBalancer services live here too. They do
			// nothing but forward the ports that the service publishes.
			policy("allow-all-svclb-ingress", serviceLBSpace, metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: serviceLBLabel, Operator: metav1.LabelSelectorOpExists},
				{Key: serviceLBLabel, Operator: metav1.LabelSelectorOpNotIn, Values: []string{"traefik"}},
			}}, networkingv1.NetworkPolicyIngressRule{}))
	}
	if !n.DenyTraefik {
		// Traefik 2 and 3 listen above 1024 behind the service's 80 and 443.
		name, rule := "allow-all-traefik-v121-ingress", tcp(8000, 8443)
		if !c.Release.AtLeast(1, 21) {
			name, rule = "allow-all-traefik-v120-ingress", tcp(80, 443)
		}
		key, value, _ := strings.Cut(c.Release.Range().TraefikLabel, "=")
		out = append(out, policy(name, kubeSystem, labels(key, value), rule))
	}
	return out
}

func policy(name, namespace string, pods metav1.LabelSelector, rule networkingv1.NetworkPolicyIngressRule) networkingv1.NetworkPolicy {
	return networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: pods,
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{rule},
		},
	}
}

func tcp(numbers ...int32) networkingv1.NetworkPolicyIngressRule {
	var ps []networkingv1.NetworkPolicyPort
	for _, n := range numbers {
		ps = append(ps, port(corev1.ProtocolTCP, intstr.FromInt32(n)))
	}
	return ports(ps...)
}

func ports(ps ...networkingv1.NetworkPolicyPort) networkingv1.NetworkPolicyIngressRule {
	return networkingv1.NetworkPolicyIngressRule{Ports: ps}
}

func port(protocol corev1.Protocol, p intstr.IntOrString) networkingv1.NetworkPolicyPort {
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &p}
}

// manifest writes objects as one YAML file, in order.
func manifest[T any](comment string, objects []T) ([]byte, error) {
	var b strings.Builder
	b.WriteString(header + "\n" + comment + "\n")
	for _, o := range objects {
		y, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("write manifest: %w", err)
		}
		b.WriteString("---\n")
		b.Write(y)
	}
	return []byte(b.String()), nil
}
