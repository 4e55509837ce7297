package benchmark

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
	"k8s.io/apiserver/pkg/apis/audit"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// auditPolicy wants the API server to have an audit policy that records.
type auditPolicy struct {
	// sensitive asks for the requests that CIS names, each at a fit level.
	sensitive bool
}

func (d *decoder) auditPolicy(n *yaml.Node) expectation {
	var a auditPolicy
	d.fields(n, "audit_policy", map[string]func(*yaml.Node){
		"covers": func(n *yaml.Node) { a.sensitive = d.oneOf(n, "any", "sensitive") == "sensitive" },
	}, "covers")
	return a
}

func (a auditPolicy) picks(p paths) node.Query {
	return node.Query{{Path: k3s.LayoutOf(p.data).AuditPolicyFile(), Content: true}, {Path: k3s.AuditPolicyFile, Content: true}}
}

func (auditPolicy) component() k3s.Component { return k3s.APIServer }

func (a auditPolicy) judge(x *examination) verdict {
	v := verdict{expected: "kube-apiserver has an audit policy that records requests, and a log to record them in"}
	if a.sensitive {
		v.expected = "the audit policy records Secrets, ConfigMaps and TokenReviews at Metadata, changes of pods and deployments and the use of pods/exec, pods/portforward, pods/proxy and services/proxy at Metadata or more"
	}
	if blocked := x.configuration(); blocked != nil {
		blocked.expected = v.expected
		return *blocked
	}
	p, c := x.audit()
	if c != nil {
		return c.verdict(v.expected)
	}
	file, named, _ := x.named("audit-policy-file")
	v.evidence = append(named, Evidence{Source: file, Detail: fmt.Sprintf("loads; %d rules", len(p.Policy.Rules))})
	if log, _, _ := x.in.Effective.Flag(k3s.APIServer, "audit-log-path"); log == "" {
		if hook, _, _ := x.in.Effective.Flag(k3s.APIServer, "audit-webhook-config-file"); hook == "" {
			v.status, v.hard, v.found = Fail, true, "neither audit-log-path nor audit-webhook-config-file is set: nothing is recorded"
			return v
		}
	}
	recorded, gaps, left := coverage(p.Policy)
	switch {
	case recorded == 0:
		v.status, v.hard, v.found = Fail, true, "the policy records none of the requests that CIS names"
	case a.sensitive && len(gaps) > 0:
		v.status, v.found = Fail, few(gaps)
	case !a.sensitive && len(left) > 0:
		v.status, v.found = Manual, few(left)
		v.reason = "whether a policy is enough that leaves out what CIS names is for a person to review"
	default:
		v.status, v.found = Pass, fmt.Sprintf("%s records %d of %d kinds of requests that CIS names", file, recorded, len(sensitiveRequests))
	}
	return v
}

// sensitiveRequest is a kind of request that CIS 3.2.2 names.
type sensitiveRequest struct {
	verb, group, resource, subresource string
	// metadataOnly: recording the body would put secrets into the log.
	metadataOnly bool
}

var sensitiveRequests = []sensitiveRequest{
	{"get", "", "secrets", "", true},
	{"list", "", "secrets", "", true},
	{"create", "", "secrets", "", true},
	{"update", "", "secrets", "", true},
	{"patch", "", "secrets", "", true},
	{"delete", "", "secrets", "", true},
	{"get", "", "configmaps", "", true},
	{"create", "", "configmaps", "", true},
	{"update", "", "configmaps", "", true},
	{"patch", "", "configmaps", "", true},
	{"delete", "", "configmaps", "", true},
	{"create", "authentication.k8s.io", "tokenreviews", "", true},
	{"create", "", "pods", "", false},
	{"update", "", "pods", "", false},
	{"patch", "", "pods", "", false},
	{"delete", "", "pods", "", false},
	{"create", "apps", "deployments", "", false},
	{"update", "apps", "deployments", "", false},
	{"patch", "apps", "deployments", "", false},
	{"delete", "apps", "deployments", "", false},
	{"create", "", "pods", "exec", false},
	{"get", "", "pods", "exec", false},
	{"create", "", "pods", "portforward", false},
	{"get", "", "pods", "portforward", false},
	{"create", "", "pods", "proxy", false},
	{"get", "", "pods", "proxy", false},
	{"create", "", "services", "proxy", false},
	{"get", "", "services", "proxy", false},
}

// auditScope is somebody's requests in some namespace.
type auditScope struct {
	user      string
	groups    []string
	namespace string
}

// everybody are those whose requests a policy has no business to leave out: a
// person, the cluster's administrator, a program in a pod.
var everybody = []auditScope{
	{user: "someone", groups: []string{"system:authenticated"}},
	{user: "system:admin", groups: []string{"system:masters", "system:authenticated"}},
	{user: "system:serviceaccount:apps:program", groups: []string{"system:serviceaccounts", "system:serviceaccounts:apps", "system:authenticated"}},
}

// auditScopes are everybody's requests in an ordinary namespace, in Kubernetes's
// own and in those that the policy has rules for; the first is the ordinary
// case.
func auditScopes(p *audit.Policy) []auditScope {
	namespaces := []string{"default", "kube-system", "kube-public"}
	for _, rule := range p.Rules {
		namespaces = append(namespaces, rule.Namespaces...)
	}
	seen := map[string]bool{"": true}
	var out []auditScope
	for _, ns := range namespaces {
		if seen[ns] {
			continue
		}
		seen[ns] = true
		for _, s := range everybody {
			out = append(out, auditScope{s.user, s.groups, ns})
		}
	}
	return out
}

// coverage says how many kinds of requests are recorded at all, which are not as
// they should be, and which of these are left out, each at the first place.
func coverage(p *audit.Policy) (recorded int, gaps, left []string) {
	scopes := auditScopes(p)
	for _, r := range sensitiveRequests {
		if r.recorded(p, scopes[0]) != audit.LevelNone {
			recorded++
		}
		if i := slices.IndexFunc(scopes, func(s auditScope) bool { return r.gap(p, s) != "" }); i >= 0 {
			gaps = append(gaps, r.gap(p, scopes[i]))
		}
		if i := slices.IndexFunc(scopes, func(s auditScope) bool { return r.recorded(p, s) == audit.LevelNone }); i >= 0 {
			left = append(left, r.gap(p, scopes[i]))
		}
	}
	return recorded, gaps, left
}

func (r sensitiveRequest) recorded(p *audit.Policy, s auditScope) audit.Level {
	return kube.Recorded(p, kube.AuditRequest{
		User: s.user, Groups: s.groups, Namespace: s.namespace,
		Verb: r.verb, APIGroup: r.group, Resource: r.resource, Subresource: r.subresource, Name: "something",
	})
}

// gap says what is wrong with how a scope's requests are recorded, or "".
func (r sensitiveRequest) gap(p *audit.Policy, s auditScope) string {
	name := fmt.Sprintf("%s %s", r.verb, r.resource)
	if r.subresource != "" {
		name += "/" + r.subresource
	}
	if s.namespace != "default" {
		name += " in namespace " + s.namespace
	}
	if s.user != everybody[0].user {
		name += " by " + s.user
	}
	switch level := r.recorded(p, s); {
	case level == audit.LevelNone:
		return name + " is not recorded"
	case r.metadataOnly && level != audit.LevelMetadata:
		return fmt.Sprintf("%s is recorded at %s: the content reaches the log", name, level)
	}
	return ""
}
