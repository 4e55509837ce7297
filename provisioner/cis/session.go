package cis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/boot"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/install"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
	"github.com/k3s-cis/packer-plugin-k3s/internal/seal"
)

// session is one Provision: one node, hardened and judged once.
type session struct {
	config Config
	inputs inputs
	access access
	// more is what the node's own configuration points to, such as a data
	// directory elsewhere; known only once that configuration was read.
	more node.Query
	// boot is what the node that was read last has done at its boot.
	boot *boot.Changes
	// install is what is put into the image, nil for nothing, and put what that
	// means for the node.
	install *install.Options
	put     *install.Plan
	// data is what the builder generated.
	data map[string]any
	// ui shows how far downloads are.
	ui packersdk.Ui
	// prepared is when the options were first checked, at the beginning of
	// Packer's run.
	prepared time.Time
	// was are the verdicts on the node as it was found, for the log.
	was map[string]benchmark.Status
	// rehearsalWarnings say what a rehearsal did without, for the report.
	rehearsalWarnings []string
	// say prints to Packer's log, complain the same as an error. Each call is
	// one round trip to Packer, so that both take whole blocks of lines.
	say, complain func(string)
}

func (s *session) run(ctx context.Context) error {
	mode := s.config.Mode
	if s.access.readOnly && mode == modeApply {
		s.say("The source is read_only: checking only, nothing is written.")
		mode = modeCheck
	}
	if mode != modePlan {
		if err := report.MakeDirectory(s.config.ReportDir); err != nil {
			return err // before anything is done that nobody would be told of
		}
	}
	var err error
	done := step("fetching what is installed")
	if s.install, err = s.fetched(ctx, mode); err != nil {
		return err
	}
	done()
	done = step("looking at the node")
	have, err := s.look(ctx, mode)
	if err != nil {
		return err
	}
	done()
	options, err := s.complete(have)
	if err != nil {
		return err
	}
	s.say(fmt.Sprintf("K3s %s, %s, CIS benchmark %s, reached by %s.", options.Release, report.Roles(string(options.Role)), options.Benchmark, s.access.name))
	switch mode {
	case modePlan:
		return s.plan(ctx, options, have)
	case modeCheck:
		return s.judge(ctx, options, have)
	}
	s.was = s.before(options, have)
	done = step("hardening")
	hardened, err := s.apply(ctx, options, have)
	if err != nil {
		return err
	}
	done()
	return s.judge(ctx, options, hardened)
}

// query is everything that planning and judging want to know, so that one
// collection serves both.
func (s *session) query() node.Query {
	dataDir, _ := s.inputs.options.Config["data-dir"].(string)
	q := harden.Query(s.inputs.options)
	for _, role := range s.inputs.options.Role.Roles() {
		q = append(q, q.Lacks(benchmark.Query(role, dataDir))...)
	}
	if s.config.seals() {
		q = append(q, q.Lacks(seal.Query(s.sealOptions(dataDir)))...)
	}
	if s.install != nil {
		q = append(q, q.Lacks(install.Query(*s.install))...)
	}
	q = append(q, q.Lacks(identityQuery())...)
	return append(q, s.more...)
}

// read collects everything that is known to matter.
func (s *session) read(ctx context.Context) (*node.Node, error) {
	n, err := s.access.target.Read(ctx, s.query())
	if err != nil {
		return nil, fmt.Errorf("reading the node: %w", err)
	}
	return n, nil
}

// look collects what the node has before anything is done. Hardening a remote
// machine of a known release does without: its plan assumes a machine that has
// no K3s configuration yet, which the one remote command verifies. What is to be
// sealed or replaced has to be seen first.
func (s *session) look(ctx context.Context, mode string) (*node.Node, error) {
	known := s.inputs.options.Release != (k3s.Release{})
	if mode == modeApply && known && s.access.root == nil && s.inputs.options.Role != k3s.Both && !s.config.seals() && s.install == nil {
		return nil, nil
	}
	return s.read(ctx)
}

