package rootfs

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// readFlags open a file that may have been swapped for something else since
// it was looked at: a link is refused, a pipe does not block, and the time of
// the last access stays what it was.
const (
	readFlags  = os.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	quietFlags = readFlags | unix.O_NOATIME
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
