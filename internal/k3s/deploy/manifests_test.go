package deploy

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
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
	}
}

func TestReadManifests(t *testing.T) {
	account := func(name string) []byte {
		return fmt.Appendf(nil, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s}\n", name)
	}
	const dir = "/var/lib/rancher/k3s/server/manifests"
	file := func(name string, data []byte) node.Entry {
		if data == nil {
			data = []byte{}
		}
		return node.Entry{Path: dir + name, Kind: node.KindFile, Data: data}
	}
	psp := []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n---\napiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata: {name: restricted}\nspec: {}\n")
	for _, test := range []struct {
		name, minor      string
		manifests        []node.Entry
		objects          []string
		disable, deleted []string
		problems         []string // origin: beginning of the text
	}{
		{name: "in order of paths", minor: "1.36", manifests: []node.Entry{file("/b.yaml", account("b")), file("/a/c.yaml", account("c"))}, objects: []string{"ServiceAccount c", "ServiceAccount b"}},
		{name: "what K3s passes over", minor: "1.36", manifests: []node.Entry{file("/.a.yaml", account("a")), file("/a.txt", account("a")), file("/b.yaml.skip", nil), file("/b.yaml", account("b"))}},
		{name: "skipped in another directory", minor: "1.36", manifests: []node.Entry{file("/b.yaml.skip", nil), file("/sub/b.yaml", account("b"))}},
		{name: "what K3s writes itself", minor: "1.36", manifests: []node.Entry{file("/coredns.yaml", []byte("%{CLUSTER_DNS}%")), file("/metrics-server/auth-reader.yaml", []byte("x"))}},
		{
			name: "K3s's name elsewhere", minor: "1.36", manifests: []node.Entry{file("/mine/coredns.yaml", account("a"))},
			problems: []string{dir + `/mine/coredns.yaml: K3s has an AddOn "coredns" of its own`},
		},
		{
			name: "one AddOn twice", minor: "1.36", manifests: []node.Entry{file("/policy.yaml", account("a")), file("/policy.cis.yaml", account("b"))}, objects: []string{"ServiceAccount b", "ServiceAccount a"},
			problems: []string{dir + `/policy.yaml: K3s takes this file and ` + dir + `/policy.cis.yaml for the same AddOn "policy"`},
		},
		{
			name: "a file that does not parse", minor: "1.36", manifests: []node.Entry{file("/a.yaml", []byte("kind: [\n")), file("/b.yaml", account("b"))}, objects: []string{"ServiceAccount b"},
			problems: []string{dir + "/a.yaml:1: did not find expected node content"},
		},
		{name: "PodSecurityPolicy while it lives", minor: "1.24", manifests: []node.Entry{file("/psp.yaml", psp)}, objects: []string{"Namespace ns", "PodSecurityPolicy restricted"}},
		{
			name: "PodSecurityPolicy after that", minor: "1.25", manifests: []node.Entry{file("/psp.yaml", psp)}, objects: []string{"Namespace ns", "PodSecurityPolicy restricted"},
			problems: []string{dir + "/psp.yaml:5: Kubernetes v1.25 removed PodSecurityPolicy of policy/v1beta1, and this is v1.25"},
		},
		{
			name: "a version that is gone", minor: "1.22", manifests: []node.Entry{file("/i.yaml", []byte("apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: i}\n"))}, objects: []string{"Ingress i"},
			problems: []string{dir + "/i.yaml:1: Kubernetes v1.22 removed Ingress of extensions/v1beta1, and this is v1.22: K3s tries this file again every 15 seconds and never records it as deployed; write networking.k8s.io/v1"},
		},
		{
			name: "a version that is not there yet", minor: "1.20", manifests: []node.Entry{file("/c.yaml", []byte("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\n"))}, objects: []string{"CronJob c"},
			problems: []string{dir + "/c.yaml:1: Kubernetes v1.21 brought CronJob of batch/v1, and this is v1.20"},
		},
		{
			name: "a name that is disabled", minor: "1.36", manifests: []node.Entry{file("/foo.yaml", account("a")), file("/foo.bar.yaml", account("b")), file("/foo.JSON", account("c")), file("/sub/foo.yml", account("d")), file("/foo.txt", nil)},
			disable: []string{"traefik, foo"}, deleted: []string{"/foo.JSON", "/foo.yaml", "/sub/foo.yml"}, objects: []string{"ServiceAccount b"},
		},
		{
			name: "a directory that is disabled", minor: "1.36", manifests: []node.Entry{file("/myapp/x.yaml", account("a")), file("/myapp/deep/y.yaml", account("b")), file("/myapp2/x1.yaml", account("c"))},
			disable: []string{"myapp"}, deleted: []string{"/myapp/deep/y.yaml", "/myapp/x.yaml"}, objects: []string{"ServiceAccount c"},
		},
		{
			name: "a directory in a directory that is disabled", minor: "1.36", manifests: []node.Entry{file("/a/b/x.yaml", account("a")), file("/a/y.yaml", account("b")), file("/b/z.yaml", account("c"))},
			disable: []string{"a/b"}, deleted: []string{"/a/b/x.yaml"}, objects: []string{"ServiceAccount b", "ServiceAccount c"},
		},
		{
			name: "K3s's own may be disabled", minor: "1.36", manifests: []node.Entry{file("/traefik.yaml", account("a")), file("/metrics-server/auth-reader.yaml", account("b"))},
			disable: []string{"traefik", "metrics-server"},
		},
		{
			name: "a comma too many deletes everything", minor: "1.36", manifests: []node.Entry{file("/foo.yaml", account("a")), file("/sub/bar.yaml", account("b"))},
			disable: []string{"traefik,"}, deleted: []string{"/foo.yaml", "/sub/bar.yaml"}, problems: []string{"/c.yaml:7: disable has an item without a name"},
		},
		{
			name: "an empty name is one, also before any manifest is there", minor: "1.36",
			disable: []string{""}, problems: []string{"/c.yaml:7: disable has an item without a name"},
		},
		{
			name: "a link that leads nowhere ends the walk", minor: "1.36", manifests: []node.Entry{file("/foo.yaml", account("a")), {Path: dir + "/old.txt", Kind: node.KindLink, Target: "../gone"}},
			problems: []string{dir + "/old.txt: is a symbolic link to ../gone, which is not there"},
		},
		{
			name: "a pipe", minor: "1.36", manifests: []node.Entry{{Path: dir + "/a.yaml", Kind: node.KindOther}, file("/b.yaml", account("b"))}, objects: []string{"ServiceAccount b"},
			problems: []string{dir + "/a.yaml: is not a regular file"},
		},
		{
			name: "one object twice, alike", minor: "1.36", manifests: []node.Entry{file("/a.yaml", account("a")), file("/b.yaml", append([]byte("# the same\n"), account("a")...))}, objects: []string{"ServiceAccount a", "ServiceAccount a"},
		},
		{
			name: "one object twice, not alike", minor: "1.36", manifests: []node.Entry{file("/a.yaml", account("a")), file("/b.yaml", append(account("a"), []byte("automountServiceAccountToken: false\n")...))}, objects: []string{"ServiceAccount a", "ServiceAccount a"},
			problems: []string{dir + "/b.yaml:1: ServiceAccount a is defined otherwise at " + dir + "/a.yaml:1"},
		},
		{
			name: "one kind of one's own twice", minor: "1.36", manifests: []node.Entry{file("/a.yaml", []byte("apiVersion: x.example/v1\nkind: Thing\nmetadata: {name: t, namespace: default}\n")), file("/b.yaml", []byte("apiVersion: x.example/v2\nkind: Thing\nmetadata: {name: t}\n"))}, objects: []string{"Thing default/t", "Thing t"},
			problems: []string{dir + "/b.yaml:1: Thing t is defined otherwise"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			// As a node gives them.
			sorted := node.New(nil, test.manifests).Entries()
			m, err := ReadManifests(release(t, test.minor), dir, sorted, Disables(disabling(test.disable...)))
			require.NoError(t, err)
			var got []string
			for _, o := range m.Objects {
				got = append(got, o.String())
			}
			assert.Equal(t, test.objects, got)
			require.Len(t, m.Problems, len(test.problems), "%v", m.Problems)
			assert.Equal(t, test.deleted, paths(m.Deleted))
			for i, p := range m.Problems {
				assert.Equal(t, k3s.Ignored, p.Consequence)
				assert.Contains(t, p.Origin.String()+": "+p.Text, test.problems[i])
			}
		})
	}
}