// complete adds to the options the K3s release and the benchmark that fits it.
// have is nil where nothing was collected yet.
func (s *session) complete(have *node.Node) (o harden.Options, err error) {
	o = s.inputs.options
	installed, err := s.becomes(have)
	if err != nil {
		return o, err
	}
	switch {
	case o.Release == (k3s.Release{}) && installed == (k3s.Release{}):
		if binary := silentBinary(have); binary != "" {
			return o, fmt.Errorf("k3s_version is not set, and %s --version tells no release: the binary is damaged, not executable or of another architecture; replace it, or write the release the node will run, such as k3s_version = \"v1.36.3+k3s1\"", binary)
		}
		return o, fmt.Errorf("k3s_version is not set and the image has no K3s binary to ask (%s): write the release the node will run, such as k3s_version = \"v1.36.3+k3s1\"", strings.Join(k3s.BinaryPaths(), ", "))
	case o.Release == (k3s.Release{}):
		o.Release = installed
	}
	if err := sameRelease(o.Release, installed); err != nil {
		return o, err
	}
	defer func() {
		if err == nil {
			s.logOptions(s.config.Mode, o, installed)
		}
	}()
	if o.Benchmark == "" {
		o.Benchmark, err = benchmark.Select(o.Release, s.config.Benchmark)
		if err != nil {
			return o, fmt.Errorf("benchmark: %w", err)
		}
		problems := benchmark.CheckWaivers(s.inputs.waivers, o.Benchmark, o.Role, s.inputs.controls, time.Now())
		problems = append(problems, benchmark.CheckAttestations(s.inputs.attestations, o.Benchmark, s.inputs.controls)...)
		for _, p := range append(problems, o.Validate()...) {
			err = errors.Join(err, p)
		}
		if err != nil {
			return o, err
		}
	}
	return o, nil
}

// rounds bounds how often planning and judging go back to the node for what
// its own configuration points to: a unit may name a configuration file, which
// may name a data directory.
const rounds = 4

// plan prints what apply would change.
func (s *session) plan(ctx context.Context, o harden.Options, have *node.Node) error {
	d, have, err := s.draw(ctx, o, have)
	if err != nil {
		return err
	}
	s.tell(d)
	s.tellInstalled("Installing would write:", d.installed)
	s.tellSealed("Sealing would remove:", d.sealed)
	plan := d.hardened
	diff := harden.Diff(plan, have)
	if diff == "" {
		diff = "Nothing would change: the node is hardened already."
	}
	s.say(diff)
	return nil
}

// drawn is all that is planned for a node.
type drawn struct {
	installed *install.Plan
	hardened  *harden.Plan
	sealed    *seal.Plan
}

// change puts together what is planned for the node have.
func (d drawn) change(have *node.Node) node.Change {
	return joined(withInstalled(d.hardened.Change, d.installed, have), d.sealed)
}

// draw makes the plans, and returns the node they were made from where that had to
// be read again. What is hardened has what is installed; what is sealed is not there
// any more for it: a datastore that goes decides nothing.
func (s *session) draw(ctx context.Context, o harden.Options, have *node.Node) (d drawn, _ *node.Node, err error) {
	for range rounds {
		if d.installed, have, err = s.installation(ctx, o, have); err != nil {
			return d, nil, err
		}
		if d.sealed, have, err = s.sealed(ctx, o, have); err != nil {
			return d, nil, err
		}
		d.hardened, err = harden.Make(o, d.installed.On(have.WithoutHidden().Without(d.sealed.Gone()...)))
		var incomplete *harden.Incomplete
		if errors.As(err, &incomplete) {
			s.more = append(s.more, incomplete.Query...)
			if have, err = s.read(ctx); err != nil {
				return d, nil, err
			}
			continue
		}
		if err != nil {
			return d, nil, fmt.Errorf("nothing was changed on the node:\n%w", s.withControls(err, o, have))
		}
		return d, have, nil
	}
	return d, nil, errWinding
}

// errWinding is the error of a node that is read again and again.
var errWinding = fmt.Errorf("the node's K3s configuration points from one file to the next more than %d times: simplify it", rounds)

