package image

import (
	"context"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
)

// stepPublish puts the image in its place, as the last thing of all.
type stepPublish struct{}

func (s *stepPublish) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	w, _ := of(state)
	published, err := w.finished.Publish(w.final)
	if err != nil {
		return halt(state, fmt.Errorf("publishing the image: %w", err))
	}
	w.published = published
	return multistep.ActionContinue
}

func (s *stepPublish) Cleanup(multistep.StateBag) {}
