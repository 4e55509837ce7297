// Package confine has a process give up this host: its file systems, and the
// capabilities with which it could change it. Both are for the first process of
// namespaces of its own, before it runs anything that is not from here.
package confine

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// LeaveHost makes stage, where something is mounted, the root of this mount namespace
// and lets go of the host's.
func LeaveHost(stage string) error {
	if err := unix.Chdir(stage); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("leaving this host's root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("letting this host's root go: %w", err)
	}
	return unix.Chdir("/")
}

// KeepCapabilities takes all capabilities but keep from this process and from every
// program that it starts.
func KeepCapabilities(keep ...cap.Value) error {
	var drop []cap.Value
	for c := range cap.MaxBits() {
		if !slices.Contains(keep, c) {
			drop = append(drop, c)
		}
	}
	if err := errors.Join(cap.ResetAmbient(), cap.DropBound(drop...)); err != nil {
		return fmt.Errorf("giving capabilities up: %w", err)
	}
	set := cap.GetProc()
	err := errors.Join(set.ClearFlag(cap.Inheritable), set.SetFlag(cap.Effective, false, drop...), set.SetFlag(cap.Permitted, false, drop...))
	if err == nil {
		err = set.SetProc()
	}
	if err != nil {
		return fmt.Errorf("giving capabilities up: %w", err)
	}
	return nil
}
