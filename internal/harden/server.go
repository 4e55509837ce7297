package harden

import (
	"fmt"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// server plans what only a server has.
func (p *planner) server() {
	c := p.c
	l := c.layout()
	p.write(directory(l.Server(), 0o700), directory(l.Manifests(), 0o700))
	if dir := auditDirectory(c); dir != "" {
		p.write(directory(dir, 0o700))
	} else if c.auditLog != "-" {
		p.warn("the audit log %s stands in a directory of the system, whose mode is left alone: give it one of its own with audit.log_path", c.auditLog)
	}
	p.policyFile(c.absolute(c.auditFile), "audit", c.asked.Audit.asked(), auditPolicy)
	if c.admissionFile != "" {
		p.policyFile(c.absolute(c.admissionFile), "pod_security or event_rate_limit", c.asked.PodSecurity.asked() || len(c.EventRateLimit) > 0, admission)
	}
	entries, err := networkPolicies(c, p.serviceLBSpace())
	p.add(err, entries...)
	if !c.NoServiceAccounts {
		e, err := serviceAccounts(c)
		p.add(err, e)
	}
	if c.usesPSP() {
		p.write(pspManifest(c))
	}
	for _, f := range c.NetworkPolicies.Manifests {
		p.write(file(c.manifest(baseName(f.Name)), 0o600, f.Data))
	}
}

// policyFile plans a file that an API server flag names. One that the node has
// under a path of its own choice is the user's: it stays unless options ask for
// another content.
func (p *planner) policyFile(name, options string, asked bool, build func(*choices) (node.Entry, error)) {
	e, err := build(p.c)
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	old, err := contentOf(p.current, name)
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	if old != nil && !ours(old) && string(old) != string(e.Data) && !p.c.Overwrite.Policies {
		if asked {
			p.errs = append(p.errs, fmt.Errorf("%s: the node has a policy of its own, and %s asks for another: remove one of them, or set overwrite = \"policies\" to replace the file", name, options))
			return
		}
		e.Data = old
		p.note("%s is the node's own and stays as it is", name)
	}
	e.Size = int64(len(e.Data))
	p.write(e)
}
