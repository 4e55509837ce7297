package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// workPrefix is what the names of work directories begin with.
const workPrefix = "packer-k3s-image-"

// stepWorkspace makes a directory for everything that is gone after the
// build.
type stepWorkspace struct {
	lock *os.File
}

func (s *stepWorkspace) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	w, _ := of(state)
	var err error
	if w.scratch, s.lock, err = disk.NewWorkDirectory(workParent(), workPrefix, w.entry); err != nil {
		return halt(state, fmt.Errorf("work directory (set TMPDIR to choose another place): %w", err))
	}
	return multistep.ActionContinue
}

// Cleanup removes the work directory, and nothing in it while a file system
// is still mounted there.
func (s *stepWorkspace) Cleanup(state multistep.StateBag) {
	w, _ := of(state)
	if w.scratch == "" {
		return
	}
	failCleanup(state, errors.Join(disk.RemoveTree(w.scratch), s.lock.Close()))
}
