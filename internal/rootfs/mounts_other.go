//go:build !linux

package rootfs

import "context"

// mountsBelow finds none: elsewhere nothing is mounted into a tree.
func (t *tree) mountsBelow(context.Context, string) (string, error) { return "", nil }

// isMountPoint is false for the same reason.
func (t *tree) isMountPoint(string) (bool, error) { return false, nil }
