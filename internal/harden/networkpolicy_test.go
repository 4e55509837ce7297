package harden

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
)

// pod is one end of a connection.
type pod struct {
	namespace string
	labels    map[string]string
	// ports are the names the pod gives its container ports.
	ports map[string]int32
}

// admits says whether policies let a connection in, by the rules of the
// NetworkPolicy API: what no policy selects is open, what one selects is closed
// but for what some rule of some policy lets in.
func admits(t *testing.T, policies []*networkingv1.NetworkPolicy, hasNameLabel bool, to, from pod, protocol corev1.Protocol, number int32) bool {
	t.Helper()
	matches := func(s *metav1.LabelSelector, set map[string]string) bool {
		sel, err := metav1.LabelSelectorAsSelector(s)
		require.NoError(t, err)
		return sel.Matches(labels.Set(set))
	}
	namespace := map[string]string{}
	if hasNameLabel {
		namespace["kubernetes.io/metadata.name"] = from.namespace
	}
	selected := false
	for _, p := range policies {
		if p.Namespace != to.namespace || !matches(&p.Spec.PodSelector, to.labels) {
			continue
		}
		selected = true
		for _, rule := range p.Spec.Ingress {
			peer := len(rule.From) == 0
			for _, f := range rule.From {
				if f.NamespaceSelector != nil {
					peer = peer || matches(f.NamespaceSelector, namespace)
				} else if f.PodSelector != nil {
					peer = peer || from.namespace == p.Namespace && matches(f.PodSelector, from.labels)
				}
			}
			open := len(rule.Ports) == 0
			for _, q := range rule.Ports {
				n := q.Port.IntVal
				if q.Port.Type == intstr.String {
					n = to.ports[q.Port.StrVal]
				}
				open = open || *q.Protocol == protocol && n == number
			}
			if peer && open {
				return true
			}
		}
	}
	return !selected
}

// TestNetworkPolicies connects to what K3s runs, with the labels and ports that
// its own manifests have (facts of K3s's manifests/ and of its Traefik chart).
func TestNetworkPolicies(t *testing.T) {
	svclb := func(service string) map[string]string {
		return map[string]string{"app": "svclb-" + service, "svccontroller.k3s.cattle.io/svcname": service}
	}
	dns := pod{"kube-system", map[string]string{"k8s-app": "kube-dns"}, nil}
	metrics := pod{"kube-system", map[string]string{"k8s-app": "metrics-server"}, map[string]int32{"https": 10250}}
	local := pod{"kube-system", map[string]string{"app": "local-path-provisioner"}, nil}
	web := pod{"default", map[string]string{"app": "web"}, nil}
	other := pod{namespace: "team-b"}
	for _, g := range []struct {
		release string
		label   bool
		traefik pod
		http    int32
	}{
		{"v1.20.15+k3s1", false, pod{"kube-system", map[string]string{"app": "traefik"}, nil}, 80},
		{"v1.21.14+k3s1", true, pod{"kube-system", map[string]string{"app.kubernetes.io/name": "traefik"}, nil}, 8000},
		{"v1.36.3+k3s1", true, pod{"kube-system", map[string]string{"app.kubernetes.io/name": "traefik"}, nil}, 8000},
	} {
		for _, tt := range []struct {
			name     string
			deny     func(*NetworkPolicies)
			to, from pod
			protocol corev1.Protocol
			port     int32
			want     bool
		}{
			{"DNS from another namespace", nil, dns, other, corev1.ProtocolUDP, 53, true},
			{"DNS over TCP", nil, dns, other, corev1.ProtocolTCP, 53, true},
			{"CoreDNS's metrics", nil, dns, other, corev1.ProtocolTCP, 9153, false},
			{"DNS denied", func(n *NetworkPolicies) { n.DenyDNS = true }, dns, other, corev1.ProtocolUDP, 53, false},
			{"metrics-server", nil, metrics, other, corev1.ProtocolTCP, 10250, true},
			{"metrics-server denied", func(n *NetworkPolicies) { n.DenyMetricsServer = true }, metrics, other, corev1.ProtocolTCP, 10250, false},
			{"Traefik", nil, g.traefik, other, corev1.ProtocolTCP, g.http, true},
			{"Traefik's dashboard", nil, g.traefik, other, corev1.ProtocolTCP, 9000, false},
			{"Traefik denied", func(n *NetworkPolicies) { n.DenyTraefik = true }, g.traefik, other, corev1.ProtocolTCP, g.http, false},
			{"load balancer of Traefik", nil, pod{"kube-system", svclb("traefik"), nil}, other, corev1.ProtocolTCP, 443, true},
			{"load balancer of Traefik, another port", nil, pod{"kube-system", svclb("traefik"), nil}, other, corev1.ProtocolTCP, 9000, false},
			{"load balancer of a user's service", nil, pod{"kube-system", svclb("mqtt"), nil}, other, corev1.ProtocolTCP, 1883, true},
			{"load balancers denied", func(n *NetworkPolicies) { n.DenyServiceLB = true }, pod{"kube-system", svclb("mqtt"), nil}, other, corev1.ProtocolTCP, 1883, false},
			{"another pod of kube-system", nil, local, other, corev1.ProtocolTCP, 80, false},
			{"another pod of kube-system from within", nil, local, dns, corev1.ProtocolTCP, 80, true},
			{"default from within", nil, web, pod{namespace: "default"}, corev1.ProtocolTCP, 80, true},
			{"default from elsewhere", nil, web, other, corev1.ProtocolTCP, 80, false},
			{"default from Traefik", nil, web, g.traefik, corev1.ProtocolTCP, 80, false},
			{"kube-public from elsewhere", nil, pod{namespace: "kube-public"}, other, corev1.ProtocolTCP, 80, false},
			{"a namespace of the option", nil, pod{namespace: "team-a"}, other, corev1.ProtocolTCP, 80, false},
			{"a namespace of the option from within", nil, pod{namespace: "team-a"}, pod{namespace: "team-a"}, corev1.ProtocolTCP, 80, true},
			{"a namespace of nobody", nil, other, web, corev1.ProtocolTCP, 80, true},
		} {
			t.Run(g.release+"/"+tt.name, func(t *testing.T) {
				o := Options{Release: release(t, g.release), Role: "server", NetworkPolicies: NetworkPolicies{Namespaces: []string{"team-a"}}}
				if tt.deny != nil {
					tt.deny(&o.NetworkPolicies)
				}
				assert.Equal(t, tt.want, admits(t, policiesOf(t, o), g.label, tt.to, tt.from, tt.protocol, tt.port))
			})
		}
	}
}

