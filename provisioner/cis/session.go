package cis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
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
	"github.com/k3s-cis/packer-plugin-k3s/version"
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

// judge evaluates what is on the node, writes the reports and fails when a
// control does not hold.
func (s *session) judge(ctx context.Context, o harden.Options, n *node.Node) error {
	r, err := s.assess(ctx, o, n)
	if err != nil {
		return err
	}
	return errors.Join(s.unsealed(ctx, o, n), s.otherThanInstalled(ctx, o, n), s.publish(r))
}

// assess evaluates what is on the node.
func (s *session) assess(ctx context.Context, o harden.Options, n *node.Node) (report.Report, error) {
	defer step("judging")()
	now := time.Now()
	views, judged, err := s.views(ctx, o, n, now)
	if err != nil {
		return report.Report{}, err
	}
	results := benchmark.Combine(views)
	logVerdicts(results, s.was)
	if s.config.Mode == modeApply && !s.access.readOnly { // or the options changed nothing
		nameOptions(results, o)
	}
	if o.Layout == harden.LayoutDropIn {
		s.say(toCome(results))
	}
	s.waiting(n, results)
	for _, a := range benchmark.Attest(results, s.inputs.attestations, now) {
		s.say(fmt.Sprintf("Note: the attestation of %s by %s is not used: the control is judged, or is none of this role.", a.Control, a.By))
	}
	subject := s.identify(ctx, n)
	subject.Datastore = string(judged.datastore)
	var warnings []string
	if warning, _ := o.Release.Supported(); warning != "" {
		warnings = append(warnings, warning)
	}
	return report.New(report.Meta{
		PluginVersion: version.PluginVersion.FormattedVersion(),
		Created:       now,
		K3sVersion:    o.Release.String(),
		Role:          string(o.Role),
		Benchmark:     o.Benchmark,
		BenchmarkName: benchmark.FullName(o.Benchmark),
		Warnings:      warnings,
		Node:          subject,
		Cluster:       judged.cluster,
		Judge:         s.config.judge(),
		Installed:     installedFiles(s.install, s.put),
	}, results), nil
}

// nameOptions adds to the remediation of what failed the option of the user's that
// sets what decides it.
func nameOptions(results []benchmark.Result, o harden.Options) {
	for _, given := range o.Given() {
		ids := benchmark.Concerning(o.Benchmark, given.Component, given.Name)
		for i := range results {
			r := &results[i]
			text := fmt.Sprintf(" In the template, %s sets %s.", given.Option, given.Name)
			if r.Status == benchmark.Fail && slices.Contains(ids, r.ID) && !strings.HasSuffix(r.Remediation, text) {
				r.Remediation += text
			}
		}
	}
}

// settled is what K3s's configuration on the node decides.
type settled struct {
	datastore k3s.Datastore
	// cluster is what all servers of a cluster must share.
	cluster map[string]string
}

// views judges the node in each role that it can have, as it is and, where its
// first boot may bring another configuration file, without the one that it has.
func (s *session) views(ctx context.Context, o harden.Options, n *node.Node, now time.Time) (views []benchmark.View, judged settled, err error) {
	judge := func(role k3s.Role, effective *k3s.Effective, first *benchmark.FirstStart, name, without string) {
		views = append(views, benchmark.View{Name: name, Results: benchmark.Evaluate(benchmark.Input{
			Node: n.Without(without), Boot: s.boot, Effective: effective, Benchmark: o.Benchmark, Role: role, ConfigToCome: o.Layout == harden.LayoutDropIn,
			Waivers: s.inputs.waivers, Build: s.config.buildName(), Now: now, Own: s.inputs.controls, FirstStart: first,
		})})
	}
	for _, role := range o.Role.Roles() {
		name := ""
		if o.Role == k3s.Both {
			name = string(role)
		}
		effective, read, err := s.resolve(ctx, o, role, n, "")
		if err != nil {
			return nil, judged, err
		}
		n = read
		judged.datastore = cmp.Or(judged.datastore, effective.Datastore)
		if judged.cluster == nil {
			judged.cluster = effective.Shared()
		}
		first, err := s.rehearse(ctx, o, effective, n)
		if err != nil {
			return nil, judged, err
		}
		file := effective.ConfigFile
		_, presence := n.Lookup(file)
		toCome := o.Layout == harden.LayoutDropIn
		// A boot that is known to write the file brings what is not known yet.
		if !toCome || presence != node.Unknown || n.Hidden(file) == "" {
			judge(role, effective, first, name, "")
		}
		if !toCome || presence == node.Absent {
			continue
		}
		effective, n, err = s.resolve(ctx, o, role, n, file)
		if err != nil {
			return nil, judged, err
		}
		judge(role, effective, first.Without(file), strings.TrimSpace(name+" without what "+file+" says"), file)
	}
	return views, judged, nil
}

