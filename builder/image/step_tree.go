package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// stepTree makes the root file system a directory of this host: a tar is
// unpacked, a directory is taken as it is, a disk is mounted.
type stepTree struct {
	Directory    string
	ReadOnly     bool
	Format       disk.Format
	Partition    string
	DiskSize     int64
	Architecture string
}

func (s *stepTree) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	w, ui := of(state)
	var err error
	switch {
	case s.Directory != "":
		err = s.useDirectory(w)
	case w.kind.Format == disk.Tar:
		ui.Say("Unpacking the root file system...")
		err = s.unpack(ctx, w, ui)
	default:
		err = s.mountDisk(ctx, state)
	}
	if err == nil && w.mounted == nil {
		w.hidden, err = disk.HiddenIn(w.root)
	}
	if err == nil {
		err = s.checkArchitecture(w)
	}
	if err == nil && w.mounted == nil && s.DiskSize > 0 {
		_, err = sizeFor(w.root, s.DiskSize) // before anything is provisioned
	}
	if err == nil {
		w.opened, err = disk.Changed()
	}
	if err != nil {
		return halt(state, err)
	}
	if len(w.hidden) > 0 {
		ui.Say(sayHidden(w.hidden))
	}
	if !w.held.Empty() {
		ui.Say("Kept aside, as this host does not permit it in a directory: " + w.held.String())
	}
	return multistep.ActionContinue
}

// sayHidden lists the directories whose files a node does not see at boot.
func sayHidden(hidden []disk.Hidden) string {
	text := "Not seen at boot, so nothing is written there and nothing there proves anything:"
	for _, h := range hidden {
		text += "\n  " + h.String()
	}
	return text
}

// useDirectory takes the user's own directory.
func (s *stepTree) useDirectory(w *work) error {
	root, err := filepath.Abs(s.Directory)
	if err != nil {
		return fmt.Errorf("rootfs_directory: %w", err)
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return fmt.Errorf("rootfs_directory: %w", err)
	}
	if !s.ReadOnly && sameFile(root, "/") {
		return fmt.Errorf("rootfs_directory: %s is this host's own root; that is only allowed with read_only = true", s.Directory)
	}
	if err := disk.CheckRoot(root); err != nil {
		return fmt.Errorf("rootfs_directory: %s %w", s.Directory, err)
	}
	w.root, w.source = root, root
	return nil
}

func sameFile(a, b string) bool {
	ia, errA := os.Stat(a)
	ib, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(ia, ib)
}

// unpack unpacks the base into the work directory.
func (s *stepTree) unpack(ctx context.Context, w *work, ui packersdk.Ui) error {
	root := disk.TreeIn(w.scratch)
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	held, err := disk.UnpackFile(ctx, w.base, root, progressOf(w, ui))
	if err != nil {
		return fmt.Errorf("iso_url: %w", err)
	}
	if err := disk.CheckRoot(root); err != nil {
		return fmt.Errorf("iso_url: %s %w", w.source, err)
	}
	w.root, w.held = root, held
	return nil
}

// checkArchitecture compares the tree's programs with what the user expects.
func (s *stepTree) checkArchitecture(w *work) error {
	found, err := disk.Architecture(w.root)
	if err != nil && (s.Architecture != "" || !errors.Is(err, disk.ErrNoProgram)) {
		return fmt.Errorf("architecture: %w", err)
	}
	if s.Architecture != "" && found != s.Architecture {
		return fmt.Errorf("architecture: %q was asked for, but the base's programs are for %q", s.Architecture, found)
	}
	w.architecture = found
	return nil
}

// Cleanup unmounts a disk that the build did not get to unmount.
func (s *stepTree) Cleanup(state multistep.StateBag) {
	w, _ := of(state)
	failCleanup(state, errors.Join(unmount(w), w.place.close()))
}

// unmount takes the disk's file system away, if one is mounted.
func unmount(w *work) error {
	if w.mounted == nil {
		return nil
	}
	if err := w.mounted.Unmount(); err != nil {
		return err
	}
	w.mounted = nil
	return nil
}