// policiesOf reads the network policies of a plan back.
func policiesOf(t *testing.T, o Options) []*networkingv1.NetworkPolicy {
	t.Helper()
	plan, err := Make(o, nil)
	require.NoError(t, err)
	var out []*networkingv1.NetworkPolicy
	for _, e := range plan.Change.Write {
		if e.Data == nil {
			continue
		}
		objects, err := kube.LoadManifest(e.Path, e.Data)
		if err != nil {
			continue // not a manifest
		}
		for _, x := range objects {
			if p, ok := x.Typed.(*networkingv1.NetworkPolicy); ok {
				out = append(out, p)
			}
		}
	}
	require.NotEmpty(t, out)
	return out
}

// TestManyNamespaces: hundreds of namespaces are one more manifest, in which
// each has its policy.
func TestManyNamespaces(t *testing.T) {
	o := newest(t)
	for i := range 700 {
		o.NetworkPolicies.Namespaces = append(o.NetworkPolicies.Namespaces, fmt.Sprintf("team-%03d", i))
	}
	o.NetworkPolicies.Namespaces = append(o.NetworkPolicies.Namespaces, "default", "team-000")
	seen := map[string]int{}
	for _, p := range policiesOf(t, o) {
		if p.Name == "intra-namespace" {
			seen[p.Namespace]++
		}
	}
	assert.Len(t, seen, 703)
	for ns, n := range seen {
		assert.Equal(t, 1, n, ns)
	}
	plan, err := Make(o, nil)
	require.NoError(t, err)
	assert.Contains(t, fmt.Sprint(plan.Notes), "team-000, team-001, team-002, team-003, team-004 and 695 more")
}

// TestServiceLBNamespace: load balancer pods that live elsewhere need no policy
// in kube-system.
func TestServiceLBNamespace(t *testing.T) {
	o := newest(t)
	o.Config = map[string]any{"servicelb-namespace": "lb"}
	for _, p := range policiesOf(t, o) {
		assert.NotContains(t, p.Name, "svclb")
	}
	o.NetworkPolicies.Namespaces = []string{"team-a"}
	for _, space := range []string{"default", "team-a"} {
		o.Config = map[string]any{"servicelb-namespace": space}
		var namespaces []string
		for _, p := range policiesOf(t, o) {
			if p.Name == "allow-all-svclb-ingress" {
				namespaces = append(namespaces, p.Namespace)
			}
		}
		assert.Equal(t, []string{space}, namespaces)
	}
}
