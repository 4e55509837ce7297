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
// what ships. The image's digest is that of what it reads.
type stepReread struct {
	Format   disk.Format
	Checksum bool
}

func (s *stepReread) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	w, ui := of(state)
	ui.Say(fmt.Sprintf("Reading the %s image once more...", s.Format))
	finished, err := s.check(ctx, w)
	if err != nil {
		return halt(state, fmt.Errorf("nothing was published: %w", err))
	}
	w.finished = finished
	return multistep.ActionContinue
}

// check reads the image in every way at the same time.
func (s *stepReread) check(ctx context.Context, w *work) (finished *disk.Finished, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		finished, err = disk.Finish(ctx, w.partial, digestOf(s.Format, s.Checksum))
		return err
	})
	g.Go(func() error {
		switch s.Format {
		case disk.Tar:
			return w.listing.CheckTar(ctx, w.partial, w.held)
		case disk.Raw:
			return checkDisk(ctx, w)
		default: // stepImage has read the disk
			return errors.Join(disk.CompareDisks(ctx, w.disk, w.partial, s.Format), os.Remove(w.disk))
		}
	})
	return finished, g.Wait()
}

// digestOf is the algorithm for an image's digest. A raw image is as long as
// its disk, however little is on it, so that its SHA-256 has to be asked for.
func digestOf(format disk.Format, checksum bool) disk.Algorithm {
	if format == disk.Raw && !checksum {
		return disk.FSVerity
	}
	return disk.SHA256
}

// checkDisk says whether the finished raw disk holds the tree that was recorded.
func checkDisk(ctx context.Context, w *work) error {
	if w.layout == nil {
		return w.listing.CheckExt4(ctx, w.disk, w.held, w.scratch)
	}
	return checkMounted(ctx, w)
}

// checkMounted mounts the finished disk without leave to write, by devices of
// its own, the way a node would.
func checkMounted(ctx context.Context, w *work) (err error) {
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
