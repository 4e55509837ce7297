package kube_test

import (
	"math/rand"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
)

// theirs is what the API server's own evaluator says.
func theirs(p *audit.Policy, r kube.AuditRequest) audit.Level {
	return policy.NewPolicyRuleEvaluator(p).EvaluatePolicyRule(authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: r.User, Groups: r.Groups},
		Verb: r.Verb, Namespace: r.Namespace, APIGroup: r.APIGroup, APIVersion: "v1",
		Resource: r.Resource, Subresource: r.Subresource, Name: r.Name, ResourceRequest: true,
	}).Level
}

func TestAuditLevel(t *testing.T) {
	secret := kube.AuditRequest{User: "ann", Groups: []string{"ops"}, Verb: "get", Namespace: "default", Resource: "secrets", Name: "key"}
	exec := kube.AuditRequest{User: "ann", Verb: "create", Namespace: "default", Resource: "pods", Subresource: "exec", Name: "web"}
	resources := func(group string, names []string, resources ...string) []audit.GroupResources {
		return []audit.GroupResources{{Group: group, Resources: resources, ResourceNames: names}}
	}
	for name, tt := range map[string]struct {
		rule    audit.PolicyRule
		request kube.AuditRequest
		matches bool
	}{
		"empty rule":                   {audit.PolicyRule{}, secret, true},
		"user":                         {audit.PolicyRule{Users: []string{"ann"}}, secret, true},
		"other user":                   {audit.PolicyRule{Users: []string{"bob"}}, secret, false},
		"group":                        {audit.PolicyRule{UserGroups: []string{"dev", "ops"}}, secret, true},
		"other group":                  {audit.PolicyRule{UserGroups: []string{"dev"}}, secret, false},
		"other verb":                   {audit.PolicyRule{Verbs: []string{"list"}}, secret, false},
		"other namespace":              {audit.PolicyRule{Namespaces: []string{"kube-system"}}, secret, false},
		"resource":                     {audit.PolicyRule{Resources: resources("", nil, "secrets")}, secret, true},
		"other API group":              {audit.PolicyRule{Resources: resources("apps", nil, "secrets")}, secret, false},
		"whole API group":              {audit.PolicyRule{Resources: resources("", nil)}, secret, true},
		"any API group":                {audit.PolicyRule{Resources: resources("*", nil, "secrets")}, secret, true},
		"resource name":                {audit.PolicyRule{Resources: resources("", []string{"key"}, "secrets")}, secret, true},
		"other resource name":          {audit.PolicyRule{Resources: resources("", []string{"lock"}, "secrets")}, secret, false},
		"URLs":                         {audit.PolicyRule{NonResourceURLs: []string{"*"}}, secret, false},
		"resource without subresource": {audit.PolicyRule{Resources: resources("", nil, "pods")}, exec, false},
		"resource and subresource":     {audit.PolicyRule{Resources: resources("", nil, "pods/exec")}, exec, true},
		"any subresource":              {audit.PolicyRule{Resources: resources("", nil, "pods/*")}, exec, true},
		"subresource of any":           {audit.PolicyRule{Resources: resources("", nil, "*/exec")}, exec, true},
		"other subresource of any":     {audit.PolicyRule{Resources: resources("", nil, "*/log")}, exec, false},
		"everything":                   {audit.PolicyRule{Resources: resources("", nil, "*")}, exec, true},
	} {
		t.Run(name, func(t *testing.T) {
			tt.rule.Level = audit.LevelRequest
			p := &audit.Policy{Rules: []audit.PolicyRule{tt.rule, {Level: audit.LevelMetadata, Users: []string{"nobody"}}}}
			want := audit.LevelNone
			if tt.matches {
				want = audit.LevelRequest
			}
			assert.Equal(t, want, kube.AuditLevel(p, tt.request))
			assert.Equal(t, want, theirs(p, tt.request))
		})
	}
}

// Ours must say what the API server says, whatever the policy.
func TestAuditLevelIsTheAPIServers(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	some := func(from ...string) []string {
		random.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
		return from[:random.Intn(len(from)+1)]
	}
	one := func(from ...string) string { return from[random.Intn(len(from))] }
	levels := map[audit.Level]int{}
	for range 20000 {
		p := &audit.Policy{}
		for _, level := range []audit.Level{audit.LevelMetadata, audit.LevelRequest, audit.LevelRequestResponse} {
			rule := audit.PolicyRule{Level: level}
			if random.Intn(3) == 0 {
				rule.Users = some("ann", "bob", "")
			}
			if random.Intn(3) == 0 {
				rule.UserGroups = some("ops", "dev")
			}
			if random.Intn(3) == 0 {
				rule.Verbs = some("get", "create", "*")
			}
			if random.Intn(4) == 0 {
				rule.Namespaces = some("default", "")
			}
			if random.Intn(5) == 0 {
				rule.NonResourceURLs = some("*", "/healthz*")
			}
			for range random.Intn(3) {
				rule.Resources = append(rule.Resources, audit.GroupResources{
					Group:         one("", "apps", "*"),
					Resources:     some("pods", "pods/exec", "pods/*", "*/exec", "*", "*/*", "/", "", "*/", "secrets"),
					ResourceNames: some("web", ""),
				})
			}
			p.Rules = append(p.Rules, rule)
		}
		r := kube.AuditRequest{
			User: one("ann", "eve", ""), Groups: some("ops", "qa"), Verb: one("get", "delete"),
			Namespace: one("default", "prod", ""), APIGroup: one("", "apps", "batch"),
			Resource: one("pods", "secrets"), Subresource: one("", "exec", "log"), Name: one("web", "db", ""),
		}
		want := theirs(p, r)
		require.Equal(t, want, kube.AuditLevel(p, r), "policy %+v\nrequest %+v", p, r)
		levels[want]++
	}
	assert.Len(t, levels, 4, "every level must have come up")
}
