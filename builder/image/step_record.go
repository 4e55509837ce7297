package image

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// stepRecord writes down what the tree holds once nobody can change it any
// more, for stepReread.
type stepRecord struct{}

func (s *stepRecord) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	w, _ := of(state)
	if err := record(ctx, w); err != nil {
		return halt(state, fmt.Errorf("recording what was provisioned: %w", err))
	}
	return multistep.ActionContinue
}

func record(ctx context.Context, w *work) (err error) {
	digest := func(name string, size int64, changed time.Time) bool {
		return !changed.Before(w.opened) || size <= node.MaxFileSize && judged(name)
	}
	if w.mounted == nil {
		w.listing, err = disk.List(ctx, w.root, digest)
		return err
	}
	if err := w.mounted.WriteBack(ctx); err != nil {
		return err
	}
	if err := w.mounted.Uncover(); err != nil {
		return err
	}
	w.listing, err = w.mounted.List(ctx, digest)
	return err
}

// judgedBelow are the directories that hold what verdicts rest on. Elsewhere a
// file of the base that no provisioner touched is compared without its content.
var judgedBelow = []string{
	"/boot", "/efi", "/etc", "/opt", "/root", "/usr/lib/sysctl.d", "/usr/lib/systemd/system", "/usr/local",
	"/lib/systemd/system", "/var/lib/rancher",
}

func judged(name string) bool {
	for _, dir := range judgedBelow {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

func (s *stepRecord) Cleanup(multistep.StateBag) {}
