package deploy

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func TestCheckManifestName(t *testing.T) {
	for name, refused := range map[string]string{
		"/m/policy.yaml":              "",
		"/m/a/b/policy.yml":           "",
		"/m/policy.JSON":              "",
		"/m/cis-policy.v2.yaml":       "",
		"/m/traefik-config.yaml":      "",
		"/m/.policy.yaml":             "begin with a dot",
		"/m/policy.txt":               "files that end in .yaml, .yml, .json alone",
		"/m/policy":                   "files that end in",
		"/m/Policy.yaml":              `names the AddOn "Policy" after the file`,
		"/m/network_policy.yaml":      `names the AddOn "network_policy" after the file`,
		"/m/-policy.yaml":             `names the AddOn "-policy"`,
		"/m/traefik.yaml":             `an AddOn "traefik" of its own`,
		"/m/sub/coredns.cis.yaml":     `an AddOn "coredns" of its own`,
		"/m/auth-reader.yaml":         `an AddOn "auth-reader" of its own`,
		"/m/metrics-server/extra.yml": "",
	} {
		err := CheckManifestName(name)
		if refused == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, refused, name)
		assert.ErrorContains(t, err, name+": ", name)
	}
}

func TestCheckManifests(t *testing.T) {
	account := func(name string) []byte {
		return fmt.Appendf(nil, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s}\n", name)
	}
	const dir = "/var/lib/rancher/k3s/server/manifests"
	psp := []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n---\napiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata: {name: restricted}\nspec: {}\n")
	for _, test := range []struct {
		name, minor string
		manifests   []Manifest
		objects     []string
		problems    []string // origin: beginning of the text
	}{
		{name: "in order of paths", minor: "1.36", manifests: []Manifest{{dir + "/b.yaml", account("b")}, {dir + "/a/c.yaml", account("c")}}, objects: []string{"ServiceAccount c", "ServiceAccount b"}},
		{name: "what K3s passes over", minor: "1.36", manifests: []Manifest{{dir + "/.a.yaml", account("a")}, {dir + "/a.txt", account("a")}, {dir + "/b.yaml.skip", nil}, {dir + "/b.yaml", account("b")}}},
		{name: "skipped in another directory", minor: "1.36", manifests: []Manifest{{dir + "/b.yaml.skip", nil}, {dir + "/sub/b.yaml", account("b")}}},
		{name: "what K3s writes itself", minor: "1.36", manifests: []Manifest{{dir + "/coredns.yaml", []byte("%{CLUSTER_DNS}%")}, {dir + "/metrics-server/auth-reader.yaml", []byte("x")}}},
		{
			name: "K3s's name elsewhere", minor: "1.36", manifests: []Manifest{{dir + "/mine/coredns.yaml", account("a")}},
			problems: []string{dir + `/mine/coredns.yaml: K3s has an AddOn "coredns" of its own`},
		},
		{
			name: "one AddOn twice", minor: "1.36", manifests: []Manifest{{dir + "/policy.yaml", account("a")}, {dir + "/policy.cis.yaml", account("b")}}, objects: []string{"ServiceAccount b", "ServiceAccount a"},
			problems: []string{dir + `/policy.yaml: K3s takes this file and ` + dir + `/policy.cis.yaml for the same AddOn "policy"`},
		},
		{
			name: "a file that does not parse", minor: "1.36", manifests: []Manifest{{dir + "/a.yaml", []byte("kind: [\n")}, {dir + "/b.yaml", account("b")}}, objects: []string{"ServiceAccount b"},
			problems: []string{dir + "/a.yaml:1: did not find expected node content"},
		},
		{name: "PodSecurityPolicy while it lives", minor: "1.24", manifests: []Manifest{{dir + "/psp.yaml", psp}}, objects: []string{"Namespace ns", "PodSecurityPolicy restricted"}},
		{
			name: "PodSecurityPolicy after that", minor: "1.25", manifests: []Manifest{{dir + "/psp.yaml", psp}}, objects: []string{"Namespace ns", "PodSecurityPolicy restricted"},
			problems: []string{dir + "/psp.yaml:5: Kubernetes v1.25 removed PodSecurityPolicy of policy/v1beta1, and this is v1.25"},
		},
		{
			name: "a version that is gone", minor: "1.22", manifests: []Manifest{{dir + "/i.yaml", []byte("apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: i}\n")}}, objects: []string{"Ingress i"},
			problems: []string{dir + "/i.yaml:1: Kubernetes v1.22 removed Ingress of extensions/v1beta1, and this is v1.22: K3s tries this file again every 15 seconds and never records it as deployed; write networking.k8s.io/v1"},
		},
		{
			name: "a version that is not there yet", minor: "1.20", manifests: []Manifest{{dir + "/c.yaml", []byte("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\n")}}, objects: []string{"CronJob c"},
			problems: []string{dir + "/c.yaml:1: Kubernetes v1.21 brought CronJob of batch/v1, and this is v1.20"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			objects, problems := CheckManifests(release(t, test.minor), dir, test.manifests)
			var got []string
			for _, o := range objects {
				got = append(got, o.String())
			}
			assert.Equal(t, test.objects, got)
			require.Len(t, problems, len(test.problems), "%v", problems)
			for i, p := range problems {
				assert.Equal(t, k3s.Ignored, p.Consequence)
				assert.Contains(t, p.Origin.String()+": "+p.Text, test.problems[i])
			}
		})
	}
}

func release(t *testing.T, minor string) k3s.Release {
	t.Helper()
	r, err := k3s.ParseRelease("v" + minor + ".0+k3s1")
	require.NoError(t, err)
	return r
}
