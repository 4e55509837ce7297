package image

import (
	"context"
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
)

// stepWorkspace makes a directory for everything that is gone after the
// build. It lies in $TMPDIR or else in /var/tmp: /tmp is in memory on many
// systems, and a root file system is large.
type stepWorkspace struct{}

func (s *stepWorkspace) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	w, _ := of(state)
	parent := os.Getenv("TMPDIR")
	if parent == "" {
		parent = "/var/tmp"
	}
	scratch, err := os.MkdirTemp(parent, "packer-k3s-image-")
	if err != nil {
		return halt(state, fmt.Errorf("work directory (set TMPDIR to choose another place): %w", err))
	}
	w.scratch = scratch
	return multistep.ActionContinue
}

// Cleanup removes the work directory. It does not touch one in which a file
// system is still mounted.
func (s *stepWorkspace) Cleanup(state multistep.StateBag) {
	w, _ := of(state)
	if w.scratch == "" {
		return
	}
	if w.mounted != nil {
		failCleanup(state, fmt.Errorf("%s stays: a file system is still mounted in it", w.scratch))
		return
	}
	failCleanup(state, os.RemoveAll(w.scratch))
}
