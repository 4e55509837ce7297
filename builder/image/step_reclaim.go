package image

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// ledger knows what builds on this host have begun, whatever their TMPDIR,
// output_directory and vm_name.
const ledger = disk.Ledger("/var/lib/packer-plugin-k3s")

// stepReclaim takes away what killed builds left behind, and enters this one
// in the ledger. Where that is not possible, as on a read-only root, what a
// killed build leaves is found only by builds that work in the same place.
type stepReclaim struct{}

func (s *stepReclaim) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	w, ui := of(state)
	reclaimed := func(removed []string, err error) {
		if len(removed) > 0 {
			ui.Say(fmt.Sprintf("Removed what killed builds left behind: %q", removed))
		}
		if err != nil {
			ui.Error(fmt.Sprintf("What a killed build left behind could not be removed: %s", err))
		}
	}
	reclaimed(disk.Reclaim(workParent(), workPrefix))
	var err error
	if w.entry, err = ledger.Begin(); err != nil {
		log.Printf("[INFO] k3s-image: this build is not entered in %s: %s", ledger, err)
	} else {
		reclaimed(ledger.Reclaim())
	}
	return multistep.ActionContinue
}

// Cleanup takes the build out of the ledger.
func (s *stepReclaim) Cleanup(state multistep.StateBag) {
	w, _ := of(state)
	failCleanup(state, w.entry.Close())
}

// workParent is where the work directory is made: in $TMPDIR or else in
// /var/tmp, since /tmp is in memory on many systems, and a root file system is
// large.
func workParent() string {
	if parent := os.Getenv("TMPDIR"); parent != "" {
		return parent
	}
	return "/var/tmp"
}
