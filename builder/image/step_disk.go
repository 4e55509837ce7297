package image

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// mountDisk mounts the root file system of a disk base. The base itself is
// never changed: what is mounted is a copy, or, to look only, the base itself
// without leave to write.
func (s *stepTree) mountDisk(ctx context.Context, state multistep.StateBag) error {
	w, ui := of(state)
	var err error
	if w.place, err = newMountPoint(w.scratch); err != nil {
		return err
	}
	dir := w.place.dir
	if s.ReadOnly && w.kind == (disk.Kind{Format: disk.Raw}) {
		err = s.mount(ctx, state, w.base, dir)
		if !errors.Is(err, disk.ErrJournal) {
			return err
		}
		ui.Say("The file system was not unmounted cleanly: its journal is replayed in a copy...")
	}
	w.disk = filepath.Join(w.scratch, "disk.raw")
	if s.Format == disk.Raw {
		w.disk = w.partial
	}
	ui.Say("Copying the base disk...")
	if err := disk.CopyDisk(ctx, w.base, w.kind, w.disk, w.scratch, progressOf(w, ui)); err != nil {
		return fmt.Errorf("iso_url: %w", err)
	}
	return s.mount(ctx, state, w.disk, dir)
}

// mount mounts the root file system of a raw disk, made larger if that was
// asked for, and the other file systems that belong below it.
func (s *stepTree) mount(ctx context.Context, state multistep.StateBag, image, dir string) error {
	w, ui := of(state)
	layout, err := disk.ReadLayout(image)
	if err != nil {
		return fmt.Errorf("iso_url: %w", err)
	}
	// A copy may be written to even if the tree is only looked at: that is
	// how a journal gets replayed.
	access := disk.Access{ReadOnly: s.ReadOnly, Image: s.ReadOnly && image == w.base}
	root, err := disk.FindRoot(ctx, image, layout, s.Partition, dir, access)
	if err != nil {
		return err
	}
	if s.DiskSize > 0 {
		if err := disk.Missing(disk.GrowTools(layout, root)...); err != nil {
			return err
		}
		if root, err = disk.Grow(ctx, image, layout, root, s.DiskSize); err != nil {
			return err
		}
		if layout, err = disk.ReadLayout(image); err != nil {
			return fmt.Errorf("disk_size: %w", err)
		}
	}
	if w.mounted, err = disk.Mount(ctx, image, root, dir, access); err != nil {
		return fmt.Errorf("iso_url: %w", err)
	}
	w.root, w.layout, w.partition = dir, layout, root
	if err := disk.CheckRoot(dir); err != nil {
		return fmt.Errorf("partition: partition %d %w; the disk has:\n%s", root.Number, err, layout)
	}
	if s.DiskSize > 0 {
		if err := w.mounted.GrowFileSystem(ctx, root); err != nil {
			return fmt.Errorf("disk_size: %w", err)
		}
	}
	if w.hidden, err = w.mounted.MountOthers(ctx, layout); err != nil {
		return err
	}
	ui.Say(fmt.Sprintf("Root file system: %s", describe(root)))
	return nil
}

// describe names a partition for the log.
func describe(p disk.Partition) string {
	if p.Number == 0 {
		return fmt.Sprintf("the whole disk (%s)", p.FileSystem)
	}
	return fmt.Sprintf("partition %d (%s)", p.Number, p.FileSystem)
}
