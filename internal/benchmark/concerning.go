package benchmark

import (
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Concerning returns the ids of a benchmark's controls that a flag of a
// component decides, or, where component is empty, a key of K3s's own
// configuration; in the order of the catalogue. A flag that names a file
// decides the controls that rest on the file.
func Concerning(benchmark string, component k3s.Component, name string) []string {
	var ids []string
	for _, c := range controlsOf(benchmark) {
		decides := func(e expectation) bool { return decidedBy(e, component, name) }
		if !slices.ContainsFunc(c.expect, decides) {
			continue
		}
		id := c.ID(benchmark)
		if id == "" {
			id = c.Key
		}
		ids = append(ids, id)
	}
	return ids
}

// decidedBy says whether an expectation looks at a flag or key.
func decidedBy(e expectation, component k3s.Component, name string) bool {
	switch e := e.(type) {
	case argument:
		if component == "" {
			return e.shows == name
		}
		return e.program == component && (e.flag == name || e.moved != nil && e.moved.flag == name)
	case setting:
		return component == "" && e.key == name
	case podSecurity, eventRateLimit:
		return component == k3s.APIServer && name == "admission-control-config-file"
	case auditPolicy:
		return component == k3s.APIServer && name == "audit-policy-file"
	case k3sCheck:
		return component == "" && e.name == "network-policies" && slices.Contains(policyKeys, name)
	case encryption:
		return component == "" && (name == "secrets-encryption" || name == "secrets-encryption-provider")
	}
	return false
}
