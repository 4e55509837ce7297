package kube

import (
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/apis/audit"
)

// AuditRequest is a request for a resource as the rules of an audit policy
// see it.
type AuditRequest struct {
	User   string
	Groups []string
	Verb   string
	// Namespace is empty for resources that have none.
	Namespace string
	// APIGroup is empty for the core group.
	APIGroup, Resource, Subresource, Name string
}

// AuditLevel returns the level at which the API server records r under policy
// p, that of the first rule that matches, and the stages at which it records
// nothing of it; None without a rule. The API server's own evaluator says the
// same (the tests compare the two), but brings its metrics along, 1.4 MB of
// plugin.
func AuditLevel(p *audit.Policy, r AuditRequest) (level audit.Level, omitted []audit.Stage) {
	for i := range p.Rules {
		if rule := &p.Rules[i]; r.matches(rule) {
			return rule.Level, slices.Concat(p.OmitStages, rule.OmitStages)
		}
	}
	return audit.LevelNone, p.OmitStages
}

// Recorded returns the level of the events that the API server writes for r
// under policy p: None also where every stage is omitted that a request goes
// through that is answered.
func Recorded(p *audit.Policy, r AuditRequest) audit.Level {
	level, omitted := AuditLevel(p, r)
	isOmitted := func(s audit.Stage) bool { return slices.Contains(omitted, s) }
	if isOmitted(audit.StageRequestReceived) && isOmitted(audit.StageResponseComplete) && (isOmitted(audit.StageResponseStarted) || !r.isLongRunning()) {
		return audit.LevelNone
	}
	return level
}

// longRunningSubresources are those whose requests pass the stage
// ResponseStarted, as the API server sets it up (cmd/kube-apiserver's
// BasicLongRunningRequestCheck).
var longRunningSubresources = []string{"attach", "exec", "proxy", "log", "portforward"}

func (r AuditRequest) isLongRunning() bool {
	return r.Verb == "watch" || r.Verb == "proxy" || slices.Contains(longRunningSubresources, r.Subresource)
}

// matches says whether a rule is about the request. What a rule leaves empty
// matches everything, but URLs alone make it a rule about other requests.
func (r AuditRequest) matches(rule *audit.PolicyRule) bool {
	if !anyOr(rule.Users, func(u string) bool { return u == r.User }) ||
		!anyOr(rule.UserGroups, func(g string) bool { return slices.Contains(r.Groups, g) }) ||
		!anyOr(rule.Verbs, func(v string) bool { return v == r.Verb }) {
		return false
	}
	if len(rule.Namespaces) == 0 && len(rule.Resources) == 0 {
		return len(rule.NonResourceURLs) == 0
	}
	return anyOr(rule.Namespaces, func(n string) bool { return n == r.Namespace }) &&
		anyOr(rule.Resources, r.isOf)
}

// isOf says whether the request is for one of a group's resources.
func (r AuditRequest) isOf(g audit.GroupResources) bool {
	if g.Group != "*" && g.Group != r.APIGroup {
		return false
	}
	return anyOr(g.Resources, func(pattern string) bool {
		return anyOr(g.ResourceNames, func(n string) bool { return n == r.Name }) && r.fits(pattern)
	})
}

// fits compares with "*", "resource", "resource/subresource", "resource/*" or
// "*/subresource"; a plain resource does not mean its subresources.
func (r AuditRequest) fits(pattern string) bool {
	resource, subresource, both := strings.Cut(pattern, "/")
	switch {
	case pattern == "*":
		return true
	case !both:
		return r.Subresource == "" && resource == r.Resource
	case subresource == "*" && resource == r.Resource:
		return true
	case resource == "*" && r.Subresource != "":
		return subresource == r.Subresource
	default:
		return r.Subresource != "" && resource == r.Resource && subresource == r.Subresource
	}
}

// anyOr says whether one of list is as wanted, or list is empty.
func anyOr[T any](list []T, wanted func(T) bool) bool {
	return len(list) == 0 || slices.ContainsFunc(list, wanted)
}
