package kube

import (
	"strings"
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

// TestLoadAdmissionVersions reads each version from the release on that knows it.
func TestLoadAdmissionVersions(t *testing.T) {
	for _, test := range []struct{ minor, version, refused string }{
		{"1.25", "v1", ""},
		{"1.24", "v1", `no kind "PodSecurityConfiguration" is registered for version "pod-security.admission.config.k8s.io/v1" before Kubernetes v1.25, and this is v1.24; write pod-security.admission.config.k8s.io/v1beta1`},
		{"1.23", "v1beta1", ""},
		{"1.37", "v1beta1", ""},
		{"1.22", "v1beta1", "before Kubernetes v1.23, and this is v1.22; write pod-security.admission.config.k8s.io/v1alpha1"},
		{"1.22", "v1alpha1", ""},
		{"1.36", "v2", `no kind "PodSecurityConfiguration" is registered for version "pod-security.admission.config.k8s.io/v2"`},
	} {
		data := strings.Replace(restricted, "config.k8s.io/v1\n    kind", "config.k8s.io/"+test.version+"\n    kind", 1)
		got, err := LoadAdmission(release(t, test.minor), "/etc/psa.yaml", []byte(data), files(nil))
		if test.refused == "" {
			require.NoError(t, err, test)
			assert.Equal(t, "restricted", got.PodSecurity.Enforce.Name)
			continue
		}
		require.ErrorContains(t, err, test.refused)
		assert.Equal(t, 6, Errors(err)[0].Line)
		assert.Nil(t, got)
	}
}

// TestLoadAdmissionBeforePodSecurity says that nothing reads the entry.
func TestLoadAdmissionBeforePodSecurity(t *testing.T) {
	got, err := LoadAdmission(release(t, "1.21"), "/etc/psa.yaml", []byte(restricted), files(nil))
	require.NoError(t, err)
	assert.Nil(t, got.PodSecurity)
	require.Len(t, got.Ignored, 1)
	assert.Equal(t, `/etc/psa.yaml:4: plugin "PodSecurity" is unknown: it came with Kubernetes v1.22, and this is v1.21; take it out: no plugin reads this entry`, got.Ignored[0].Error())
}

func TestLoadAdmissionDefaults(t *testing.T) {
	head := restricted[:strings.Index(restricted, "  configuration")]
	got, err := LoadAdmission(release(t, "1.36"), "/etc/psa.yaml", []byte(head), files(nil))
	require.NoError(t, err)
	privileged := Level{"privileged", "latest"}
	assert.Equal(t, &PodSecurity{Enforce: privileged, Audit: privileged, Warn: privileged}, got.PodSecurity)
	assert.Nil(t, got.EventRateLimit)
}

// TestLoadAdmissionFiles follows path: from the admission file's directory.
func TestLoadAdmissionFiles(t *testing.T) {
	head := restricted[:strings.Index(restricted, "  configuration")]
	inner := "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\ndefaults:\n  enforce: baseline\n"
	read := files(map[string][]byte{"/etc/x/inner.yaml": []byte(inner), "/etc/bad.yaml": []byte(inner + "  enforced: x\n")})
	for _, name := range []string{"inner.yaml", "../x/inner.yaml", "/etc/x/inner.yaml"} {
		got, err := LoadAdmission(release(t, "1.36"), "/etc/x/psa.yaml", []byte(head+"  path: "+name+"\n"), read)
		require.NoError(t, err, name)
		assert.Equal(t, "baseline", got.PodSecurity.Enforce.Name)
	}
	_, err := LoadAdmission(release(t, "1.36"), "/etc/x/psa.yaml", []byte(head+"  path: /etc/bad.yaml\n"), read)
	require.ErrorContains(t, err, `/etc/bad.yaml:5: unknown field "defaults.enforced"`)
	_, err = LoadAdmission(release(t, "1.36"), "/etc/x/psa.yaml", []byte(head+"  path: none.yaml\n"), read)
	require.ErrorContains(t, err, "/etc/x/psa.yaml:5: couldn't open admission plugin configuration /etc/x/none.yaml: there is no such file")
}

// TestLoadAdmissionTellsAll finds everything at once.
func TestLoadAdmissionTellsAll(t *testing.T) {
	data := strings.Replace(restricted, `enforce: "restricted"`, `enforce: "strict"`, 1) + strings.Replace(limits, "qps: 50,", "qps: 0,", 1)
	data = strings.Replace(data, "[alice]", `[""]`, 1)
	_, err := LoadAdmission(release(t, "1.36"), "/etc/psa.yaml", []byte(data), files(nil))
	var lines []int
	for _, e := range Errors(err) {
		lines = append(lines, e.Line)
	}
	assert.Equal(t, []int{9, 13, 22}, lines)
}

// TestLoadAdmissionTooLarge keeps the parser's memory bounded.
func TestLoadAdmissionTooLarge(t *testing.T) {
	large := []byte(strings.Repeat("#", maxFileSize+1))
	_, err := LoadAdmission(release(t, "1.36"), "/etc/psa.yaml", large, files(nil))
	require.ErrorContains(t, err, "/etc/psa.yaml: the file has 4194305 bytes: no more than 4194304 are read")
	head := restricted[:strings.Index(restricted, "  configuration")] + "  path: /etc/large.yaml\n"
	_, err = LoadAdmission(release(t, "1.36"), "/etc/psa.yaml", []byte(head), files(map[string][]byte{"/etc/large.yaml": large}))
	require.ErrorContains(t, err, "/etc/psa.yaml:5: /etc/large.yaml: the file has 4194305 bytes")
}
