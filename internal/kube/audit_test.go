package kube

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apiserver/pkg/apis/audit"
)

func TestLoadAuditPolicy(t *testing.T) {
	const text = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [system:kube-proxy]
  resources: [{group: "", resources: [endpoints]}]
- level: Request
  namespaces: [kube-system]
`
	got, err := LoadAuditPolicy(release(t, "1.36"), "/etc/audit.yaml", []byte(text))
	require.NoError(t, err)
	assert.Empty(t, got.Ignored)
	assert.Equal(t, []audit.Stage{audit.StageRequestReceived}, got.Policy.OmitStages)
	assert.Equal(t, []audit.PolicyRule{
		{Level: audit.LevelNone, Users: []string{"system:kube-proxy"}, Resources: []audit.GroupResources{{Resources: []string{"endpoints"}}}},
		{Level: audit.LevelRequest, Namespaces: []string{"kube-system"}},
	}, got.Policy.Rules)
}

// TestLoadAuditPolicyBetas reads the versions that Kubernetes v1.24 removed
// for the releases before.
func TestLoadAuditPolicyBetas(t *testing.T) {
	for _, version := range []string{"v1alpha1", "v1beta1"} {
		text := []byte(strings.Replace(metadataPolicy, "/v1", "/"+version, 1))
		got, err := LoadAuditPolicy(release(t, "1.23"), "/etc/audit.yaml", text)
		require.NoError(t, err)
		assert.Len(t, got.Policy.Rules, 1)
		_, err = LoadAuditPolicy(release(t, "1.24"), "/etc/audit.yaml", text)
		require.ErrorContains(t, err, `no kind "Policy" is registered for version "audit.k8s.io/`+version+`"`)
	}
}

func TestLoadAuditPolicyTellsAll(t *testing.T) {
	text := strings.Replace(metadataPolicy, "Metadata", "Most", 1) + "- level: None\n  nonResourceURLs: [healthz]\n  omitStages: [Never]\n"
	_, err := LoadAuditPolicy(release(t, "1.36"), "/etc/audit.yaml", []byte(text))
	var got []string
	for _, e := range Errors(err) {
		got = append(got, e.Error())
	}
	require.Len(t, got, 3)
	assert.Contains(t, got[0], `/etc/audit.yaml:4: rules[0].level: Unsupported value: supported values: "None"`)
	assert.Contains(t, got[1], `/etc/audit.yaml:6: rules[1].nonResourceURLs[0]: Invalid value: non-resource URL rules must begin`)
	assert.Contains(t, got[2], `/etc/audit.yaml:7: rules[1].omitStages[0]: Invalid value: allowed stages are`)
}

// TestLoadAuditPolicyOtherKind: the file may be anything of that group.
func TestLoadAuditPolicyOtherKind(t *testing.T) {
	_, err := LoadAuditPolicy(release(t, "1.36"), "/etc/audit.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: PolicyList\nitems: []\n"))
	require.ErrorContains(t, err, "/etc/audit.yaml:2: failed decoding: the file holds a *v1.PolicyList")
	_, err = LoadAuditPolicy(release(t, "1.36"), "/etc/audit.yaml", []byte(strings.Repeat("#", maxFileSize+1)))
	require.ErrorContains(t, err, "no more than 4194304 are read")
}
