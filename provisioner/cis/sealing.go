package cis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/seal"
)

// seals says whether the node is to be sealed.
func (c *Config) seals() bool { return c.Seal != nil && !c.Seal.Enabled.False() }

// validate returns what is wrong with the block, which may be absent.
func (c *SealConfig) validate() []error {
	if c == nil {
		return nil
	}
	var errs []error
	for _, err := range (seal.Options{Keep: c.Keep, PackageCaches: c.PackageCaches}).Validate() {
		errs = append(errs, fmt.Errorf("seal.%w", err))
	}
	return errs
}

// sealOptions are the block's, for a node whose K3s keeps its state in dataDirs.
func (s *session) sealOptions(dataDirs ...string) seal.Options {
	c := s.config.Seal
	return seal.Options{
		Keep: c.Keep, PackageCaches: c.PackageCaches, Reset: c.Reset,
		DataDirs: dataDirs, Live: s.access.ssh, User: s.access.user,
	}
}

// sealed plans what is removed from have, and returns it as it was read last: where
// K3s keeps its state stands in the node's own configuration. The plan is empty
// where nothing is to be sealed.
func (s *session) sealed(ctx context.Context, o harden.Options, have *node.Node) (*seal.Plan, *node.Node, error) {
	if !s.config.seals() {
		return &seal.Plan{}, have, nil
	}
	for range rounds {
		var dataDirs []string
		var missing node.Query
		for _, role := range o.Role.Roles() {
			effective, err := k3s.ResolveDeclared(have, o.Release, role, o.K3sCommand)
			if err != nil {
				return nil, nil, fmt.Errorf("computing K3s's effective configuration: %w", err)
			}
			dataDirs, missing = append(dataDirs, effective.DataDir), append(missing, effective.Missing...)
		}
		options := s.sealOptions(dataDirs...)
		lacking := have.Query().Lacks(slices.Concat(seal.Query(options), seal.FollowUp(options, have), missing))
		if len(lacking) == 0 {
			plan, err := seal.Make(options, have)
			return plan, have, err
		}
		s.more = append(s.more, lacking...)
		var err error
		if have, err = s.read(ctx); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, errWinding
}

// join adds what sealing changes to what hardening does.
func joined(c node.Change, sealed *seal.Plan) node.Change {
	more := sealed.Change
	c.Write = slices.Concat(c.Write, more.Write)
	c.Remove = slices.Concat(c.Remove, more.Remove)
	c.RemoveAll = slices.Concat(c.RemoveAll, more.RemoveAll)
	c.Rest, c.Start = more.Rest, slices.Concat(c.Start, more.Start)
	return c
}

// tellSealed prints what is removed, under a heading.
func (s *session) tellSealed(heading string, p *seal.Plan) {
	if !s.config.seals() {
		return
	}
	text := p.Text()
	if text == "" {
		text = "  nothing: the node holds nothing of the machine that it was built on"
	}
	if len(s.config.Seal.Keep) > 0 {
		text += "\n  kept: " + strings.Join(s.config.Seal.Keep, ", ")
	}
	s.say(heading + "\n" + text)
}

// unsealed is an error that names what sealing would remove from n now.
func (s *session) unsealed(ctx context.Context, o harden.Options, n *node.Node) error {
	if !s.config.seals() {
		return nil
	}
	plan, _, err := s.sealed(ctx, o, n)
	if err != nil {
		return err
	}
	left := plan.Left()
	if len(left) == 0 {
		return nil
	}
	var errs []error
	for _, f := range left {
		errs = append(errs, fmt.Errorf("%s is in the image (%s): %s", f.Path, f.Item.Name, f.Item.Why))
	}
	if len(errs) > maxNamed {
		errs = append(errs[:maxNamed], fmt.Errorf("and %d more", len(errs)-maxNamed))
	}
	return fmt.Errorf("the image is not sealed:\n%w", errors.Join(errs...))
}

// waiting says of deferred controls what the service on the node will do.
func (s *session) waiting(n *node.Node, results []benchmark.Result) {
	waits := seal.Waits(n)
	for i, r := range results {
		if r.Status == benchmark.Deferred && waits[r.Key] {
			results[i].Reason = fmt.Sprintf("the machine is running and needs it or makes it anew: the service %s removes it when the machine is shut down, or at the first boot of a node", seal.ServiceName)
		}
	}
}
