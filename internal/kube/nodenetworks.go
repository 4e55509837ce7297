package kube

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// The sizes of a node's part of the pods' network where none is given, and how much
// smaller than the whole it may be in IPv6 (kube-controller-manager: app/core.go,
// controller/nodeipam and its cidrset).
const (
	nodeMask4, nodeMask6 = 24, 64
	mostBits             = 16
)

// networksOf are the networks that a flag lists, with the argument that does; none
// where one of them is no network, which another rule refuses.
func networksOf(args []k3s.Argument, flag string) (networks []netip.Prefix, from k3s.Argument) {
	from, _ = lastOf(args, flag)
	for _, text := range splitList(from.Value) {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, from
		}
		networks = append(networks, network)
	}
	return networks, from
}

// nodeNetworks wants the parts that nodes get of the pods' networks to fit into them.
func nodeNetworks(args []k3s.Argument) []k3s.Problem {
	if allocate, set := lastOf(args, "allocate-node-cidrs"); set && allocate.Value != "true" {
		return nil
	}
	networks, whole := networksOf(args, "cluster-cidr")
	masks := map[string]k3s.Argument{}
	for _, name := range []string{"node-cidr-mask-size", "node-cidr-mask-size-ipv4", "node-cidr-mask-size-ipv6"} {
		if a, set := lastOf(args, name); set && a.Value != "0" {
			masks[name] = a
		}
	}
	either, four, six := masks["node-cidr-mask-size"], masks["node-cidr-mask-size-ipv4"], masks["node-cidr-mask-size-ipv6"]
	// On a node that has IPv6 alone K3s takes another network by default than is known here.
	one := len(networks) == 1 && !whole.Origin.Default
	switch {
	case len(networks) == 0:
		return nil
	case either.Name != "" && len(networks) > 1:
		return []k3s.Problem{fatal(either, "usage of --node-cidr-mask-size is not allowed with dual-stack clusters; set node-cidr-mask-size-ipv4 and -ipv6")}
	case either.Name != "" && len(masks) > 1:
		return []k3s.Problem{fatal(either, "node-cidr-mask-size does not go together with node-cidr-mask-size-ipv4 and -ipv6; leave one kind")}
	case one && four.Name != "" && networks[0].Addr().Is6():
		return []k3s.Problem{fatal(four, "usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6 cluster; take it out")}
	case one && six.Name != "" && networks[0].Addr().Is4():
		return []k3s.Problem{fatal(six, "usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4 cluster; take it out")}
	}
	var out []k3s.Problem
	for _, network := range networks {
		of, size := four, nodeMask4
		if network.Addr().Is6() {
			of, size = six, nodeMask6
		}
		of.Value = cmp.Or(of.Value, either.Value)
		if of.Name == "" && either.Name != "" {
			of = either
		}
		if of.Name != "" {
			n, err := strconv.Atoi(strings.TrimSpace(of.Value))
			if err != nil {
				continue // refused elsewhere
			}
			size = n
		}
		at := of
		if at.Name == "" {
			at = whole
		}
		switch bits := network.Addr().BitLen(); {
		case network.Bits() > size:
			out = append(out, fatal(at, "a node's part of the pods' network, /%d, is larger than the whole, /%d, and kube-controller-manager exits; set node-cidr-mask-size, or a larger cluster-cidr", size, network.Bits()))
		case network.Addr().Is6() && size-network.Bits() > mostBits:
			out = append(out, fatal(at, "a node's part of the pods' network, /%d, is more than %d bits smaller than the whole, /%d, and kube-controller-manager exits; set node-cidr-mask-size-ipv6", size, mostBits, network.Bits()))
		case size > bits && whole.Origin.Default && size >= 56 && size <= 72: // which fits into K3s's own network of IPv6
		case size > bits:
			out = append(out, fatal(at, "a node's part of the pods' network, /%d, is no network of %d bits, and no node gets one, so that none becomes ready; set a mask such as %d", size, bits, nodeMask4))
		}
	}
	return out
}

// serviceBits is how many bits of a network of services may differ, up to the release in
// which Services' addresses have no common bitmap any more (kube-apiserver:
// app/options/validation.go; the gate DisableAllocatorDualWrite is on from v1.34).
const serviceBits = 20

// serviceNetworks wants the networks of Services to be such as the API server takes.
func serviceNetworks(r k3s.Release, args []k3s.Argument) []k3s.Problem {
	networks, whole := networksOf(args, "service-cluster-ip-range")
	switch {
	case len(networks) > 2:
		return []k3s.Problem{fatal(whole, "service-cluster-ip-range must not contain more than two networks, and the API server exits; set service-cidr to one, or to one of IPv4 and one of IPv6")}
	case len(networks) == 2 && networks[0].Addr().Is4() == networks[1].Addr().Is4():
		return []k3s.Problem{fatal(whole, "the two networks of service-cluster-ip-range must be of different IP families, and the API server exits; set service-cidr to one of IPv4 and one of IPv6")}
	}
	for _, network := range networks {
		if bits := network.Addr().BitLen(); !r.AtLeast(1, 34) && bits-network.Bits() > serviceBits {
			return []k3s.Problem{fatal(whole, "service-cluster-ip-range is too large with /%d: for %d-bit addresses the mask must be %d or more, and the API server exits; set service-cidr", network.Bits(), bits, bits-serviceBits)}
		}
	}
	return nil
}