// toCome says which of the controls that hold a configuration file of the first
// boot could take back.
func toCome(results []benchmark.Result) string {
	var ids []string
	for _, r := range results {
		if r.Revocable() {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return "Note: what holds, holds whatever configuration file the first boot writes."
	}
	return fmt.Sprintf("Note: config_layout = %q: what the drop-in sets holds whatever configuration file the first boot writes. %d controls it could take back, since they hold by K3s's defaults or K3s knows the key by another name; the report says with which key: %s", harden.LayoutDropIn, len(ids), strings.Join(ids, ", "))
}

// resolve computes what K3s will run with on the node once it has booted, where
// the file without is not there, and returns that node.
func (s *session) resolve(ctx context.Context, o harden.Options, role k3s.Role, n *node.Node, without string) (*k3s.Effective, *node.Node, error) {
	for i := 0; ; i++ {
		if !s.boot.Of(n.WithoutHidden()) {
			s.boot = boot.Read(n)
		}
		n = s.boot.After()
		effective, err := k3s.ResolveDeclared(n.Without(without), o.Release, role, o.K3sCommand)
		if err != nil {
			return nil, nil, fmt.Errorf("computing K3s's effective configuration: %w", err)
		}
		if o.Role == k3s.Both { // which the other role's own view tells
			effective.Problems = slices.DeleteFunc(effective.Problems, func(p k3s.Problem) bool { return p.Stops != "" })
		}
		lacking := benchmark.FollowUp(benchmark.Input{Node: n, Boot: s.boot, Effective: effective, Own: s.inputs.controls})
		if len(lacking) == 0 || i == rounds {
			logEffective(effective, without)
			return effective, n, nil
		}
		s.more = append(s.more, lacking...)
		if n, err = s.read(ctx); err != nil {
			return nil, nil, err
		}
	}
}

// publish writes and prints the report and turns it into the build's fate.
func (s *session) publish(r report.Report) error {
	s.ownDirectory(r)
	var drift report.Drift
	if s.inputs.baseline != nil {
		drift = report.Compare(*s.inputs.baseline, r)
		r.Drift = drift.Record(*s.inputs.baseline)
	}
	done := step("writing reports to " + s.config.ReportDir)
	written := report.Write(s.config.ReportDir, r)
	done()
	var blocks []string
	role, build := s.inputs.options.Role, s.config.buildName()
	for _, w := range benchmark.UnneededWaivers(r.Results, s.inputs.waivers, role, build) {
		blocks = append(blocks, fmt.Sprintf("Warning: the waiver for %s (%s) is not needed: remove it.", w.Control, w.Owner))
	}
	for _, w := range benchmark.Elsewhere(s.inputs.waivers, role, build) {
		blocks = append(blocks, fmt.Sprintf("Note: the waiver for %s (%s) is for another %s and not used in %s.", w.Control, w.Owner, scope(w), build))
	}
	var verdicts []error
	if s.inputs.baseline != nil {
		blocks = append(blocks, drift.Log())
		if drift.Regressed() {
			verdicts = append(verdicts, fmt.Errorf("%d controls are further from proven than in the baseline %s", len(drift.Regressions), s.config.Baseline))
		}
	}
	if failed := r.Failed(); len(failed) > 0 {
		verdicts = append(verdicts, fmt.Errorf("of %d controls %s; reports are in %s", len(r.Results), counted(failed), s.config.ReportDir))
	}
	text := strings.Join(append(blocks, r.Log()), "\n")
	if len(verdicts) == 0 {
		s.say(text)
	} else {
		s.complain(text)
	}
	return errors.Join(append(verdicts, written)...)
}

// ownDirectory gives the report a directory below report_dir where another
// build of this run has put its own there: neither is lost.
func (s *session) ownDirectory(r report.Report) {
	build, created := report.Of(s.config.ReportDir)
	if build == "" || build == r.Node.Build || created.Before(s.prepared.Truncate(time.Second)) {
		return
	}
	dir := filepath.Join(s.config.ReportDir, r.Node.Build)
	s.say(fmt.Sprintf("Note: report_dir %s holds the report of the build %s of this run: this build's is in %s. With source.name in report_dir each build has its own.", s.config.ReportDir, build, dir))
	s.config.ReportDir = dir
}

// scope says what a waiver is limited to.
func scope(w benchmark.Waiver) string {
	var parts []string
	if w.Role != "" {
		parts = append(parts, fmt.Sprintf("role (%s)", w.Role))
	}
	if w.Build != "" {
		parts = append(parts, fmt.Sprintf("build (%s)", w.Build))
	}
	return strings.Join(parts, " or ")
}

// maxNamed is how many controls one message names; the reports name all.
const maxNamed = 30

// counted says of results that fail a build how many failed and how many could not
// be judged, and which; where they have one cause, that.
func counted(failed []benchmark.Result) string {
	var parts []string
	for _, status := range []struct {
		status benchmark.Status
		text   string
	}{{benchmark.Fail, "failed"}, {benchmark.Error, "could not be judged"}} {
		var ids, causes []string
		for _, r := range failed {
			if r.Status == status.status {
				ids, causes = append(ids, r.ID), append(causes, r.Found)
			}
		}
		n := len(ids)
		if n == 0 {
			continue
		}
		head := fmt.Sprintf("%d %s", n, status.text)
		if n > 1 && len(slices.Compact(causes)) == 1 {
			head += " (" + causes[0] + ")"
		}
		if n > maxNamed {
			ids = append(ids[:maxNamed], fmt.Sprintf("%d more", n-maxNamed))
		}
		parts = append(parts, head+": "+strings.Join(ids, ", "))
	}
	return strings.Join(parts, "; ")
}
