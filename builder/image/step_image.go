package image

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/docker/go-units"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"golang.org/x/sync/errgroup"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// stepImage makes the image from the tree, or from the disk that the tree was
// mounted from, next to its place.
type stepImage struct {
	Format   disk.Format
	DiskSize int64
}

func (s *stepImage) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	w, ui := of(state)
	ui.Say(fmt.Sprintf("Making the %s image...", s.Format))
	if err := s.make(ctx, state, w); err != nil {
		return halt(state, fmt.Errorf("making the %s image: %w", s.Format, err))
	}
	return multistep.ActionContinue
}

func (s *stepImage) make(ctx context.Context, state multistep.StateBag, w *work) error {
	switch {
	case s.Format == disk.Tar:
		return s.archive(ctx, state, w)
	case w.disk != "":
		if err := trim(ctx, state, w); err != nil {
			return err
		}
		if err := unmount(w); err != nil {
			return err
		}
		return s.fromDisk(ctx, w)
	default:
		return s.fromTree(ctx, w)
	}
}

func (s *stepImage) archive(ctx context.Context, state multistep.StateBag, w *work) error {
	_, ui := of(state)
	var sockets int
	var err error
	if w.mounted != nil {
		sockets, err = w.mounted.Archive(ctx, w.partial)
	} else {
		sockets, err = disk.ArchiveFile(ctx, w.root, w.partial, w.held)
	}
	if err != nil {
		return err
	}
	if sockets > 0 {
		ui.Say(fmt.Sprintf("%d sockets of the tree are not in the image: a tar cannot hold them", sockets))
	}
	return unmount(w)
}

// fromDisk makes the image from the disk that holds the tree, and reads that
// disk once more meanwhile. stepReread holds the two against each other.
func (s *stepImage) fromDisk(ctx context.Context, w *work) error {
	if s.Format == disk.Raw {
		return nil // the disk is the partial image already
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return checkDisk(ctx, w) })
	g.Go(func() error { return disk.Convert(ctx, w.disk, disk.Raw, w.partial, s.Format) })
	return g.Wait()
}

// fromTree makes a disk that is one file system.
func (s *stepImage) fromTree(ctx context.Context, w *work) error {
	size, err := sizeFor(w.root, s.DiskSize)
	if err != nil {
		return err
	}
	w.disk = w.partial
	if s.Format != disk.Raw {
		w.disk = filepath.Join(w.scratch, "disk.raw")
	}
	if err := disk.MakeExt4(ctx, w.root, w.disk, size, w.held, w.scratch); err != nil {
		return err
	}
	return s.fromDisk(ctx, w)
}

// sizeFor is the size of a disk for a tree, in bytes; asked is what the user wants,
// or 0.
func sizeFor(tree string, asked int64) (int64, error) {
	usage, err := disk.Measure(tree)
	if err != nil {
		return 0, err
	}
	least := usage.Least()
	switch {
	case asked == 0:
		return usage.Comfortable(), nil
	case asked < least:
		return 0, fmt.Errorf("disk_size: %s is too small: the files need %s",
			units.BytesSize(float64(asked)), units.BytesSize(float64(least)))
	}
	return asked, nil
}

func (s *stepImage) Cleanup(multistep.StateBag) {}
