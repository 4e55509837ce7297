package harden

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apiserver/pkg/apis/audit"
	auditpolicy "k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/kube"
)

// TestRecommendedAudit asks Kubernetes's own rule evaluator what becomes of
// requests under the profile recommended.
func TestRecommendedAudit(t *testing.T) {
	o := newest(t)
	o.Audit.Profile = "recommended"
	plan, err := Make(o, nil)
	require.NoError(t, err)
	loaded, err := kube.LoadAuditPolicy(o.Release, k3s.AuditPolicyFile, []byte(planned(t, plan, k3s.AuditPolicyFile)))
	require.NoError(t, err)
	require.Empty(t, loaded.Ignored)
	rules := auditpolicy.NewPolicyRuleEvaluator(loaded.Policy)

	request := func(who, verb, group, resource, sub string, groups ...string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: who, Groups: groups}, Verb: verb,
			APIGroup: group, Resource: resource, Subresource: sub, Namespace: "default", ResourceRequest: true,
		}
	}
	url := func(path string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "system:anonymous"}, Verb: "get", Path: path}
	}
	const node = "system:node:a"
	tests := []struct {
		name string
		req  authorizer.AttributesRecord
		want audit.Level
	}{
		// CIS 3.2.2: credentials are recorded, their content never is.
		{"read a Secret", request("admin", "get", "", "secrets", ""), audit.LevelMetadata},
		{"make a Secret", request("admin", "create", "", "secrets", ""), audit.LevelMetadata},
		{"make a Secret as K3s", request("system:kube-controller-manager", "create", "", "secrets", ""), audit.LevelMetadata},
		{"read a Secret as a node", request(node, "get", "", "secrets", "", "system:nodes"), audit.LevelMetadata},
		{"change a ConfigMap", request("admin", "update", "", "configmaps", ""), audit.LevelMetadata},
		{"ask for a token", request("admin", "create", "", "serviceaccounts", "token"), audit.LevelMetadata},
		{"review a token", request("admin", "create", "authentication.k8s.io", "tokenreviews", ""), audit.LevelMetadata},
		{"chart values with passwords", request("admin", "create", "helm.cattle.io", "helmcharts", ""), audit.LevelMetadata},
		// Who may do what, and ways into workloads.
		{"bind a role", request("admin", "create", "rbac.authorization.k8s.io", "clusterrolebindings", ""), audit.LevelRequest},
		{"bind a role as a node", request(node, "create", "rbac.authorization.k8s.io", "clusterrolebindings", "", "system:nodes"), audit.LevelRequest},
		{"read roles", request("admin", "list", "rbac.authorization.k8s.io", "roles", ""), audit.LevelMetadata},
		{"exec", request("admin", "create", "", "pods", "exec"), audit.LevelRequest},
		{"exec by websocket", request("admin", "get", "", "pods", "exec"), audit.LevelRequest},
		{"port-forward", request("admin", "create", "", "pods", "portforward"), audit.LevelRequest},
		{"proxy to a node", request("admin", "get", "", "nodes", "proxy"), audit.LevelRequest},
		{"a debug container", request("admin", "patch", "", "pods", "ephemeralcontainers"), audit.LevelRequest},
		{"a webhook", request("admin", "delete", "admissionregistration.k8s.io", "validatingwebhookconfigurations", ""), audit.LevelRequest},
		{"a network policy", request("admin", "delete", "networking.k8s.io", "networkpolicies", ""), audit.LevelRequest},
		{"a namespace's labels", request("admin", "patch", "", "namespaces", ""), audit.LevelRequest},
		// Pods may carry passwords in their environment.
		{"make a pod", request("admin", "create", "", "pods", ""), audit.LevelMetadata},
		{"change a deployment", request("admin", "update", "apps", "deployments", ""), audit.LevelMetadata},
		{"impersonate", request("admin", "impersonate", "", "users", ""), audit.LevelMetadata},
		// Noise.
		{"health", url("/healthz"), audit.LevelNone},
		{"health of one part", url("/readyz/etcd"), audit.LevelNone},
		{"metrics are not health", url("/metrics"), audit.LevelMetadata},
		{"the API's index", url("/api"), audit.LevelMetadata},
		{"a node's heartbeat", request(node, "update", "coordination.k8s.io", "leases", "", "system:nodes"), audit.LevelNone},
		{"a person's lease", request("admin", "update", "coordination.k8s.io", "leases", ""), audit.LevelMetadata},
		{"a node deletes a lease", request(node, "delete", "coordination.k8s.io", "leases", "", "system:nodes"), audit.LevelMetadata},
		{"kube-proxy watches", request("system:kube-proxy", "watch", "discovery.k8s.io", "endpointslices", ""), audit.LevelNone},
		{"kube-proxy writes", request("system:kube-proxy", "update", "", "services", ""), audit.LevelMetadata},
		{"an event", request(node, "create", "", "events", "", "system:nodes"), audit.LevelNone},
		{"events deleted", request("admin", "deletecollection", "", "events", ""), audit.LevelMetadata},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, rules.EvaluatePolicyRule(tt.req).Level)
		})
	}
}

func TestAuditOptions(t *testing.T) {
	own := "# mine\napiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: RequestResponse\n"
	o := newest(t)
	o.Audit = Audit{Policy: &File{Name: "mine.yaml", Data: []byte(own)}}
	plan, err := Make(o, nil)
	require.NoError(t, err)
	assert.Equal(t, own, planned(t, plan, k3s.AuditPolicyFile), "the user's policy is baked as it is")

	o.Audit = Audit{Level: "Request"}
	plan, err = Make(o, nil)
	require.NoError(t, err)
	assert.Contains(t, planned(t, plan, k3s.AuditPolicyFile), "  - level: Request\n")

	for log, want := range map[string]struct{ dir, warning string }{
		"/var/log/kubernetes/audit.log": {dir: "/var/log/kubernetes"},
		"/var/log/audit.log":            {warning: "the audit log /var/log/audit.log stands in a directory of the system"},
		"/etc/rancher/k3s/audit.log":    {warning: "stands in a directory of the system"},
		"-":                             {},
	} {
		o.Audit = Audit{LogPath: log}
		plan, err = Make(o, nil)
		require.NoError(t, err)
		assert.Contains(t, planned(t, plan, "/etc/rancher/k3s/config.yaml"), "  - audit-log-path="+log+"\n")
		if want.dir != "" {
			mode, ok := modeOf(plan, want.dir)
			assert.True(t, ok)
			assert.Equal(t, "0700", octal(mode))
		}
		if want.warning == "" {
			assert.Empty(t, plan.Warnings)
		} else {
			require.Len(t, plan.Warnings, 1)
			assert.Contains(t, plan.Warnings[0], want.warning)
		}
		for _, shared := range []string{"/", "/etc", "/etc/rancher", k3s.ConfigDir, "/var", "/var/log", "/var/lib", "/tmp"} {
			_, touched := modeOf(plan, shared)
			assert.False(t, touched, shared)
		}
	}
}
