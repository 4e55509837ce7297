//go:build !unix

package rootfs

import (
	"io/fs"
	"os"
)

const (
	readFlags  = os.O_RDONLY
	quietFlags = os.O_RDONLY
)

// ownerOf returns root: this system has no numeric users and groups.
func ownerOf(fs.FileInfo) (uid, gid int) { return 0, 0 }

// syncDirectory does nothing: this system cannot sync a directory.
func syncDirectory(*os.File) error { return nil }
