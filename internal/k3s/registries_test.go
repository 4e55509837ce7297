package k3s

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckRegistries(t *testing.T) {
	for text, want := range map[string]string{
		"mirrors:\n  docker.io:\n    endpoint: [https://mirror]\n    rewrite: {\"^rancher/(.*)\": \"own/$1\"}\n": "",
		"configs:\n  mirror:5000:\n    tls: {ca_file: /etc/ca.pem, insecure_skip_verify: false}\n":               "",
		"configs:\n  mirror:5000:\n    auth: {username: u, password: p}\n":                                       "",
		"mirrors:\n  \"*\":\n":                                      "",
		"mirror:\n  docker.io: {}\n":                                "field mirror not found",
		"mirrors:\n  docker.io:\n    endpoints: [https://mirror]\n": "line 3: field endpoints not found",
		"mirrors: [docker.io]\n":                                    "cannot unmarshal",
		"mirrors: {\n":                                              "K3s does not read it",
		"":                                                          "it says nothing",
		strings.Repeat("#", MaxConfigSize+1):                        "more than 512 KiB",
	} {
		err := CheckRegistries([]byte(text))
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want)
	}
}

func FuzzCheckRegistries(f *testing.F) {
	f.Add([]byte("mirrors:\n  a: &a {endpoint: [b]}\n  c: *a\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { _ = CheckRegistries(data) })
}

func TestArtifacts(t *testing.T) {
	r, err := ParseRelease("v1.36.3-rc1+k3s1")
	require.NoError(t, err)
	binary, sums, published := r.Artifacts(ReleasesURL, "arm")
	assert.True(t, published)
	assert.Equal(t, "https://github.com/k3s-io/k3s/releases/download/v1.36.3-rc1%2Bk3s1/k3s-armhf", binary)
	assert.Equal(t, "https://github.com/k3s-io/k3s/releases/download/v1.36.3-rc1%2Bk3s1/sha256sum-arm.txt", sums)
	_, _, published = r.Artifacts("https://mirror/", "mips")
	assert.False(t, published)
}
