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
	if e.Role != k3s.Server {
		return &benchmark.FirstStart{Why: "an agent has to join a server, which is not there before the image is"}, nil
	}
	subject := benchmark.FirstStartSubject(benchmark.Input{
		Node: n, Effective: e, Benchmark: o.Benchmark, Role: e.Role, Own: s.inputs.controls,
	})
	// A machine tells its kernel's values, which a container has not.
	agent := c.Agent.True() || !c.Agent.False() && s.access.root == nil && !s.access.container && len(n.Kernel) > 0
	r, err := rehearsal.New(e, program(e, n), subject, c.Timeout, agent)
	if err != nil {
		return s.notRehearsed(err)
	}
	began := time.Now()
	seen, err := s.start(ctx, r, agent)
	if err != nil {
		return s.notRehearsed(err)
	}
	took := time.Since(began).Round(100 * time.Millisecond)
	if seen.Up {
		s.say(fmt.Sprintf("Rehearsed the first start: K3s was up after %.1f s (%s in all).", seen.UpAfter.Seconds(), took))
	} else {
		s.complain(fmt.Sprintf("Rehearsed the first start: K3s did not start (%s in all): %s", took, seen.LastWords()))
	}
	return &benchmark.FirstStart{Seen: seen, Subject: subject}, s.keepLog(seen)
}

// start rehearses where the node is.
func (s *session) start(ctx context.Context, r *rehearsal.Request, agent bool) (*rehearsal.Observation, error) {
	if s.access.root != nil {
		return tree.Run(ctx, s.access.rootPath, r, agent)
	}
	return machine.Run(ctx, s.access.machine, r)
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