// withControls adds to each conflict of err the controls that do not hold as long
// as it stays: those that it decides and that the node fails as it is.
func (s *session) withControls(err error, o harden.Options, have *node.Node) error {
	out := flatten([]error{err})
	for i, e := range out {
		var conflict *harden.Conflict
		if !errors.As(e, &conflict) {
			continue
		}
		if ids := s.atStake(conflict.Desired, o, have); len(ids) > 0 {
			out[i] = fmt.Errorf("%w (controls that would not hold: %s)", e, strings.Join(ids, ", "))
		}
	}
	return errors.Join(out...)
}

// atStake returns the controls that settings decide and that have fails.
func (s *session) atStake(settings []harden.Setting, o harden.Options, have *node.Node) []string {
	var ids []string
	for _, role := range o.Role.Roles() {
		effective, err := k3s.ResolveDeclared(have, o.Release, role, o.K3sCommand)
		if err != nil {
			return nil // which has been said
		}
		results := benchmark.Evaluate(benchmark.Input{Node: have, Effective: effective, Benchmark: o.Benchmark, Role: role, Now: time.Now()})
		for _, r := range results {
			decided := slices.ContainsFunc(settings, func(w harden.Setting) bool {
				return slices.Contains(benchmark.Concerning(o.Benchmark, w.Component, w.Name), r.ID)
			})
			if decided && r.Status == benchmark.Fail && !slices.Contains(ids, r.ID) {
				ids = append(ids, r.ID)
			}
		}
	}
	return ids
}

// apply hardens the node and returns what is on its disk afterwards.
func (s *session) apply(ctx context.Context, o harden.Options, have *node.Node) (*node.Node, error) {
	// The second try is for a node that has a K3s configuration of its own: the
	// first command found it, touched nothing and brought it back.
	for range 2 {
		d, read, err := s.draw(ctx, o, have)
		if err != nil {
			return nil, err
		}
		change := d.change(read)
		for _, kept := range slices.Sorted(maps.Values(change.Keep)) {
			s.more = append(s.more, node.Pick{Path: kept, Content: true})
		}
		out, err := s.access.target.Apply(ctx, change, s.query())
		if err != nil {
			return nil, fmt.Errorf("hardening the node: %w", err)
		}
		if out.Stale {
			decided("the node has a K3s configuration of its own: nothing was written, the plan is made anew from it")
			have = out.Node
			continue
		}
		s.tell(d)
		logChange(change, out)
		s.say(outcome(change, out))
		s.tellInstalled("Installed:", d.installed)
		s.tellSealed("Sealed:", d.sealed)
		if err := unseen(d.installed, out); err != nil {
			return nil, err
		}
		if len(out.Hidden) > 0 {
			s.complain("Warning: not written, since a booted node does not see what is there:\n  " + strings.Join(out.Hidden, "\n  ") +
				"\nThe builder's log names the file system. Mount it over what holds data alone, such as server/db, agent/containerd or storage in K3s's data directory.")
		}
		if have != nil && s.access.root != nil {
			return out.Node, nil // completed before anything was planned
		}
		installed, err := s.installed(out.Node)
		if err == nil {
			err = sameRelease(o.Release, installed)
		}
		return out.Node, err
	}
	return nil, errors.New("the K3s configuration on the node changed while it was being hardened: nothing was written; let only one thing at a time configure the node")
}

// tell prints what the plans decided.
func (s *session) tell(d drawn) {
	if notes := slices.Concat(d.installed.Notes, d.hardened.Notes); len(notes) > 0 {
		s.say("Note: " + strings.Join(notes, "\nNote: "))
	}
	if warnings := slices.Concat(d.installed.Warnings, d.hardened.Warnings); len(warnings) > 0 {
		s.complain("Warning: " + strings.Join(warnings, "\nWarning: "))
	}
}

// outcome says in one block what was done.
func outcome(c node.Change, out *node.Outcome) string {
	took := out.Took.Round(time.Millisecond)
	if len(out.Changed) == 0 && len(out.KernelSet) == 0 {
		return fmt.Sprintf("Nothing changed: all %d files and directories are as planned already (%s, %s).", len(c.Write), out.Way, took)
	}
	text := fmt.Sprintf("Changed (%s, %s):", out.Way, took)
	for _, path := range out.Changed {
		text += "\n  " + path
	}
	if len(out.KernelSet) > 0 {
		text += "\nSet in the running kernel: " + strings.Join(out.KernelSet, ", ")
	}
	return text
}
