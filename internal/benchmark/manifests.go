package benchmark

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s/deploy"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
)

// manifests is what K3s would deploy from its manifests directory.
type manifests struct {
	deploy.Manifests
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
		return manifests{problem: &complaint{status: Error, text: problem, evidence: []Evidence{{Source: dir, Detail: problem}}}}
	}
	var disables []deploy.Disable
	if x.in.Effective != nil {
		disables = deploy.Disables(x.in.Effective)
	}
	m, err := deploy.ReadManifests(x.release(), dir, entries, disables)
	if err != nil {
		return manifests{problem: &complaint{status: Error, text: err.Error(), evidence: []Evidence{{Source: dir, Detail: err.Error()}}}}
	}
	for _, e := range m.Files {
		if e.Kind == node.KindFile && e.Data == nil {
			why := cmp.Or(e.Unread, "its content was not looked at")
			return manifests{problem: &complaint{status: Error, text: e.Path + ": " + why, evidence: []Evidence{{Source: e.Path, Detail: why}}}}
		}
	}
	return manifests{Manifests: m}
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
	contested := map[string]string{}
	var pods []netip.Prefix
	if x.in.Effective != nil {
		pods = x.in.Effective.PodNetworks()
	}
	v := x.perNamespace("NetworkPolicy", n.namespaces, "a NetworkPolicy for every pod that admits only named traffic, and none that opens it again",
		func(o kube.Object, m *manifests) {
			p, ok := o.Typed.(*networkingv1.NetworkPolicy)
			switch ns := namespaceOf(o); {
			case !ok || !kube.RestrictsIngress(p):
			case kube.OpensIngress(p, pods):
				opened[ns] = o
			case m.Contested(o):
				contested[ns] = o.Name
			case kube.SelectsEveryPod(p):
				isolated[ns] = o
			}
		},
		func(ns string) (kube.Object, string) {
			o, ok := isolated[ns]
			switch name := contested[ns]; {
			case opened[ns].Name != "":
				return opened[ns], fmt.Sprintf("NetworkPolicy %s admits all traffic to every pod", opened[ns].Name)
			case ok:
				return o, ""
			case name != "":
				return o, fmt.Sprintf("NetworkPolicy %s is defined twice, and not alike", name)
			}
			return o, "no NetworkPolicy selects every pod"
		})
	return x.inCluster(v, rehearsal.AskPolicies, n.namespaces, func(lines []string, ns string) bool { return isolates(lines, ns, pods) })
}

// serviceAccounts wants the ServiceAccount default of each of namespaces not to
// mount its token.
type serviceAccounts struct{ namespaces []string }

func (serviceAccounts) picks(p paths) node.Query { return manifestPicks(p) }

func (serviceAccounts) component() k3s.Component { return k3s.APIServer }

func (s serviceAccounts) judge(x *examination) verdict {
	objects, mounts := map[string]kube.Object{}, map[string]bool{}
	v := x.perNamespace("ServiceAccount", s.namespaces, "the ServiceAccount default with automountServiceAccountToken: false",
		func(o kube.Object, _ *manifests) {
			if a, ok := o.Typed.(*corev1.ServiceAccount); ok && a.Name == "default" {
				// Of several, any may be what holds.
				ns := namespaceOf(o)
				if !mounts[ns] {
					objects[ns] = o
				}
				mounts[ns] = mounts[ns] || a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken
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
	return x.inCluster(v, rehearsal.AskAccounts, s.namespaces, accountClosed)
}

// perNamespace shows every object that K3s deploys to see, then asks verdict
// of each namespace: the object that decides, and what is wrong or "".
func (x *examination) perNamespace(kind string, namespaces []string, what string, see func(kube.Object, *manifests), verdictOf func(string) (kube.Object, string)) verdict {
	v := verdict{expected: fmt.Sprintf("%s in %s, in K3s's manifests", what, strings.Join(namespaces, ", "))}
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	m := x.manifests()
	if m.problem != nil {
		return m.problem.verdict(v.expected)
	}
	for _, o := range m.Objects {
		see(o, &m)
	}
	var wrong []string
	for _, ns := range namespaces {
		o, problem := verdictOf(ns)
		if c, undone := x.takenBack(kind, ns); problem == "" && undone {
			problem = fmt.Sprintf("%s has kubectl %s the %s in the cluster", c.Place, c.verb, kind)
			v.evidence = append(v.evidence, Evidence{Source: c.Path, Line: c.Line, Detail: "kubectl " + c.verb + " " + kind})
		}
		if problem != "" {
			wrong = append(wrong, ns+": "+problem)
		}
		if o.File != "" {
			v.evidence = append(v.evidence, Evidence{Source: o.File, Line: o.Line, Detail: fmt.Sprintf("%s %s in %s", o.Kind, o.Name, ns)})
		}
	}
	if len(wrong) > 0 {
		v.status, v.found = Fail, few(wrong)
		if len(m.Problems) > 0 {
			v.found += "; not deployed: " + m.Problems[0].Origin.String() + ": " + m.Problems[0].Text
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
