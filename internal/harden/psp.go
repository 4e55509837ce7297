package harden

import (
	_ "embed"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

//go:embed files/pod-security-policies.yaml
var podSecurityPolicies []byte

// pspManifest plans the PodSecurityPolicies of releases before v1.25.
func pspManifest(c *choices) node.Entry {
	return file(c.manifest(podPoliciesManifest), 0o600, append([]byte(header+"\n"), podSecurityPolicies...))
}
