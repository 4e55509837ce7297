package kube

import (
	"k8s.io/apiserver/pkg/apis/audit"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// AuditPolicy is an audit policy as the API server understood it.
type AuditPolicy struct {
	// Policy has at least one rule, all valid.
	Policy *audit.Policy
	// Ignored tells of fields that the API server drops with no more than a
	// line in its log, each with the file and line.
	Ignored []*Error
}

// LoadAuditPolicy reads an audit policy file (--audit-policy-file) as the API
// server of release r does. name is used in errors. An error joins *Error
// values, one for each thing that would make the API server exit.
func LoadAuditPolicy(r k3s.Release, name string, data []byte) (*AuditPolicy, error) {
	panic("not written yet")
}
