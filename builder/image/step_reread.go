package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"golang.org/x/sync/errgroup"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// stepReread reads the finished image once more, before anybody sees it, and
// fails the build if it does not hold what the tree did: the verdict is on
// what ships.
type stepReread struct {
	Format disk.Format
}

func (s *stepReread) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	w, ui := of(state)
	ui.Say(fmt.Sprintf("Reading the %s image once more...", s.Format))
	if err := s.check(ctx, w); err != nil {
		return halt(state, fmt.Errorf("nothing was published: %w", err))
	}
	return multistep.ActionContinue
}

func (s *stepReread) check(ctx context.Context, w *work) error {
	// The image is on its way to the disk while it is read.
	if err := disk.StartWriting(w.partial); err != nil {
		return err
	}
	if s.Format == disk.Tar {
		return w.listing.CheckTar(ctx, w.partial, w.held)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if w.layout != nil {
			return s.checkDisk(ctx, w)
		}
		return w.listing.CheckExt4(ctx, w.disk, w.held, w.scratch)
	})
	if s.Format != disk.Raw {
		g.Go(func() error { return disk.CompareDisks(ctx, w.disk, w.partial, s.Format) })
	}
	return g.Wait()
}

// checkDisk mounts the finished disk without leave to write, by devices of its
// own, the way a node would.
func (s *stepReread) checkDisk(ctx context.Context, w *work) (err error) {
	if err := disk.CheckTable(w.disk, w.layout); err != nil {
		return err
	}
	dir := filepath.Join(w.scratch, "reread")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	// The cleanup of stepTree tries again where unmounting fails.
	if w.mounted, err = disk.Mount(ctx, w.disk, w.partition, dir, disk.Access{ReadOnly: true, Image: true}); err != nil {
		return fmt.Errorf("reading the finished image: %w", err)
	}
	_, err = w.mounted.MountOthers(ctx, w.layout)
	if err == nil {
		err = w.listing.CheckMounted(ctx, w.mounted)
	}
	return errors.Join(err, unmount(w))
}

func (s *stepReread) Cleanup(multistep.StateBag) {}
