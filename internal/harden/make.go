package harden

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// keepSuffix marks the copy of a file that was replaced. None of the programs
// that read these directories takes a file with this ending.
const keepSuffix = ".before-k3s-cis"

// planner is one run of Make.
type planner struct {
	have *node.Node
	eff  *k3s.Effective
	c    *choices
	m    *merger
	plan *Plan
	errs []error
}

// plan fills in the plan for a node.
func (p *planner) make() {
	entries, kernel := sysctls(p.c)
	p.plan.Change.Kernel = kernel
	p.write(entries...)

	ws, warnings := p.c.wants()
	p.plan.Warnings = append(p.plan.Warnings, warnings...)
	p.m.merge(ws)
	p.errs = append(p.errs, p.m.errs...)
	for _, d := range p.m.docs {
		p.document(d)
	}
	p.write(directory(p.c.layout().Root(), 0o755))
	if p.c.Role == k3s.Server {
		p.server()
	}
	sort.SliceStable(p.plan.Change.Write, func(i, j int) bool {
		return p.plan.Change.Write[i].Path < p.plan.Change.Write[j].Path
	})
	p.keep()
	p.assume()
}

// document plans one configuration file. Drop-ins are written only when they
// were edited; the main file always gets its mode.
func (p *planner) document(d *document) {
	main := d == p.m.docs[0]
	if !main && len(d.changed) == 0 {
		return
	}
	data, err := d.render()
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	if !d.present {
		data = append([]byte(header+"\n# K3s CIS hardening guide, \"Configuration for Kubernetes Components\".\n"), data...)
	}
	p.write(file(d.path, 0o600, data))
}

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
	p.policyFile(c.auditFile, "audit", c.Audit.asked(), auditPolicy)
	if c.admissionFile != "" {
		p.policyFile(c.admissionFile, "pod_security or event_rate_limit", c.PodSecurity.asked() || len(c.EventRateLimit) > 0, admission)
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
		p.write(file(c.manifest(path.Base(strings.ReplaceAll(f.Name, `\`, "/"))), 0o600, f.Data))
	}
	p.notes()
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
	old, err := contentOf(p.have, name)
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	if old != nil && !ours(old) && string(old) != string(e.Data) && !p.c.Overwrite {
		if asked {
			p.errs = append(p.errs, fmt.Errorf("%s: the node has a policy of its own, and %s asks for another: remove one of them, or set overwrite = true to replace the file", name, options))
			return
		}
		e.Data = old
		p.note("%s is the node's own and stays as it is", name)
	}
	e.Size = int64(len(e.Data))
	p.write(e)
}

// serviceLBSpace is the namespace of the service load balancer's pods.
func (p *planner) serviceLBSpace() string {
	if v, ok := p.c.Config["servicelb-namespace"].(string); ok {
		return v
	}
	if p.eff != nil {
		if vs := p.eff.Settings["servicelb-namespace"].Values; len(vs) > 0 {
			return vs[len(vs)-1].Text
		}
	}
	return kubeSystem
}

// notes tells what the plan does that a user may not expect.
func (p *planner) notes() {
	p.note("the policy of namespace default also keeps Traefik from pods there: add a policy of your own for what Traefik is to reach")
	if more := p.c.moreNamespaces(); len(more) > 0 {
		p.note("the policies of %s are applied once these namespaces exist; until then K3s retries them every 15 seconds", enumerate(more, 5))
	}
}

// keep asks for a copy of each file that is not ours and becomes another.
func (p *planner) keep() {
	for _, e := range p.plan.Change.Write {
		if e.Kind != node.KindFile || p.have == nil {
			continue
		}
		old, presence := p.have.Lookup(e.Path)
		if presence != node.Present || old.Kind != node.KindFile || old.Data == nil || ours(old.Data) || string(old.Data) == string(e.Data) {
			continue
		}
		if p.plan.Change.Keep == nil {
			p.plan.Change.Keep = map[string]string{}
		}
		p.plan.Change.Keep[e.Path] = e.Path + keepSuffix
	}
}

func (p *planner) write(es ...node.Entry) {
	for _, e := range es {
		i := slices.IndexFunc(p.plan.Change.Write, func(o node.Entry) bool { return o.Path == e.Path })
		if i < 0 {
			p.plan.Change.Write = append(p.plan.Change.Write, e)
		}
	}
}

func (p *planner) add(err error, es ...node.Entry) {
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	p.write(es...)
}

func (p *planner) note(format string, a ...any) {
	p.plan.Notes = append(p.plan.Notes, fmt.Sprintf(format, a...))
}

func (p *planner) warn(format string, a ...any) {
	p.plan.Warnings = append(p.plan.Warnings, fmt.Sprintf(format, a...))
}

// result is the plan, or everything that is wrong with it. What was not
// collected comes first: it may well explain the rest.
func (p *planner) result() (*Plan, error) {
	var missing node.Query
	for _, err := range p.errs {
		var inc *Incomplete
		if errors.As(err, &inc) {
			missing = append(missing, inc.Query...)
		}
	}
	if len(missing) > 0 {
		return nil, &Incomplete{missing}
	}
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	return p.plan, nil
}

// enumerate joins names for a message, the first few of many.
func enumerate(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
