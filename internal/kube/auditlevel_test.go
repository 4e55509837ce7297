package kube_test

import (
	"math/rand"
	"slices"
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
func theirs(p *audit.Policy, r kube.AuditRequest) (audit.Level, []audit.Stage) {
	c := policy.NewPolicyRuleEvaluator(p).EvaluatePolicyRule(authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: r.User, Groups: r.Groups},
		Verb: r.Verb, Namespace: r.Namespace, APIGroup: r.APIGroup, APIVersion: "v1",
		Resource: r.Resource, Subresource: r.Subresource, Name: r.Name, ResourceRequest: true,
	})
	return c.Level, c.OmitStages
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
			ours, _ := kube.AuditLevel(p, tt.request)
			assert.Equal(t, want, ours)
			their, _ := theirs(p, tt.request)
			assert.Equal(t, want, their)
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
	stages := []audit.Stage{audit.StageRequestReceived, audit.StageResponseStarted, audit.StageResponseComplete, audit.StagePanic}
	someStages := func() (out []audit.Stage) {
		for _, s := range stages {
			if random.Intn(4) == 0 {
				out = append(out, s)
			}
		}
		return out
	}
	levels := map[audit.Level]int{}
	for range 20000 {
		p := &audit.Policy{OmitStages: someStages()}
		for _, level := range []audit.Level{audit.LevelMetadata, audit.LevelRequest, audit.LevelRequestResponse} {
			rule := audit.PolicyRule{Level: level, OmitStages: someStages()}
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
		want, omitted := theirs(p, r)
		level, without := kube.AuditLevel(p, r)
		require.Equal(t, want, level, "policy %+v\nrequest %+v", p, r)
		for _, s := range stages {
			require.Equal(t, slices.Contains(omitted, s), slices.Contains(without, s), "%s: policy %+v\nrequest %+v", s, p, r)
		}
		levels[want]++
	}
	assert.Len(t, levels, 4, "every level must have come up")
}

func TestRecorded(t *testing.T) {
	get := kube.AuditRequest{Verb: "get", Resource: "secrets"}
	exec := kube.AuditRequest{Verb: "create", Resource: "pods", Subresource: "exec"}
	const received, started, complete, panicked = audit.StageRequestReceived, audit.StageResponseStarted, audit.StageResponseComplete, audit.StagePanic
	for name, c := range map[string]struct {
		policy, rule []audit.Stage
		request      kube.AuditRequest
		want         audit.Level
	}{
		"nothing omitted":                  {nil, nil, get, audit.LevelMetadata},
		"what everybody omits":             {[]audit.Stage{received}, nil, get, audit.LevelMetadata},
		"all stages by the policy":         {[]audit.Stage{received, started, complete, panicked}, nil, get, audit.LevelNone},
		"all stages by the rule":           {nil, []audit.Stage{received, started, complete, panicked}, exec, audit.LevelNone},
		"by both together":                 {[]audit.Stage{received}, []audit.Stage{complete}, get, audit.LevelNone},
		"only a panic is left":             {[]audit.Stage{received, started, complete}, nil, exec, audit.LevelNone},
		"what a short request never sees":  {[]audit.Stage{received, complete}, nil, get, audit.LevelNone},
		"the beginning of an exec is left": {[]audit.Stage{received, complete}, nil, exec, audit.LevelMetadata},
	} {
		t.Run(name, func(t *testing.T) {
			p := &audit.Policy{OmitStages: c.policy, Rules: []audit.PolicyRule{{Level: audit.LevelMetadata, OmitStages: c.rule}}}
			assert.Equal(t, c.want, kube.Recorded(p, c.request))
		})
	}
}
