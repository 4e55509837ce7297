package cis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/boot"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
	"github.com/k3s-cis/packer-plugin-k3s/version"
)

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
	warnings = append(warnings, s.rehearsalWarnings...)
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
		blocks = append(blocks, fmt.Sprintf("Note: the waiver for %s (%s) is for another %s and not used in %s%s.", w.Control, w.Owner, scope(w), build, meant(w, build)))
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

// meant asks whether a waiver whose build is nearly the name of this one is for it. What
// other builds there are, a build does not know.
func meant(w benchmark.Waiver, build string) string {
	_, name, _ := strings.Cut(build, ".")
	if near := safetext.Nearest(w.Build, slices.Values([]string{build, name})); w.Build != "" && near != "" && near != w.Build {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
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
