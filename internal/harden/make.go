package harden

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s/configfile"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Query returns what Make wants to know of a node.
func Query(o Options) node.Query {
	o = o.longKeys()
	q := node.Query{
		{Path: sysctlFile, Content: true},
		{Path: moreSysctlFile, Content: true},
		{Path: k3s.PodSecurityFile, Content: true},
		{Path: k3s.AuditPolicyFile, Content: true},
		{Path: k3s.RegistriesFile, Content: true},
	}
	for _, role := range o.Role.Roles() {
		q = append(q, below(role, dataDir(o, nil))...)
		q = append(q, k3s.Query(role, "")...)
	}
	if o.Role == k3s.Both {
		q = append(q, node.Pick{Path: agentConfig, Content: true}, k3s.DropIns(agentConfig))
	}
	return q
}

// below is what Make wants to know of a data directory.
func below(role k3s.Role, dir string) node.Query {
	l := k3s.LayoutOf(dir)
	q := append(node.Query{{Path: l.Root()}, {Path: l.Server()}, {Path: l.Agent()}}, k3s.Query(role, dir)...)
	if role == k3s.Agent {
		return q
	}
	return append(q,
		// What K3s made there at an earlier start: of keys nothing but their modes.
		node.Pick{Path: l.TLS(), Depth: node.Deep}, node.Pick{Path: l.Cred(), Depth: node.Deep},
		node.Pick{Path: l.Logs()}, node.Pick{Path: l.Images(), Depth: 1},
		// Where the guide keeps its policies.
		node.Pick{Path: l.PodSecurityFile(), Content: true}, node.Pick{Path: l.AuditPolicyFile(), Content: true},
		node.Pick{Path: l.Manifests(), Depth: node.Deep, Content: true})
}

// Make plans from options and from what the node has. A nil node stands for
// one that has no K3s configuration; the plan then assumes that. The error
// lists everything that is wrong, each with option or file and line, what was
// found and what would be right. An *Incomplete asks for more of the node.
func Make(o Options, current *node.Node) (*Plan, error) {
	if o.Role != k3s.Server && o.Role != k3s.Agent && o.Role != k3s.Both {
		return nil, fmt.Errorf("role: %q is not one of %s, %s, %s", o.Role, k3s.Server, k3s.Agent, k3s.Both)
	}
	if o.Release == (k3s.Release{}) {
		return nil, errors.New("k3s_version: is missing: write the release the node will run, such as v1.36.3+k3s1")
	}
	if err := errors.Join(o.Validate()...); err != nil {
		return nil, err
	}
	o = o.longKeys()
	if o.Role == k3s.Both {
		return makeBoth(o, current)
	}
	p := &planner{current: current, plan: &Plan{}}
	if err := p.look(o); err != nil {
		return nil, err
	}
	if err := p.choose(o); err != nil {
		return nil, err
	}
	ws := p.draft()
	p.finish(ws)
	return p.result()
}

// choose fills in what the options leave open and reads the node's configuration.
func (p *planner) choose(o Options) (err error) {
	p.c = choose(o, p.eff)
	p.m, err = newMerger(o, p.current, p.eff)
	return err
}

// planner is one run of Make.
type planner struct {
	current *node.Node
	eff     *k3s.Effective
	c       *choices
	m       *merger
	plan    *Plan
	errs    []error
	// shared is what the service reads before it is given a configuration of its
	// own; nil where it has one.
	shared *k3s.Effective
	// kubelet is what the kubelet will be configured by.
	kubelet *k3s.Effective
	// known are the problems that were told already.
	known []k3s.Problem
}

// look finds out what the node says of itself.
func (p *planner) look(o Options) error {
	if p.current == nil {
		return nil
	}
	eff, err := k3s.ResolveDeclared(p.current, o.Release, o.Role, o.K3sCommand)
	if err != nil {
		return err
	}
	own := ownDropIn(eff.ConfigFile)
	if _, presence := p.current.Lookup(own); presence == node.Present && o.Layout != LayoutDropIn && !foreign(p.current, own) {
		// It is removed, so that it says nothing of the node any more.
		if eff, err = k3s.ResolveDeclared(p.current.Without(own), o.Release, o.Role, o.K3sCommand); err != nil {
			return err
		}
	}
	if eff.Wrapper != (k3s.Origin{}) {
		return fmt.Errorf("k3s_command: %s: the service starts K3s through another program, and what that runs decides what the node needs: start k3s directly, or declare what is run, such as k3s_command = \"%s --config %s\"",
			eff.Wrapper, o.Role, k3s.ConfigFile)
	}
	p.eff = eff
	missing := eff.Missing
	dir := dataDir(o, eff)
	if _, presence := p.current.Lookup(k3s.LayoutOf(dir).Server()); presence == node.Unknown {
		missing = append(missing, below(o.Role, dir)...)
	}
	if len(missing) > 0 {
		return &Incomplete{missing}
	}
	return nil
}

// draft fills in what the plan writes, and returns what it is to bring about.
func (p *planner) draft() []desired {
	if warning, _ := p.c.Release.Supported(); warning != "" {
		p.warn("%s", warning)
	}
	old, err := contentOf(p.current, sysctlFile)
	if err != nil {
		p.errs = append(p.errs, err)
	}
	entries, kernel := sysctls(p.c, old)
	p.plan.Change.Kernel = kernel
	p.write(entries...)

	ws, warnings := p.c.desired()
	ws = append(ws, p.anchor()...)
	ws = append(ws, p.carried(ws)...)
	p.plan.Warnings = append(p.plan.Warnings, warnings...)
	if p.c.Role == k3s.Server {
		p.m.keepEnabled(p.c.enabledPlugins())
	}
	p.m.merge(ws)
	p.errs = append(p.errs, p.m.errs...)
	for _, d := range p.m.docs {
		p.document(d)
	}
	p.write(directory(p.c.layout().Root(), 0o755), directory(p.c.layout().Agent(), 0o700))
	if p.c.Role == k3s.Server {
		p.server()
	}
	p.afterStart()
	p.madeAlready()
	p.kubeletFiles()
	p.tighten()
	sort.SliceStable(p.plan.Change.Write, func(i, j int) bool {
		return p.plan.Change.Write[i].Path < p.plan.Change.Write[j].Path
	})
	return ws
}

// finish fills in the rest of the plan once all is known that it writes.
func (p *planner) finish(ws []desired) {
	p.remove()
	p.keep()
	p.verify(ws)
	p.preconditions()
}

// document plans one configuration file. Drop-ins are written only when they
// were edited; the main file always gets its mode.
func (p *planner) document(d *configfile.Document) {
	main := d == p.m.docs[0]
	if !d.Edited() && (!main || !d.Present) {
		return
	}
	data, err := d.Render(addedComment)
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	switch {
	case d == p.m.own:
		data = append([]byte(header+"\n"+dropInComment+"\n"), data...)
	case !d.Present:
		data = append([]byte(header+"\n"+configComment+"\n"), data...)
	}
	p.write(file(d.Path, 0o600, data))
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
