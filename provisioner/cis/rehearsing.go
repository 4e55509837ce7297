package cis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/machine"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/tree"
)

// shortestRehearsal is less than K3s takes to start anywhere.
const shortestRehearsal = 5 * time.Second

// validate returns what is wrong with the block, which may be absent.
func (c *RehearsalConfig) validate() []error {
	if c == nil || c.Timeout == 0 || c.Timeout >= shortestRehearsal {
		return nil
	}
	return []error{fmt.Errorf("rehearsal.timeout: %s is less than K3s takes to start: write how long it may take, such as 3m", c.Timeout)}
}

// logFile is the name of K3s's log in report_dir.
const logFile = "first-start.log"

// rehearse starts K3s once as e says that the node n will, and returns what was
// seen, or why nothing was; nil where no rehearsal is wanted.
func (s *session) rehearse(ctx context.Context, o harden.Options, e *k3s.Effective, n *node.Node) (*benchmark.FirstStart, error) {
	c := s.config.Rehearsal
	if c == nil {
		return nil, nil
	}
	// A machine tells its kernel's values, which a container has not.
	agent := c.Agent.True() || !c.Agent.False() && s.access.root == nil && !s.access.container && len(n.Kernel) > 0
	if e.Role == k3s.Agent && !agent {
		return &benchmark.FirstStart{Why: "an agent is rehearsed on the image's own kernel alone (rehearsal { agent }), on a machine and not in a tree or a container"}, nil
	}
	first, err := s.orWithoutAgent(e.Role, agent, func(agent bool) (*benchmark.FirstStart, error) {
		return s.rehearseWith(ctx, o, e, n, agent)
	})
	if err != nil {
		return s.notRehearsed(err)
	}
	return first, s.keepLog(first.Seen)
}

// orWithoutAgent rehearses with the agent where that is wanted, and where it alone
// cannot run and nobody has asked for it without: what the control plane shows is not
// lost for its sake.
func (s *session) orWithoutAgent(role k3s.Role, agent bool, rehearse func(agent bool) (*benchmark.FirstStart, error)) (*benchmark.FirstStart, error) {
	first, err := rehearse(agent)
	var lacks *rehearsal.Unavailable
	if !errors.As(err, &lacks) || !lacks.OfAgent || role != k3s.Server || s.config.Rehearsal.Agent.True() {
		return first, err
	}
	s.warnOfRehearsal("the first start is rehearsed without the agent, for want of " + lacks.Error() + ". What the agent makes stays deferred.")
	return rehearse(false)
}

// rehearseWith starts K3s once, with or without the agent.
func (s *session) rehearseWith(ctx context.Context, o harden.Options, e *k3s.Effective, n *node.Node, agent bool) (*benchmark.FirstStart, error) {
	first := &benchmark.FirstStart{Subject: benchmark.FirstStartSubject(benchmark.Input{
		Node: n, Effective: e, Benchmark: o.Benchmark, Role: e.Role, Own: s.inputs.controls,
	})}
	r, err := rehearsal.New(e, program(e, n), first.Subject, s.config.Rehearsal.Timeout, agent)
	if err != nil {
		return nil, err
	}
	first.StandIn = r.StandIn
	if first.Effective, err = k3s.ResolveAdded(n, o.Release, e.Role, o.K3sCommand, r.Added...); err != nil {
		return nil, fmt.Errorf("computing K3s's configuration as it is rehearsed: %w", err)
	}
	began := time.Now()
	if first.Seen, err = s.start(ctx, r); err != nil {
		return nil, err
	}
	took := time.Since(began).Round(100 * time.Millisecond)
	with := ""
	if r.StandIn != "" {
		with = ", " + r.StandIn
	}
	if first.Seen.Up {
		s.say(fmt.Sprintf("Rehearsed the first start: K3s was up after %.1f s%s (%s in all).", first.Seen.UpAfter.Seconds(), with, took))
	} else {
		s.complain(fmt.Sprintf("Rehearsed the first start%s: K3s did not start (%s in all): %s", with, took, first.Seen.LastWords()))
	}
	for _, w := range first.Seen.Warnings {
		s.warnOfRehearsal(w)
	}
	return first, nil
}

// start rehearses where the node is.
func (s *session) start(ctx context.Context, r *rehearsal.Request) (*rehearsal.Observation, error) {
	if s.access.root != nil {
		return tree.Run(ctx, s.access.rootPath, r)
	}
	return machine.Run(ctx, s.access.machine, r)
}

// warnOfRehearsal says what a rehearsal did without, in the log and in the report.
func (s *session) warnOfRehearsal(text string) {
	s.complain("Warning: " + text)
	s.rehearsalWarnings = append(s.rehearsalWarnings, text)
}

// notRehearsed says why there was no rehearsal. What the image is leaves the
// controls deferred; what the environment lacks fails the build, unless that was
// said not to matter.
func (s *session) notRehearsed(err error) (*benchmark.FirstStart, error) {
	var impossible *rehearsal.Impossible
	var unavailable *rehearsal.Unavailable
	var refused *rehearsal.Refused
	switch {
	case errors.As(err, &impossible):
		s.complain("Warning: the first start is not rehearsed: " + impossible.Reason + ". What is deferred stays deferred.")
		return &benchmark.FirstStart{Why: impossible.Reason}, nil
	case errors.As(err, &unavailable) && s.config.Rehearsal.Required.False():
		s.complain("Warning: the first start is not rehearsed, for want of " + unavailable.Error() + ". What is deferred stays deferred.")
		return &benchmark.FirstStart{Why: "not rehearsed, for want of " + unavailable.Error()}, nil
	case errors.As(err, &unavailable):
		return nil, fmt.Errorf("rehearsal: the first start cannot be rehearsed, for want of:\n  %s\nTake the block out, or leave the controls deferred with rehearsal { required = false }", strings.Join(unavailable.Lacks, "\n  "))
	case errors.As(err, &refused) && s.config.Rehearsal.Required.False():
		s.complain("Warning: the first start is not rehearsed, since this is refused where it would be: " + refused.Words + ". What is deferred stays deferred.")
		return &benchmark.FirstStart{Why: "not rehearsed, since this is refused where it would be: " + refused.Words}, nil
	case errors.As(err, &refused):
		return nil, fmt.Errorf("rehearsal: the first start cannot be rehearsed, since this is refused where it would be: %w\nTake the block out, or leave the controls deferred with rehearsal { required = false }", err)
	}
	return nil, fmt.Errorf("rehearsal: %w", err)
}

// program is K3s's program on the node: the one that its service names, or the
// one that is there.
func program(e *k3s.Effective, n *node.Node) string {
	for _, p := range append([]string{e.Program}, k3s.BinaryPaths()...) {
		if entry, presence := n.Lookup(p); p != "" && presence == node.Present && entry.Kind == node.KindFile {
			return p
		}
	}
	return ""
}

// keepLog writes what K3s logged beside the reports.
func (s *session) keepLog(seen *rehearsal.Observation) error {
	if !s.config.Rehearsal.KeepLog {
		return nil
	}
	var text bytes.Buffer
	for _, line := range seen.Log {
		text.WriteString(rehearsal.CleanLog(line) + "\n")
	}
	if err := os.WriteFile(filepath.Join(s.config.ReportDir, logFile), text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("rehearsal: the log of K3s cannot be kept in report_dir: %w", err)
	}
	return nil
}
