package harden

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// agentConfig is the configuration file of the agent on a node that can become
// either. An agent exits on what is for servers only, and both services read
// config.yaml unless one of them is told otherwise (K3S_CONFIG_FILE).
const agentConfig = k3s.ConfigDir + "/agent.yaml"

// forRole are the options as far as they concern one role of an image that
// serves both.
func (o Options) forRole(role k3s.Role) Options {
	if o.Role != k3s.Both {
		return o
	}
	o.Role = role
	o.Config = maps.Clone(o.Config)
	maps.DeleteFunc(o.Config, func(name string, _ any) bool {
		key, known := k3s.FindKey(strings.TrimSuffix(name, "+"))
		return known && key.Only != "" && key.Only != role
	})
	if role == k3s.Server {
		return o
	}
	o.PodSecurity, o.Audit, o.EventRateLimit, o.NetworkPolicies = PodSecurity{}, Audit{}, nil, NetworkPolicies{}
	o.SecretsEncryptionProvider, o.DenyServiceExternalIPs = "", nil
	o.Args = maps.Clone(o.Args)
	maps.DeleteFunc(o.Args, func(c k3s.Component, _ []string) bool { return !agentMay(k3s.ArgumentKey(c)) })
	return o
}

// validateBoth is what is wrong with the options for either role.
func (o Options) validateBoth() []error {
	var errs []error
	if o.K3sCommand != "" {
		errs = append(errs, fmt.Errorf("k3s_command: tells what one service runs, and an image for both roles has two: let the services start k3s directly"))
		o.K3sCommand = ""
	}
	for _, role := range o.Role.Roles() {
		for _, err := range o.forRole(role).Validate() {
			if !slices.ContainsFunc(errs, func(e error) bool { return e.Error() == err.Error() }) {
				errs = append(errs, err)
			}
		}
	}
	return errs
}

// makeBoth plans for an image whose nodes become server or agent. Each service
// gets what its role has, and a configuration file that the other does not read.
func makeBoth(o Options, current *node.Node) (*Plan, error) {
	if current == nil {
		return nil, &Incomplete{Query(o)}
	}
	server := &planner{current: current, plan: &Plan{}}
	agent := &planner{current: current, plan: &Plan{}}
	if err := together(server.look(o.forRole(k3s.Server)), agent.look(o.forRole(k3s.Agent))); err != nil {
		return nil, err
	}
	for role, p := range map[k3s.Role]*planner{k3s.Server: server, k3s.Agent: agent} {
		if p.eff.Service == nil {
			return nil, fmt.Errorf("role: %q wants a service that runs k3s %s, and the image has none: K3s's installer makes it without starting anything with INSTALL_K3S_EXEC=%s INSTALL_K3S_SKIP_START=true INSTALL_K3S_SKIP_ENABLE=true", k3s.Both, role, role)
		}
	}
	if err := agent.part(o, server); err != nil {
		return nil, err
	}
	if err := together(server.choose(o.forRole(k3s.Server)), agent.choose(o.forRole(k3s.Agent))); err != nil {
		return nil, err
	}
	forServer, forAgent := server.draft(), agent.draft()
	server.write(agent.plan.Change.Write...)
	slices.SortStableFunc(server.plan.Change.Write, func(a, b node.Entry) int { return strings.Compare(a.Path, b.Path) })
	agent.plan.Change.Write = server.plan.Change.Write
	agent.current = current
	server.finish(forServer)
	agent.finish(forAgent)
	plan, err := server.result()
	more, agentErr := agent.result()
	if err := together(err, agentErr); err != nil {
		return nil, err
	}
	plan.join(more)
	return plan, nil
}

// together joins the errors of two planners, each once. What one or both miss of
// the node comes first.
func together(errs ...error) error {
	var missing node.Query
	var all []error
	var texts []string
	for _, err := range errs {
		var inc *Incomplete
		if errors.As(err, &inc) {
			missing = append(missing, inc.Query...)
		}
		for _, e := range apart(err) {
			if !slices.Contains(texts, e.Error()) {
				texts, all = append(texts, e.Error()), append(all, e)
			}
		}
	}
	if len(missing) > 0 {
		return &Incomplete{missing}
	}
	return errors.Join(all...)
}

// apart takes apart what errors.Join put together.
func apart(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, apart(e)...)
	}
	return out
}

