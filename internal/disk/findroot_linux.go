package disk

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// FindRoot is Choose for the raw disk image at path, but looks into the file
// systems where nothing else tells which is the root: it is the one whose own
// fstab has it as the root, or else the only one that is a root file system.
// For that they are mounted, one after the other, at the empty directory dir.
// Of an image that must stay as it is, ErrJournal is returned as by Mount.
func FindRoot(ctx context.Context, image string, layout *Layout, choice, dir string, access Access) (Partition, error) {
	chosen, err := layout.Choose(choice)
	if !errors.Is(err, ErrSeveral) {
		return chosen, err
	}
	access.ReadOnly = true
	var named, roots []Partition
	var unknown error
	for _, p := range layout.candidates() {
		is, names, lookErr := lookForRoot(ctx, image, layout, p, dir, access)
		switch {
		case errors.Is(lookErr, ErrJournal) || ctx.Err() != nil:
			return Partition{}, lookErr
		case lookErr != nil:
			unknown = errors.Join(unknown, lookErr)
		}
		if is {
			roots = append(roots, p)
		}
		if names {
			named = append(named, p)
		}
	}
	switch {
	case len(named) == 1:
		return named[0], nil
	case unknown != nil:
		return Partition{}, fmt.Errorf("%w\nlooking for it: %w", err, unknown)
	case len(named) == 0 && len(roots) == 1:
		return roots[0], nil
	}
	return Partition{}, err
}

// lookForRoot says whether partition p holds a root file system, and whether
// that one's fstab names p as its root.
func lookForRoot(ctx context.Context, image string, layout *Layout, p Partition, dir string, access Access) (is, names bool, err error) {
	m, err := Mount(ctx, image, p, dir, access)
	if errors.Is(err, errNoSubvolume) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	if isRoot(dir) && hasPrograms(dir) {
		lines, _ := readFstab(dir) // what is wrong with it is said when it is followed
		is, names = true, slices.ContainsFunc(lines, func(l mountLine) bool {
			return l.dir == "/" && slices.ContainsFunc(layout.find(l.source, named(lines, p)), func(found Partition) bool { return found.Number == p.Number })
		})
	}
	return is, names, m.Unmount()
}
