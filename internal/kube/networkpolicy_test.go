package kube_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
)

// TestOpensIngress: what opens a namespace however it is spelt, and what people
// write to let something in on purpose.
func TestOpensIngress(t *testing.T) {
	pods := []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd00:42::/56")}
	for spec, opens := range map[string]bool{
		"{podSelector: {}, ingress: [{}]}": true,
		"{podSelector: {matchExpressions: [{key: x, operator: DoesNotExist}]}, ingress: [{}]}":                                                    true,
		"{podSelector: {matchExpressions: [{key: x, operator: NotIn, values: [a]}]}, ingress: [{}]}":                                              true,
		"{podSelector: {matchExpressions: [{key: pod-template-hash, operator: Exists}]}, ingress: [{}]}":                                          true,
		"{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}":                                                                         true,
		"{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: Exists}]}}]}]}": true,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.1/32]}}]}]}":                                             true,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '8000::/1'}}]}]}":                                                                   true,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}":                                                                   true,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.42.0.0/16}}]}]}":                                                                 true,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.42.0.0/17}}, {ipBlock: {cidr: 10.42.128.0/17}}]}]}":                              true,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 'fd00:42::/56'}}]}]}":                                                               true,
		"{podSelector: {}, ingress: [{ports: [{protocol: TCP}]}]}":                                                                                true,
		"{podSelector: {}, ingress: [{ports: [{protocol: TCP, port: 1, endPort: 65535}]}]}":                                                       true,
		"{podSelector: {}, ingress: [{ports: [{port: 1, endPort: 32767}, {port: 32768, endPort: 65535}]}]}":                                       true,
		"{podSelector: {}, ingress: [{ports: [{port: 30000, endPort: 65535}]}, {ports: [{port: 1024, endPort: 40000}]}]}":                         true,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.42.0.0/18}}]}, {from: [{ipBlock: {cidr: 10.42.64.0/18}}]}]}":                     true,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.42.0.0/24]}}]}]}":                                           true,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.42.0.0/16, except: [10.42.0.0/17]}}, {ipBlock: {cidr: 10.42.0.0/24}}]}]}":        true,
		"{podSelector: {matchExpressions: [{key: batch.kubernetes.io/job-name, operator: Exists}]}, ingress: [{}]}":                               true,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 172.16.0.0/12]}}]}]}":                               true,

		"{podSelector: {}, ingress: [{ports: [{port: 1024, endPort: 32767}, {port: 32769, endPort: 65535}]}]}":                                     false,
		"{podSelector: {}, ingress: [{ports: [{port: 1, endPort: 32767}, {protocol: UDP, port: 32768, endPort: 65535}]}]}":                         false,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.42.0.0/18}}], ports: [{port: 80}]}, {from: [{ipBlock: {cidr: 10.42.64.0/18}}]}]}": false,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.42.0.0/16, except: [10.42.0.0/17, 10.42.128.0/18]}}]}]}":                          false,

		"{podSelector: {}}": false,
		"{podSelector: {}, policyTypes: [Egress], ingress: [{}]}":                                             false,
		"{podSelector: {matchLabels: {app: web}}, ingress: [{}]}":                                             false,
		"{podSelector: {matchExpressions: [{key: app, operator: Exists}]}, ingress: [{}]}":                    false,
		"{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}":                                           false,
		"{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {a: b}}}]}]}":                  false,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/16}}]}]}":                           false,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.42.7.0/24}}]}]}":                             false,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.42.0.0/16]}}]}]}":       false,
		"{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.42.0.0/16}}], ports: [{port: 443}]}]}":       false,
		"{podSelector: {}, ingress: [{ports: [{port: 53, protocol: UDP}]}]}":                                  false,
		"{podSelector: {}, ingress: [{ports: [{port: 30000, endPort: 32767}]}]}":                              false,
		"{podSelector: {}, ingress: [{ports: [{port: metrics}]}]}":                                            false,
		"{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}]}]}": false,
	} {
		text := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: " + spec + "\n"
		objects, err := kube.LoadManifest("p.yaml", []byte(text))
		require.NoError(t, err, spec)
		require.Len(t, objects, 1)
		policy, ok := objects[0].Typed.(*networkingv1.NetworkPolicy)
		require.True(t, ok)
		assert.Equal(t, opens, kube.OpensIngress(policy, pods), spec)
	}
}
