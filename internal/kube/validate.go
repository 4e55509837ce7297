package kube

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// validate returns why the API server would refuse a decoded object: its
// metadata, and the whole of a NetworkPolicy, since one that is refused leaves
// its namespace open. The rules are those of Kubernetes's pkg/apis/networking.
func validate(o runtime.Object) field.ErrorList {
	accessor, err := meta.Accessor(o)
	if err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("metadata"), nil, err.Error())}
	}
	at := field.NewPath("metadata")
	errs := metavalidation.ValidateLabels(accessor.GetLabels(), at.Child("labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(accessor.GetAnnotations(), at.Child("annotations"))...)
	for _, problem := range nameRule(o)(accessor.GetName(), false) {
		errs = append(errs, field.Invalid(at.Child("name"), accessor.GetName(), problem))
	}
	if ns := accessor.GetNamespace(); ns != "" {
		for _, problem := range apivalidation.ValidateNamespaceName(ns, false) {
			errs = append(errs, field.Invalid(at.Child("namespace"), ns, problem))
		}
	}
	if policy, ok := o.(*networkingv1.NetworkPolicy); ok {
		errs = append(errs, validateNetworkPolicy(&policy.Spec, field.NewPath("spec"))...)
	}
	return errs
}

// nameRule returns how objects of a kind may be named; the widest rule for
// kinds that are not listed.
func nameRule(o runtime.Object) apivalidation.ValidateNameFunc {
	switch o.(type) {
	case *corev1.Namespace:
		return apivalidation.ValidateNamespaceName
	case *networkingv1.NetworkPolicy, *corev1.ServiceAccount, *corev1.ConfigMap, *corev1.Secret, *corev1.Pod,
		*appsv1.Deployment, *appsv1.DaemonSet, *appsv1.StatefulSet, *appsv1.ReplicaSet, *batchv1.Job, *batchv1.CronJob:
		return apivalidation.NameIsDNSSubdomain
	}
	return isPathSegment
}

// isPathSegment is the rule for names that only have to fit into a URL, as
// those of roles do.
func isPathSegment(name string, _ bool) []string {
	if name == "." || name == ".." || strings.ContainsAny(name, "/%") {
		return []string{`may not be "." or "..", nor contain "/" or "%"`}
	}
	return nil
}

func validateNetworkPolicy(spec *networkingv1.NetworkPolicySpec, at *field.Path) field.ErrorList {
	errs := validateSelector(&spec.PodSelector, at.Child("podSelector"))
	for i, rule := range spec.Ingress {
		errs = append(errs, validateTraffic(rule.Ports, rule.From, at.Child("ingress").Index(i), "from")...)
	}
	for i, rule := range spec.Egress {
		errs = append(errs, validateTraffic(rule.Ports, rule.To, at.Child("egress").Index(i), "to")...)
	}
	types := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	if len(spec.PolicyTypes) > len(types) {
		errs = append(errs, field.TooMany(at.Child("policyTypes"), len(spec.PolicyTypes), len(types)))
	}
	for i, t := range spec.PolicyTypes {
		if t != types[0] && t != types[1] {
			errs = append(errs, field.NotSupported(at.Child("policyTypes").Index(i), t, types))
		}
	}
	return errs
}

func validateSelector(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, at)
}

// validateTraffic judges one rule; peers is the name of its list of peers.
func validateTraffic(ports []networkingv1.NetworkPolicyPort, peerList []networkingv1.NetworkPolicyPeer, at *field.Path, peers string) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		errs = append(errs, validatePort(p, at.Child("ports").Index(i))...)
	}
	for i, p := range peerList {
		errs = append(errs, validatePeer(p, at.Child(peers).Index(i))...)
	}
	return errs
}

func validatePort(p networkingv1.NetworkPolicyPort, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	protocols := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
	if p.Protocol != nil && *p.Protocol != protocols[0] && *p.Protocol != protocols[1] && *p.Protocol != protocols[2] {
		errs = append(errs, field.NotSupported(at.Child("protocol"), *p.Protocol, protocols))
	}
	var problems []string
	switch {
	case p.Port == nil:
	case p.Port.Type == intstr.String:
		problems = validation.IsValidPortName(p.Port.StrVal)
	default:
		problems = validation.IsValidPortNum(int(p.Port.IntVal))
	}
	for _, problem := range problems {
		errs = append(errs, field.Invalid(at.Child("port"), p.Port, problem))
	}
	if p.EndPort == nil {
		return errs
	}
	end := at.Child("endPort")
	switch {
	case p.Port == nil || p.Port.Type == intstr.String:
		errs = append(errs, field.Invalid(end, *p.EndPort, "needs a port that is a number"))
	case *p.EndPort < p.Port.IntVal:
		errs = append(errs, field.Invalid(end, *p.EndPort, "must not be below port"))
	}
	for _, problem := range validation.IsValidPortNum(int(*p.EndPort)) {
		errs = append(errs, field.Invalid(end, *p.EndPort, problem))
	}
	return errs
}

func validatePeer(p networkingv1.NetworkPolicyPeer, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.PodSelector != nil {
		errs = append(errs, validateSelector(p.PodSelector, at.Child("podSelector"))...)
	}
	if p.NamespaceSelector != nil {
		errs = append(errs, validateSelector(p.NamespaceSelector, at.Child("namespaceSelector"))...)
	}
	selects := p.PodSelector != nil || p.NamespaceSelector != nil
	switch {
	case p.IPBlock == nil && !selects:
		errs = append(errs, field.Required(at, "a peer is podSelector, namespaceSelector, both, or ipBlock"))
	case p.IPBlock != nil && selects:
		errs = append(errs, field.Forbidden(at, "ipBlock stands alone, without selectors"))
	}
	if p.IPBlock == nil {
		return errs
	}
	_, block, err := netutils.ParseCIDRSloppy(p.IPBlock.CIDR)
	if err != nil {
		return append(errs, field.Invalid(at.Child("ipBlock", "cidr"), p.IPBlock.CIDR, "must be a network such as 10.0.0.0/8"))
	}
	bits, _ := block.Mask.Size()
	for i, text := range p.IPBlock.Except {
		except := at.Child("ipBlock", "except").Index(i)
		_, hole, err := netutils.ParseCIDRSloppy(text)
		if err != nil {
			errs = append(errs, field.Invalid(except, text, "must be a network such as 10.1.0.0/16"))
			continue
		}
		if holeBits, _ := hole.Mask.Size(); !block.Contains(hole.IP) || holeBits <= bits {
			errs = append(errs, field.Invalid(except, text, "must lie within cidr and be smaller"))
		}
	}
	return errs
}
