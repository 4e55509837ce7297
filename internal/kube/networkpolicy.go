package kube

import (
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RestrictsIngress says whether a policy speaks of incoming traffic, so that a
// pod which it selects is reached only by what some policy admits.
func RestrictsIngress(p *networkingv1.NetworkPolicy) bool {
	return len(p.Spec.PolicyTypes) == 0 || slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
}

// SelectsEveryPod says whether a policy is about all pods of its namespace.
func SelectsEveryPod(p *networkingv1.NetworkPolicy) bool { return isEmpty(&p.Spec.PodSelector) }

// OpensIngress says whether a policy lets everything in to the pods of its
// namespace, those apart that somebody labelled on purpose, or every pod of the
// cluster, whose networks are pods. Policies add up, so that one such policy undoes
// every other.
func OpensIngress(p *networkingv1.NetworkPolicy, pods []netip.Prefix) bool {
	return RestrictsIngress(p) && isBroad(&p.Spec.PodSelector) && slices.ContainsFunc(p.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool {
		return admitsAll(r, pods)
	})
}

// admitsAll says whether a rule lets everything in: any port of a protocol, from
// any pod of any namespace or any address.
func admitsAll(r networkingv1.NetworkPolicyIngressRule, pods []netip.Prefix) bool {
	if len(r.Ports) > 0 && !slices.ContainsFunc(r.Ports, isAnyPort) {
		return false
	}
	return len(r.From) == 0 || slices.ContainsFunc(r.From, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return isAnywhere(p.IPBlock, pods)
		}
		return p.NamespaceSelector != nil && isBroad(p.NamespaceSelector) && (p.PodSelector == nil || isBroad(p.PodSelector))
	})
}

// isAnyPort says whether a port of a rule leaves out at most some of the ports
// that need root.
func isAnyPort(p networkingv1.NetworkPolicyPort) bool {
	const privileged, last = 1024, 65535
	return p.Port == nil || p.EndPort != nil && *p.EndPort == last && p.Port.IntValue() <= privileged
}

// isAnywhere says whether a block is the whole of the network, or one of the pods'
// networks that it makes no exception of: the whole, or half of it, which is how the
// whole is written where a zero is refused.
func isAnywhere(b *networkingv1.IPBlock, pods []netip.Prefix) bool {
	p, err := netip.ParsePrefix(b.CIDR)
	if err != nil || p.Bits() <= 1 {
		return err == nil
	}
	return slices.ContainsFunc(pods, func(network netip.Prefix) bool {
		return p.Bits() <= network.Bits()+1 && p.Overlaps(network) && !slices.ContainsFunc(b.Except, func(text string) bool {
			except, err := netip.ParsePrefix(text)
			return err == nil && except.Overlaps(network)
		})
	})
}

func isEmpty(s *metav1.LabelSelector) bool { return len(s.MatchLabels)+len(s.MatchExpressions) == 0 }

// givenLabels are those that Kubernetes itself gives: to every pod that one of
// its controllers makes, and to every namespace.
var givenLabels = []string{"pod-template-hash", "controller-revision-hash", "controller-uid", "kubernetes.io/metadata.name"}

// isBroad says whether a selector takes in what nobody labelled for it: it only
// excludes, or asks for a label that Kubernetes itself gives.
func isBroad(s *metav1.LabelSelector) bool {
	return len(s.MatchLabels) == 0 && !slices.ContainsFunc(s.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool {
		switch e.Operator {
		case metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpDoesNotExist:
			return false
		case metav1.LabelSelectorOpExists:
			return !slices.Contains(givenLabels, e.Key)
		}
		return true
	})
}
