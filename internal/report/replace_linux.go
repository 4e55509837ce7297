package report

import (
	"os"

	"golang.org/x/sys/unix"
)

// replace puts the file tmp in path's place in one step; tmp is no more. Where
// a file is at path already the two change places: to rename over it makes ext4
// write the new one to the disk at once, which takes longer than rendering it.
func replace(tmp, path string) error {
	old, err := os.Lstat(path)
	if err != nil || !old.Mode().IsRegular() {
		return os.Rename(tmp, path)
	}
	if unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE) != nil {
		return os.Rename(tmp, path) // not every file system knows it
	}
	// Unlike os.Remove this never takes a directory.
	if err := unix.Unlink(tmp); err != nil {
		return &os.PathError{Op: "remove", Path: tmp, Err: err}
	}
	return nil
}
