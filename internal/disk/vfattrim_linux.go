package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// vfatShape is where a vfat file system has what, in bytes from its beginning
// (Microsoft's FAT specification, section 3).
type vfatShape struct {
	table, tableSize int64
	data             int64 // of cluster 2
	clusterSize      int64
	clusters         int64
	bits             int // of an entry of the table
}

// The largest counts of clusters that are still of the smaller kinds.
const (
	maxFAT12 = 4084
	maxFAT16 = 65524
)

// shapeOf reads the first sector of a file system in a partition of size bytes.
func shapeOf(b []byte, size int64) (vfatShape, error) {
	le := binary.LittleEndian
	either := func(short uint16, long uint32) int64 {
		if short != 0 {
			return int64(short)
		}
		return int64(long)
	}
	sector := int64(le.Uint16(b[11:]))
	tableSize := either(le.Uint16(b[22:]), le.Uint32(b[36:])) * sector
	s := vfatShape{table: int64(le.Uint16(b[14:])) * sector, tableSize: tableSize, clusterSize: int64(b[13]) * sector}
	root := int64(le.Uint16(b[17:])) * 32
	total := either(le.Uint16(b[19:]), le.Uint32(b[32:])) * sector
	if sector < 512 || s.clusterSize == 0 || s.table == 0 || b[16] == 0 || total > size {
		return s, errors.New("its first sector makes no sense")
	}
	s.data = s.table + int64(b[16])*tableSize + (root+sector-1)/sector*sector
	s.clusters = (total - s.data) / s.clusterSize
	switch {
	case s.clusters <= maxFAT12:
		s.bits = 12
	case s.clusters <= maxFAT16:
		s.bits = 16
	default:
		s.bits = 32
	}
	if s.clusters < 1 || (s.clusters+2)*int64(s.bits) > tableSize*8 {
		return s, errors.New("its table is too short")
	}
	return s, nil
}

// free says whether a cluster belongs to nothing.
func (s vfatShape) free(table []byte, cluster int64) bool {
	at := table[cluster*int64(s.bits)/8:]
	switch s.bits {
	case 12:
		entry := binary.LittleEndian.Uint16(at)
		if cluster%2 == 1 {
			return entry>>4 == 0
		}
		return entry&0xfff == 0
	case 16:
		return binary.LittleEndian.Uint16(at) == 0
	default:
		return binary.LittleEndian.Uint32(at)&0x0fffffff == 0 // the other bits are not part of it
	}
}

// trim makes holes in the image where the file system is free, or says that
// this host's file systems cannot.
func (c *vfatCopy) trim(image string) (done bool, err error) {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	first := make([]byte, 512)
	if _, err := f.ReadAt(first, c.partition.Start); err != nil {
		return false, err
	}
	s, err := shapeOf(first, c.partition.Size)
	if err != nil {
		return false, err
	}
	// The last entry of the smallest kind may end in the middle of a word.
	table := make([]byte, s.tableSize+1)
	if _, err := f.ReadAt(table[:s.tableSize], c.partition.Start+s.table); err != nil {
		return false, fmt.Errorf("reading its table: %w", err)
	}
	last := s.clusters + 1
	for from := int64(2); from <= last; from++ {
		to := from
		for to <= last && s.free(table, to) {
			to++
		}
		if to == from {
			continue
		}
		start := c.partition.Start + s.data + (from-2)*s.clusterSize
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, start, (to-from)*s.clusterSize)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		from = to
	}
	return true, nil
}
