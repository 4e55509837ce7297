package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
	"github.com/k3s-cis/packer-plugin-k3s/internal/fetch"
)

// stepIdentify finds out what the downloaded base holds and whether the rest
// of the build can work with it.
type stepIdentify struct {
	Format    disk.Format
	Partition string
	DiskSize  int64
}

func (s *stepIdentify) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	w, ui := of(state)
	w.base, _ = state.Get(baseKey).(string)
	source, _ := state.Get("SourceImageURL").(string)
	w.source = fetch.Provenance(source)
	kind, err := disk.Identify(w.base)
	if err != nil {
		return halt(state, fmt.Errorf("iso_url: %w", err))
	}
	w.kind = kind
	var errs []error
	if kind.Format == disk.Tar && s.Partition != "" {
		errs = append(errs, errors.New("partition: only a disk has partitions, and the base is a tar; remove it"))
	}
	errs = append(errs, disk.Missing(toolsFor(kind.Format, false, s.Format)...))
	if err := errors.Join(errs...); err != nil {
		return halt(state, err)
	}
	ui.Say(fmt.Sprintf("Base %s: %s", w.source, kind))
	return multistep.ActionContinue
}

func (s *stepIdentify) Cleanup(multistep.StateBag) {}