// part gives the agent a configuration file of its own where it reads the
// server's.
func (p *planner) part(o Options, server *planner) error {
	same := func() bool { return path.Clean(p.eff.ConfigFile) == path.Clean(server.eff.ConfigFile) }
	if !same() {
		return nil
	}
	p.shared = p.eff
	e, err := ownEnvironment(p.current, p.eff)
	if err != nil {
		return err
	}
	p.current = node.New(p.current.Query(), append(p.current.Without(e.Path).Entries(), e))
	if err := p.look(o.forRole(k3s.Agent)); err != nil {
		return err
	}
	if same() {
		return fmt.Errorf("%s and %s both read %s: an agent exits on what is for servers only; give the agent another with K3S_CONFIG_FILE=%s where its service has its environment",
			server.eff.Service.Path, p.eff.Service.Path, p.eff.ConfigFile, agentConfig)
	}
	p.write(e)
	p.note("the agent reads %s, and config.yaml is the server's: what first boot writes for an agent belongs there", agentConfig)
	return nil
}

// ownEnvironment is the file that makes the agent's service read agentConfig: a
// drop-in of its unit, or what its OpenRC script sources.
func ownEnvironment(current *node.Node, eff *k3s.Effective) (node.Entry, error) {
	const line = "K3S_CONFIG_FILE=" + agentConfig + "\n"
	name := eff.Service.Name
	if path.Dir(eff.Service.Path) != "/etc/init.d" {
		return file(k3s.SystemdDir+"/"+name+".service.d/99-k3s-cis.conf", 0o644,
			[]byte(header+"\n# An agent exits on the server's configuration, so that it reads one of its own.\n[Service]\nEnvironment="+line)), nil
	}
	env := k3s.ConfigDir + "/" + name + ".env"
	old, err := contentOf(current, env)
	if err != nil {
		return node.Entry{}, err
	}
	if len(old) > 0 && old[len(old)-1] != '\n' {
		old = append(slices.Clone(old), '\n')
	}
	return file(env, 0o600, append(slices.Clone(old), line...)), nil
}

// carried is what the agent read so far in the file that is the server's from
// now on: it goes into its own, as far as an agent takes it. A file that first
// boot writes is no home for it.
func (p *planner) carried(ws []desired) []desired {
	if p.shared == nil || p.m.own != nil {
		return nil
	}
	inFile := func(o k3s.Origin) bool {
		return o.Source == p.shared.ConfigFile || path.Dir(o.Source) == k3s.DropInDir(p.shared.ConfigFile)
	}
	var out []desired
	for _, name := range slices.Sorted(maps.Keys(p.shared.Settings)) {
		key, _ := k3s.FindKey(name)
		if key.Only == k3s.Server {
			continue
		}
		for _, v := range p.shared.Settings[name].Values {
			w := desired{key: name, value: v.Text, option: "the server's configuration", list: key.Kind == k3s.List}
			if i := slices.IndexFunc(components, func(c k3s.Component) bool { return k3s.ArgumentKey(c) == name }); i >= 0 {
				a := parseArg(v.Text)
				w.component, w.flag, w.value = components[i], a.name, a.value
			}
			taken := slices.ContainsFunc(ws, func(o desired) bool { return o.key == w.key && o.flag == w.flag && (!w.list || w.flag != "") })
			switch {
			case !inFile(v.Origin) || taken:
			case k3s.HoldsSecret(name, v.Text):
				p.warn("%s: %s holds a secret and is not copied to %s: let first boot bring it", v.Origin, name, agentConfig)
			default:
				out = append(out, w)
			}
		}
	}
	return out
}

// join adds what another plan of the same node and the same writes has; what is
// kept follows from these.
func (p *Plan) join(o *Plan) {
	c := &p.Change
	for _, name := range o.Change.Remove {
		if !slices.Contains(c.Remove, name) {
			c.Remove = append(c.Remove, name)
		}
	}
	for _, a := range o.Change.Preconditions {
		if !slices.ContainsFunc(c.Preconditions, func(b node.Precondition) bool { return a.Path == b.Path }) {
			c.Preconditions = append(c.Preconditions, a)
		}
	}
	for _, texts := range []struct {
		to   *[]string
		more []string
	}{{&p.Notes, o.Notes}, {&p.Warnings, o.Warnings}} {
		for _, text := range texts.more {
			if !slices.Contains(*texts.to, text) {
				*texts.to = append(*texts.to, text)
			}
		}
	}
}
