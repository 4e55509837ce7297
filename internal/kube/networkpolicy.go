package kube

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
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
// every other, and so do the rules of one and what each of them lists.
func OpensIngress(p *networkingv1.NetworkPolicy, pods []netip.Prefix) bool {
	if !RestrictsIngress(p) || !isBroad(&p.Spec.PodSelector) {
		return false
	}
	var blocks []*networkingv1.IPBlock
	var ports []networkingv1.NetworkPolicyPort
	for _, r := range p.Spec.Ingress {
		unlimited := isAnyPort(r.Ports)
		for _, peer := range r.From {
			if unlimited && peer.IPBlock != nil {
				blocks = append(blocks, peer.IPBlock)
			}
		}
		switch {
		case !admitsAll(r.From, pods):
		case unlimited:
			return true
		default:
			ports = append(ports, r.Ports...)
		}
	}
	return len(ports) > 0 && isAnyPort(ports) || isAnywhere(blocks, pods)
}

// admitsAll says whether peers are any pod of any namespace, or any address.
func admitsAll(from []networkingv1.NetworkPolicyPeer, pods []netip.Prefix) bool {
	return len(from) == 0 || slices.ContainsFunc(from, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return isAnywhere([]*networkingv1.IPBlock{p.IPBlock}, pods)
		}
		return p.NamespaceSelector != nil && isBroad(p.NamespaceSelector) && (p.PodSelector == nil || isBroad(p.PodSelector))
	})
}

// isAnyPort says whether the ports of a rule leave out at most some of the ports that
// need root, of one protocol.
func isAnyPort(ports []networkingv1.NetworkPolicyPort) bool {
	const privileged, last = 1024, 65535
	upTo := map[corev1.Protocol]int{} // from privileged on, by protocol
	sorted := slices.Clone(ports)
	slices.SortFunc(sorted, func(a, b networkingv1.NetworkPolicyPort) int { return firstPort(a) - firstPort(b) })
	for _, p := range sorted {
		protocol, end := corev1.ProtocolTCP, firstPort(p)
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		switch {
		case p.Port == nil:
			return true
		case p.EndPort != nil:
			end = int(*p.EndPort)
		}
		if reached := max(upTo[protocol], privileged-1); firstPort(p) <= reached+1 {
			upTo[protocol] = max(reached, end)
		}
		if upTo[protocol] >= last {
			return true
		}
	}
	return len(ports) == 0
}

func firstPort(p networkingv1.NetworkPolicyPort) int {
	if p.Port == nil {
		return 0
	}
	return p.Port.IntValue()
}

// everywhere are the whole networks.
var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// isAnywhere says whether blocks are together the whole of the network, or one of the
// pods' networks: the whole, or half of it, which is how the whole is written where a
// zero is refused.
func isAnywhere(blocks []*networkingv1.IPBlock, pods []netip.Prefix) bool {
	var admitted []admittedBlock
	for _, b := range blocks {
		p, err := netip.ParsePrefix(b.CIDR)
		if err != nil {
			continue
		}
		a := admittedBlock{block: p.Masked()}
		for _, text := range b.Except {
			if except, err := netip.ParsePrefix(text); err == nil {
				a.except = append(a.except, except.Masked())
			}
		}
		admitted = append(admitted, a)
	}
	return slices.ContainsFunc(slices.Concat(everywhere, pods), func(network netip.Prefix) bool {
		return share(network.Masked(), admitted, maxHalvings) >= 0.5
	})
}

type admittedBlock struct {
	block  netip.Prefix
	except []netip.Prefix
}

// maxHalvings is how often a network is halved to see how much of it is admitted.
const maxHalvings = 12

// share is how much of a network blocks admit.
func share(network netip.Prefix, blocks []admittedBlock, halvings int) float64 {
	var partly []admittedBlock
	for _, b := range blocks {
		within := func(p netip.Prefix) bool { return p.Bits() <= network.Bits() && p.Overlaps(network) }
		switch {
		case !b.block.Overlaps(network), slices.ContainsFunc(b.except, within):
		case within(b.block) && !slices.ContainsFunc(b.except, network.Overlaps):
			return 1
		default:
			partly = append(partly, b)
		}
	}
	if len(partly) == 0 || halvings == 0 || network.IsSingleIP() {
		return 0
	}
	low := netip.PrefixFrom(network.Addr(), network.Bits()+1)
	bytes := network.Addr().AsSlice()
	bytes[network.Bits()/8] |= 0x80 >> (network.Bits() % 8)
	upper, _ := netip.AddrFromSlice(bytes)
	high := netip.PrefixFrom(upper, network.Bits()+1)
	return (share(low, partly, halvings-1) + share(high, partly, halvings-1)) / 2
}

func isEmpty(s *metav1.LabelSelector) bool { return len(s.MatchLabels)+len(s.MatchExpressions) == 0 }

// givenLabels are those that Kubernetes itself gives: to every pod that one of
// its controllers makes, and to every namespace.
var givenLabels = []string{
	"pod-template-hash", "pod-template-generation", "controller-revision-hash", "controller-uid", "batch.kubernetes.io/controller-uid", "job-name",
	"batch.kubernetes.io/job-name", "apps.kubernetes.io/pod-index", "statefulset.kubernetes.io/pod-name", "kubernetes.io/metadata.name",
}

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
