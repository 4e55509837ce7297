package harden

import (
	_ "embed"
	"path"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

//go:embed files/audit-recommended.yaml
var recommendedAudit []byte

// auditPolicy plans the API server's audit policy.
func auditPolicy(c *choices) (node.Entry, error) {
	if c.Audit.Policy != nil {
		return file(c.absolute(c.auditFile), 0o600, c.Audit.Policy.Data), nil
	}
	if c.Audit.Profile == "recommended" {
		return file(c.absolute(c.auditFile), 0o600, append([]byte(header+"\n"), recommendedAudit...)), nil
	}
	type rule struct {
		Level string `yaml:"level"`
	}
	data, err := yamlFile(`# K3s CIS hardening guide, "API Server audit configuration".`, struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
		Rules      []rule `yaml:"rules"`
	}{"audit.k8s.io/v1", "Policy", []rule{{c.Audit.Level}}})
	return file(c.absolute(c.auditFile), 0o600, data), err
}

// auditDirectory is the directory of the log, to be made 0700; "" when there is
// none to make (standard output) or it is not ours to change.
func auditDirectory(c *choices) string {
	dir := path.Dir(c.absolute(c.auditLog))
	if c.auditLog == "-" || c.layout().Shared(dir) || dir == c.layout().Server() {
		return ""
	}
	return dir
}
