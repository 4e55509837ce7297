package image

import (
	"context"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// stepPublish puts the image in its place, as the last thing of all.
type stepPublish struct {
	Format   disk.Format
	Checksum bool
}

func (s *stepPublish) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	w, _ := of(state)
	published, err := disk.Publish(ctx, w.partial, w.final, digestOf(s.Format, s.Checksum))
	if err != nil {
		return halt(state, fmt.Errorf("publishing the image: %w", err))
	}
	w.published = published
	return multistep.ActionContinue
}

func (s *stepPublish) Cleanup(multistep.StateBag) {}
