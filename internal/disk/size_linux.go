package disk

import "golang.org/x/sys/unix"

// Measure returns how much room the tree at dir takes. It does not look into
// file systems that are mounted in it.
func Measure(dir string) (Usage, error) {
	var u Usage
	err := eachFile(dir, false, func(_ string, st *unix.Stat_t) error {
		u.Inodes++
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			u.Bytes += max((st.Size+blockSize-1)/blockSize, 1) * blockSize
		case unix.S_IFREG:
			// A sparse file takes less than its length, and a file that the
			// host's file system compressed takes more than it says.
			u.Bytes += (st.Size + blockSize - 1) / blockSize * blockSize
		case unix.S_IFLNK:
			if st.Size >= 60 {
				u.Bytes += blockSize
			}
		}
		return nil
	})
	return u, err
}