func TestTooManyManifests(t *testing.T) {
	const dir = "/var/lib/rancher/k3s/server/manifests"
	files := make([]node.Entry, maxManifests+1)
	for i := range files {
		files[i] = node.Entry{Path: fmt.Sprintf("%s/%d.yaml", dir, i), Kind: node.KindFile, Data: []byte{}}
	}
	for name, c := range map[string]struct {
		files   []node.Entry
		refused bool
	}{
		"as many as are judged": {files[1:], false},
		"one file more":         {files, true},
		"too many documents":    {[]node.Entry{{Path: dir + "/a.yaml", Kind: node.KindFile, Data: bytes.Repeat([]byte("\n---"), maxDocuments)}}, true},
		"too many bytes":        {[]node.Entry{{Path: dir + "/a.yaml", Kind: node.KindFile, Data: make([]byte, maxManifestSize+1)}}, true},
		"what is passed over":   {[]node.Entry{{Path: dir + "/a.txt", Kind: node.KindFile, Data: make([]byte, maxManifestSize+1)}}, false},
	} {
		_, err := ReadManifests(release(t, "1.36"), dir, c.files, nil)
		if c.refused {
			require.ErrorContains(t, err, "are more than the 2000 manifests", name)
			continue
		}
		require.NoError(t, err, name)
	}
}

// disabling is a configuration whose key disable has these items.
func disabling(items ...string) *k3s.Effective {
	var values []k3s.Value
	for _, item := range items {
		values = append(values, k3s.Value{Text: item, Origin: k3s.Origin{Source: "/c.yaml", Line: 7}})
	}
	return &k3s.Effective{Settings: map[string]k3s.Setting{"disable": {Values: values}}}
}

// paths are those of deleted files, below the directory.
func paths(deleted []Deleted) []string {
	var out []string
	for _, d := range deleted {
		out = append(out, strings.TrimPrefix(d.Path, "/var/lib/rancher/k3s/server/manifests"))
	}
	return out
}

func TestImageArchives(t *testing.T) {
	const dir = "/var/lib/rancher/k3s/agent/images"
	for name, imported := range map[string]bool{
		"/a.tar": true, "/a.tar.zst": true, "/a.tgz": true, "/a.tbz": true, "/a.tar.lz4": true, "/.tar.gz": true,
		"/.gitkeep": false, "/README": false, "/a.txt": false, "/.cache.json": false, "/sub/a.tar": false, "/a.TAR": false,
	} {
		n := node.New(nil, []node.Entry{{Path: dir + name, Kind: node.KindFile}})
		assert.Equal(t, imported, len(ImageArchives(n, dir)) == 1, name)
	}
}

func release(t *testing.T, minor string) k3s.Release {
	t.Helper()
	r, err := k3s.ParseRelease("v" + minor + ".0+k3s1")
	require.NoError(t, err)
	return r
}
