//go:build unix && !linux

package rootfs

import (
	"io/fs"
	"os"
	"syscall"
)

// readFlags open a file that may have been swapped for something else since
// it was looked at: a link is refused and a pipe does not block.
const (
	readFlags  = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_CLOEXEC
	quietFlags = readFlags
)

// ownerOf returns the numeric user and group of what fi describes.
func ownerOf(fi fs.FileInfo) (uid, gid int) {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), int(st.Gid)
	}
	return 0, 0
}

// syncDirectory makes the entries of an open directory last.
func syncDirectory(f *os.File) error { return f.Sync() }
