package k3s

import (
	"net/url"
	"strings"
)

// ReleasesURL is below which K3s's releases are published, each in a directory of its
// tag (install.sh, INSTALL_K3S_ARTIFACT_URL).
const ReleasesURL = "https://github.com/k3s-io/k3s/releases/download"

// artifacts are the files of a release by architecture, as Go names it: the binary and
// the list of SHA-256 sums (install.sh, setup_verify_arch).
var artifacts = map[string]struct{ binary, sums string }{
	"amd64": {"k3s", "sha256sum-amd64.txt"},
	"arm64": {"k3s-arm64", "sha256sum-arm64.txt"},
	"arm":   {"k3s-armhf", "sha256sum-arm.txt"},
	"s390x": {"k3s-s390x", "sha256sum-s390x.txt"},
}

// Artifacts are the addresses of a release's binary and of its list of SHA-256 sums
// below base; false for an architecture that K3s publishes nothing for.
func (r Release) Artifacts(base, architecture string) (binary, sums string, published bool) {
	a, published := artifacts[architecture]
	dir := strings.TrimSuffix(base, "/") + "/" + strings.ReplaceAll(url.PathEscape(r.String()), "+", "%2B") + "/"
	return dir + a.binary, dir + a.sums, published
}
