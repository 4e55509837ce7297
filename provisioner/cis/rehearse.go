package cis

import (
	"context"
	"errors"
	"runtime"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

// rehearse plays through in memory what Provision will do, on a node that has
// nothing but what is written to it. Packer prepares a provisioner before it
// starts to connect, and a process does everything for the first time slowly:
// it reads the catalogue, learns the types that it encodes and fetches its own
// code from the disk. Done meanwhile, none of that keeps the build waiting.
// Nothing of the result is kept but the draft of the plan, and nothing but memory
// is touched. An error is what Provision will end with too, unless only the node
// tells the release.
func rehearse(ctx context.Context, c Config, in inputs, d *drafts) error {
	if in.options.Release == (k3s.Release{}) {
		return errStage
	}
	nothing := func(string) {}
	s := &session{
		config: c, inputs: in, drafts: d, say: nothing, complain: nothing,
		access: access{target: stage{}, name: "rehearsal"},
	}
	hardened, err := s.apply(ctx, in.options, nil)
	if err != nil {
		return err
	}
	r, err := s.assess(ctx, in.options, hardened)
	if err != nil {
		return err
	}
	_, err = report.Render(r)
	// What was taken up for the rehearsal is there for the performance: memory
	// that the process has already costs less than more of it.
	runtime.GC()
	return err
}

// stage is the target of a rehearsal: it has what is written to it.
type stage struct{}

var _ node.Target = stage{}

var errStage = errors.New("a rehearsal reads nothing")

func (stage) Read(context.Context, node.Query) (*node.Node, error) { return nil, errStage }

func (stage) Apply(_ context.Context, c node.Change, q node.Query) (*node.Outcome, error) {
	return &node.Outcome{Node: node.New(q, c.Write)}, nil
}
