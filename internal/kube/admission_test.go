package kube

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const restricted = `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults:
      enforce: "restricted"
      enforce-version: "v1.30"
      audit: "restricted"
    exemptions:
      usernames: [alice]
      runtimeClasses: [kata]
      namespaces: [kube-system]
`

const limits = `- name: EventRateLimit
  configuration:
    apiVersion: eventratelimit.admission.k8s.io/v1alpha1
    kind: Configuration
    limits:
    - {type: Server, qps: 5000, burst: 20000}
    - {type: User, qps: 50, burst: 100, cacheSize: 2000}
`

func TestLoadAdmission(t *testing.T) {
	got, err := LoadAdmission(release(t, "1.36"), "/etc/psa.yaml", []byte(restricted+limits), files(nil))
	require.NoError(t, err)
	assert.Equal(t, &Admission{
		Plugins: []string{"PodSecurity", "EventRateLimit"},
		PodSecurity: &PodSecurity{
			Enforce: Level{"restricted", "v1.30"}, Audit: Level{"restricted", "latest"}, Warn: Level{"privileged", "latest"},
			Exempt: Exemptions{Usernames: []string{"alice"}, RuntimeClasses: []string{"kata"}, Namespaces: []string{"kube-system"}},
		},
		EventRateLimit: []RateLimit{{Type: "Server", QPS: 5000, Burst: 20000}, {Type: "User", QPS: 50, Burst: 100, CacheSize: 2000}},
	}, got)
}
