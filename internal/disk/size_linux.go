package disk

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Measure returns how much room the tree at dir takes. It does not look into
// file systems that are mounted in it.
func Measure(dir string) (Usage, error) {
	var u Usage
	seen := map[inode]bool{}
	var device uint64
	err := filepath.WalkDir(dir, func(host string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(host, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: host, Err: err}
		}
		if host == dir {
			device = st.Dev
		}
		id := inode{st.Dev, st.Ino}
		if st.Nlink > 1 && !d.IsDir() {
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		u.Inodes++
		switch {
		case d.IsDir():
			u.Bytes += max((st.Size+blockSize-1)/blockSize, 1) * blockSize
			if st.Dev != device {
				return fs.SkipDir
			}
		case d.Type().IsRegular():
			// A sparse file takes less than its length, and a file that the
			// host's file system compressed takes more than it says.
			u.Bytes += (st.Size + blockSize - 1) / blockSize * blockSize
		case d.Type()&fs.ModeSymlink != 0 && st.Size >= 60:
			u.Bytes += blockSize
		}
		return nil
	})
	return u, err
}
