package disk

const (
	blockSize = 4096
	mib       = 1 << 20
	// minimumMargin is left free in an image whose size nobody chose, so that
	// it can boot and take logs; a machine grows its disk anyway.
	minimumMargin = 512 * mib
	// journalRoom covers the journal, the inode tables' descriptors and
	// copies of the superblock.
	journalRoom = 72 * mib
	inodeSize   = 256
)

// Usage is how much room a tree takes in a file system.
type Usage struct {
	// Bytes of content in whole blocks, holes not counted.
	Bytes int64
	// Inodes are files, directories and all else; hard links count once.
	Inodes int64
}

// Least is the size in bytes of the smallest ext4 image that is certain to
// hold the tree.
func (u Usage) Least() int64 {
	size := u.Bytes + u.Bytes/50 + u.Inodes*inodeSize*5/4 + journalRoom
	return (size + mib - 1) / mib * mib
}

// Comfortable is the size in bytes of an image in which a node has room to
// start, for those who choose none.
func (u Usage) Comfortable() int64 {
	size := u.Least() + max(minimumMargin, u.Bytes/4)
	return (size + mib - 1) / mib * mib
}
