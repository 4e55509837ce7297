package kube

import (
	"fmt"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// lifecycle is when the API server serves a kind in one version.
type lifecycle struct {
	span span
	// instead is the version that took over, or what to do where there is none.
	instead string
}

// lifecycles are the versions of Kubernetes's kinds that not every release
// from v1.20 serves, as k8s.io/api records them. A version with a kind counts
// before the version alone, which stands for all its kinds.
var lifecycles = map[string]lifecycle{
	"admissionregistration.k8s.io/v1beta1 MutatingWebhookConfiguration":   {span{until: 22}, "write admissionregistration.k8s.io/v1"},
	"admissionregistration.k8s.io/v1beta1 ValidatingWebhookConfiguration": {span{until: 22}, "write admissionregistration.k8s.io/v1"},
	"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy":           {span{since: 30}, "leave it out"},
	"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding":    {span{since: 30}, "leave it out"},
	"apiextensions.k8s.io/v1beta1":                                        {span{until: 22}, "write apiextensions.k8s.io/v1"},
	"apiregistration.k8s.io/v1beta1":                                      {span{until: 22}, "write apiregistration.k8s.io/v1"},
	"apps/v1beta1":                                                        {span{until: 16}, "write apps/v1"},
	"apps/v1beta2":                                                        {span{until: 16}, "write apps/v1"},
	"autoscaling/v2":                                                      {span{since: 23}, "write autoscaling/v2beta2"},
	"autoscaling/v2beta1":                                                 {span{until: 25}, "write autoscaling/v2"},
	"autoscaling/v2beta2":                                                 {span{until: 26}, "write autoscaling/v2"},
	"batch/v1 CronJob":                                                    {span{since: 21}, "write batch/v1beta1"},
	"batch/v1beta1":                                                       {span{until: 25}, "write batch/v1"},
	"certificates.k8s.io/v1beta1 CertificateSigningRequest":               {span{until: 22}, "write certificates.k8s.io/v1"},
	"coordination.k8s.io/v1beta1 Lease":                                   {span{until: 22}, "write coordination.k8s.io/v1"},
	"discovery.k8s.io/v1":                                                 {span{since: 21}, "write discovery.k8s.io/v1beta1"},
	"discovery.k8s.io/v1beta1":                                            {span{until: 25}, "write discovery.k8s.io/v1"},
	"extensions/v1beta1 Ingress":                                          {span{until: 22}, "write networking.k8s.io/v1"},
	"extensions/v1beta1 NetworkPolicy":                                    {span{until: 16}, "write networking.k8s.io/v1"},
	"extensions/v1beta1":                                                  {span{until: 16}, "write apps/v1"},
	"flowcontrol.apiserver.k8s.io/v1beta1":                                {span{until: 26}, "write the newest version of that release"},
	"flowcontrol.apiserver.k8s.io/v1beta2":                                {span{until: 29}, "write flowcontrol.apiserver.k8s.io/v1"},
	"flowcontrol.apiserver.k8s.io/v1beta3":                                {span{until: 32}, "write flowcontrol.apiserver.k8s.io/v1"},
	"flowcontrol.apiserver.k8s.io/v1":                                     {span{since: 29}, "write flowcontrol.apiserver.k8s.io/v1beta3"},
	"networking.k8s.io/v1beta1 Ingress":                                   {span{until: 22}, "write networking.k8s.io/v1"},
	"networking.k8s.io/v1beta1 IngressClass":                              {span{until: 22}, "write networking.k8s.io/v1"},
	"node.k8s.io/v1beta1":                                                 {span{until: 25}, "write node.k8s.io/v1"},
	"policy/v1":                                                           {span{since: 21}, "write policy/v1beta1"},
	"policy/v1beta1 PodDisruptionBudget":                                  {span{until: 25}, "write policy/v1"},
	"policy/v1beta1 PodSecurityPolicy":                                    {span{until: 25}, "take the object out, Pod Security Admission stands in its place"},
	"rbac.authorization.k8s.io/v1alpha1":                                  {span{until: 22}, "write rbac.authorization.k8s.io/v1"},
	"rbac.authorization.k8s.io/v1beta1":                                   {span{until: 22}, "write rbac.authorization.k8s.io/v1"},
	"scheduling.k8s.io/v1beta1":                                           {span{until: 22}, "write scheduling.k8s.io/v1"},
	"storage.k8s.io/v1beta1 CSIStorageCapacity":                           {span{until: 27}, "write storage.k8s.io/v1"},
	"storage.k8s.io/v1beta1 StorageClass":                                 {span{until: 22}, "write storage.k8s.io/v1"},
	"storage.k8s.io/v1beta1 CSIDriver":                                    {span{until: 22}, "write storage.k8s.io/v1"},
}

// unservedKinds tells of objects that the API server of release r does not
// serve, so that K3s never records their file as deployed.
func unservedKinds(r k3s.Release, objects []Object) []k3s.Problem {
	var out []k3s.Problem
	for _, o := range objects {
		l, listed := lifecycles[o.APIVersion+" "+o.Kind]
		if !listed {
			l = lifecycles[o.APIVersion]
		}
		what := "removed"
		switch {
		case l.span.missing(r) == "":
			continue
		case !r.AtLeast(1, l.span.since):
			what = "brought"
		}
		minor := max(l.span.since, l.span.until) // of which one kind has one alone
		out = append(out, k3s.Problem{
			Consequence: k3s.Ignored, Origin: k3s.Origin{Source: o.File, Line: o.Line},
			Text: fmt.Sprintf("Kubernetes v1.%d %s %s of %s, and this is %s: K3s tries this file again every 15 seconds and never records it as deployed; %s",
				minor, what, o.Kind, o.APIVersion, r.MinorName(), l.instead),
		})
	}
	return out
}
