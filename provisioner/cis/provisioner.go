package cis

import (
	"context"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/packerui"
)

var _ packersdk.Provisioner = (*Provisioner)(nil)

// Provisioner hardens a K3s node and judges what is on its disk afterwards.
type Provisioner struct {
	config Config
	inputs inputs
	// prepared is when Packer prepared first.
	prepared time.Time
}

// ConfigSpec is the schema of the HCL block.
func (p *Provisioner) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Prepare decodes and validates the options. It is offline and may be called
// any number of times: Packer calls it at validate and again before
// Provision. It returns everything that is wrong at once, each error naming
// the option, what was found and what would be right.
func (p *Provisioner) Prepare(raws ...any) error {
	p.config, p.inputs = Config{}, inputs{}
	if p.prepared.IsZero() {
		p.prepared = time.Now()
	}
	undecoded := p.config.decode(raws...)
	p.config.given = givenOptions(p.config)
	in, errs := p.config.validate()
	p.inputs = in
	if undecoded != nil { // what could be decoded is checked all the same
		errs = append([]error{undecoded}, errs...)
	}
	return packerui.Error(join(errs))
}

// Provision hardens the node (mode apply), judges it and writes the reports.
// It returns an error, which ends the build before an image is made, when the
// node could not be hardened or judged, or when a control does not hold.
func (p *Provisioner) Provision(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator, generatedData map[string]any) error {
	go ownDigest() // while the machine is waited for
	n := newNarrator()
	defer n.end()
	ui = packerui.New(ui)
	say := n.by(ui.Say)
	access, err := reach(p.config, comm, generatedData, say)
	if err != nil {
		return packerui.Error(err)
	}
	if access.settle != nil {
		defer access.settle(ctx)
	}
	s := &session{config: p.config, inputs: p.inputs, access: access, data: generatedData, ui: ui, prepared: p.prepared, say: say, complain: n.by(ui.Error)}
	return packerui.Error(s.run(ctx))
}
