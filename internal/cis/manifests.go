package cis

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s/deploy"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// manifests is what K3s would deploy from its manifests directory.
type manifests struct {
	files   []deploy.Manifest
	objects []kube.Object
	// faults are what K3s would not deploy, and why.
	faults []k3s.Problem
	// problem is set when the directory could not be looked at.
	problem *complaint
}

// readsManifests says whether judging an expectation reads the manifests.
func readsManifests(e expectation) bool {
	switch e := e.(type) {
	case networkPolicies, serviceAccounts, podSecurity:
		return true
	case k3sCheck:
		return e.name == "manifest-names"
	}
	return false
}

func (x *examination) readManifests() manifests {
	dir := k3s.LayoutOf(x.paths.data).Manifests()
	entries, problem := x.tree(dir)
	if problem != "" {
		return manifests{problem: &complaint{Error, problem, []Evidence{{Source: dir, Detail: problem}}}}
	}
	var files []deploy.Manifest
	for _, e := range entries {
		if e.Kind != node.KindFile || x.disabled(dir, e.Path) {
			continue
		}
		if e.Data == nil {
			why := e.Unread
			if why == "" {
				why = "its content was not looked at"
			}
			return manifests{problem: &complaint{Error, e.Path + ": " + why, []Evidence{{Source: e.Path, Detail: why}}}}
		}
		files = append(files, deploy.Manifest{Path: e.Path, Data: e.Data})
	}
	objects, faults := deploy.CheckManifests(x.release(), dir, files)
	return manifests{files: files, objects: objects, faults: faults}
}

// disabled says whether K3s's key disable makes K3s delete a manifest: by its
// base name without extension, or by the directory it is in.
func (x *examination) disabled(dir, file string) bool {
	if x.in.Effective == nil {
		return false
	}
	relative := strings.TrimPrefix(file, dir+"/")
	base := path.Base(file)
	for _, v := range x.in.Effective.Settings["disable"].Values {
		for _, name := range items(v.Text) {
			if strings.TrimSuffix(base, path.Ext(base)) == name || strings.HasPrefix(relative, name+"/") {
				return true
			}
		}
	}
	return false
}

// networkPolicies wants a policy in each of namespaces that keeps every pod
// from being reached by everything.
type networkPolicies struct{ namespaces []string }

func manifestPicks(p paths) node.Query {
	return node.Query{{Path: k3s.LayoutOf(p.data).Manifests(), Depth: node.Deep, Content: true}}
}

func (networkPolicies) picks(p paths) node.Query { return manifestPicks(p) }

func (networkPolicies) component() k3s.Component { return k3s.APIServer }

func (n networkPolicies) judge(x *examination) verdict {
	isolated, opened := map[string]kube.Object{}, map[string]kube.Object{}
	return x.perNamespace(n.namespaces, "a NetworkPolicy for every pod that admits only named traffic",
		func(o kube.Object) {
			p, ok := o.Typed.(*networkingv1.NetworkPolicy)
			if !ok || !selectsAll(&p.Spec.PodSelector) || !ingress(p) {
				return
			}
			if slices.ContainsFunc(p.Spec.Ingress, admitsAll) {
				opened[namespaceOf(o)] = o
			} else {
				isolated[namespaceOf(o)] = o
			}
		},
		func(ns string) (kube.Object, string) {
			if o, ok := opened[ns]; ok {
				return o, fmt.Sprintf("NetworkPolicy %s admits all traffic to every pod", o.Name)
			}
			o, ok := isolated[ns]
			if !ok {
				return o, "no NetworkPolicy selects every pod"
			}
			return o, ""
		})
}

// admitsAll says whether a rule lets everything in: any port, from any pod of
// any namespace or any address.
func admitsAll(r networkingv1.NetworkPolicyIngressRule) bool {
	if len(r.Ports) > 0 {
		return false
	}
	return len(r.From) == 0 || slices.ContainsFunc(r.From, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return strings.HasSuffix(p.IPBlock.CIDR, "/0") && len(p.IPBlock.Except) == 0
		}
		return p.NamespaceSelector != nil && selectsAll(p.NamespaceSelector) && (p.PodSelector == nil || selectsAll(p.PodSelector))
	})
}

func selectsAll(s *metav1.LabelSelector) bool { return len(s.MatchLabels)+len(s.MatchExpressions) == 0 }

// ingress says whether a policy isolates incoming traffic.
func ingress(p *networkingv1.NetworkPolicy) bool {
	return len(p.Spec.PolicyTypes) == 0 || slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
}

// serviceAccounts wants the ServiceAccount default of each of namespaces not to
// mount its token.
type serviceAccounts struct{ namespaces []string }

func (serviceAccounts) picks(p paths) node.Query { return manifestPicks(p) }

func (serviceAccounts) component() k3s.Component { return k3s.APIServer }

func (s serviceAccounts) judge(x *examination) verdict {
	objects, mounts := map[string]kube.Object{}, map[string]bool{}
	return x.perNamespace(s.namespaces, "the ServiceAccount default with automountServiceAccountToken: false",
		func(o kube.Object) {
			if a, ok := o.Typed.(*corev1.ServiceAccount); ok && a.Name == "default" {
				// The last file K3s applies wins.
				objects[namespaceOf(o)] = o
				mounts[namespaceOf(o)] = a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken
			}
		},
		func(ns string) (kube.Object, string) {
			o, ok := objects[ns]
			switch {
			case !ok:
				return o, "no manifest for the ServiceAccount default"
			case mounts[ns]:
				return o, "automountServiceAccountToken is not false"
			}
			return o, ""
		})
}

// perNamespace shows every object that K3s deploys to see, then asks verdict
// of each namespace: the object that decides, and what is wrong or "".
func (x *examination) perNamespace(namespaces []string, what string, see func(kube.Object), verdictOf func(string) (kube.Object, string)) verdict {
	v := verdict{expected: fmt.Sprintf("%s in %s, in K3s's manifests", what, strings.Join(namespaces, ", "))}
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	m := x.manifests()
	if m.problem != nil {
		return m.problem.verdict(v.expected)
	}
	for _, o := range m.objects {
		see(o)
	}
	var wrong []string
	for _, ns := range namespaces {
		o, problem := verdictOf(ns)
		if problem != "" {
			wrong = append(wrong, ns+": "+problem)
		}
		if o.File != "" {
			v.evidence = append(v.evidence, Evidence{o.File, o.Line, fmt.Sprintf("%s %s in %s", o.Kind, o.Name, ns)})
		}
	}
	if len(wrong) > 0 {
		v.status, v.found = Fail, few(wrong)
		if len(m.faults) > 0 {
			v.found += "; not deployed: " + m.faults[0].Origin.String() + ": " + m.faults[0].Text
		}
		if len(v.evidence) == 0 {
			v.evidence = []Evidence{{Source: k3s.LayoutOf(x.paths.data).Manifests(), Detail: "nothing of the kind is there"}}
		}
		return v
	}
	v.status, v.found = Pass, "in "+strings.Join(namespaces, ", ")
	return v
}

// namespaceOf returns where K3s puts an object.
func namespaceOf(o kube.Object) string {
	if o.Namespace == "" {
		return "default"
	}
	return o.Namespace
}
