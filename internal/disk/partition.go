package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
)

// Extent is a part of a disk, in bytes.
type Extent struct{ Start, Size int64 }

// Partition is a part of a disk that may hold a file system.
type Partition struct {
	// Number counts from 1 as in device names; 0 is the whole disk, which has
	// no partition table.
	Number int
	Extent
	// Label and UUID are PARTLABEL and PARTUUID as in fstab.
	Label, UUID string
	FileSystem  FileSystem
	role        role
}

// role is what the type of a partition says that it is for.
type role string

const (
	roleRoot role = "root"
	roleESP  role = "EFI system partition"
	roleBoot role = "extended boot loader partition"
)

// roles are the types of a GPT that say what a partition is for; the root's
// for each architecture that K3s runs on (Discoverable Partitions
// Specification).
var roles = map[gpt.Type]role{
	"4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709": roleRoot, // x86-64
	"B921B045-1DF0-41C3-AF44-4C6F280D3FAE": roleRoot, // arm64
	"69DAD710-2CE4-4E3C-B16C-21A1D49ABED3": roleRoot, // arm
	"72EC70A6-CF74-40E6-BD49-4BDA08E8F224": roleRoot, // riscv64
	"5EEAD9A9-FE09-4A1E-A1D7-520D00531306": roleRoot, // s390x
	gpt.EFISystemPartition:                 roleESP,
	"BC13C2FF-59E6-4262-A352-B275FD6F7172": roleBoot,
}

// Access says what mounting must not change.
type Access struct {
	// ReadOnly keeps the files as they are.
	ReadOnly bool
	// Image keeps every byte of the image as it is.
	Image bool
}

// Layout is how a disk is divided.
type Layout struct {
	// Table is "gpt", "dos" or, for a disk without partitions, empty.
	Table      string
	SectorSize int
	Partitions []Partition
}

// sectorSizes are the logical sector sizes of disks; nearly all have the first.
var sectorSizes = []int{512, 4096}

// Bounds of what a GPT header may say; the specification's minimum is 128
// entries of 128 bytes, and nobody uses much more.
const (
	maxGPTEntries   = 4096
	maxGPTEntrySize = 4096
)

// ReadLayout reads the partition table of the raw disk at path, and what
// stands in each partition. A disk without a table is one partition.
func ReadLayout(path string) (*Layout, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	layout, err := readTable(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, p := range layout.Partitions {
		if p.FileSystem.Type == "" {
			layout.Partitions[i].FileSystem = probe(f, p.Start)
		}
	}
	return layout, nil
}

// readTable finds the partitions of a disk of size bytes.
func readTable(f *os.File, size int64) (*Layout, error) {
	boot := make([]byte, 512)
	if _, err := f.ReadAt(boot, 0); err != nil {
		return nil, fmt.Errorf("reading the first sector: %w", err)
	}
	if boot[510] != 0x55 || boot[511] != 0xaa {
		return whole(size), nil
	}
	for _, sector := range sectorSizes {
		layout, err := readGPT(f, sector, size)
		if layout != nil || err != nil {
			return layout, err
		}
	}
	return readMBR(f, boot, size)
}

// whole is a disk that is one file system.
func whole(size int64) *Layout {
	return &Layout{Partitions: []Partition{{Extent: Extent{0, size}}}}
}

// readGPT returns nil without an error where there is no GPT.
func readGPT(f *os.File, sector int, size int64) (*Layout, error) {
	head := make([]byte, 92)
	if n, _ := f.ReadAt(head, int64(sector)); n < len(head) || string(head[:8]) != "EFI PART" {
		return nil, nil // a disk that is too short for a GPT has none
	}
	entries, entrySize := binary.LittleEndian.Uint32(head[80:]), binary.LittleEndian.Uint32(head[84:])
	if entries > maxGPTEntries || entrySize < 128 || entrySize > maxGPTEntrySize {
		return nil, fmt.Errorf("GPT header says %d entries of %d bytes, which is not believable", entries, entrySize)
	}
	table, err := gpt.Read(f, sector, sector)
	if err != nil {
		return nil, fmt.Errorf("reading the GPT: %w", err)
	}
	layout := &Layout{Table: "gpt", SectorSize: sector}
	for i, p := range table.Partitions {
		if p.Type == gpt.Unused || p.Start == 0 {
			continue
		}
		number := p.Index
		if number == 0 {
			number = i + 1
		}
		extent, err := extentOf(number, p.Start, p.End-p.Start+1, sector, size)
		if err != nil {
			return nil, err
		}
		layout.Partitions = append(layout.Partitions, Partition{
			Number: number, Extent: extent, Label: p.Name, UUID: strings.ToLower(p.GUID),
			role: roles[gpt.Type(strings.ToUpper(string(p.Type)))],
		})
	}
	return layout, nil
}

// containers are the types of partitions that hold logical ones.
var containers = map[mbr.Type]string{
	0x05: "extended partition", 0x0f: "extended partition", 0x85: "extended partition",
}

// dosRoles are the types of a DOS table that say what a partition is for.
var dosRoles = map[mbr.Type]role{0xef: roleESP, 0xea: roleBoot}

// Logical partitions are counted from firstLogical on, and Linux follows no
// more than maxLinks links to them.
const (
	firstLogical = 5
	maxLinks     = 100
)

// mbrEntry is an entry of a DOS table, in sectors.
type mbrEntry struct {
	kind        mbr.Type
	start, size int64
}

// entriesOf returns the first two entries of the boot record in a sector, or
// none where there is no such record.
func entriesOf(f *os.File, sector int64) (partition, link mbrEntry) {
	b := make([]byte, 512)
	if _, err := f.ReadAt(b, sector*512); err != nil || b[510] != 0x55 || b[511] != 0xaa {
		return partition, link
	}
	entry := func(b []byte) mbrEntry {
		return mbrEntry{mbr.Type(b[4]), int64(binary.LittleEndian.Uint32(b[8:])), int64(binary.LittleEndian.Uint32(b[12:]))}
	}
	return entry(b[446:]), entry(b[462:])
}

// addLogical adds the partitions in an extended one, numbered from next on, to
// the layout of a disk of size bytes, and returns the number after the last.
// Each stands in a record of its own, which links to the next one; as in
// Linux, what is no record ends them.
func (l *Layout) addLogical(f *os.File, container Partition, disk uint32, next int, size int64) (int, error) {
	first := container.Start / 512
	at := first
	for range maxLinks {
		p, link := entriesOf(f, at)
		if p.size > 0 && p.kind != mbr.Empty && containers[p.kind] == "" {
			extent, err := extentOf(next, uint64(at+p.start), uint64(p.size), 512, size)
			if err != nil {
				return next, err
			}
			l.Partitions = append(l.Partitions, Partition{Number: next, Extent: extent, UUID: dosID(disk, next), role: dosRoles[p.kind]})
			next++
		}
		if link.size == 0 || containers[link.kind] == "" {
			return next, nil
		}
		at = first + link.start
	}
	return next, fmt.Errorf("the extended partition %d has more than %d links, or they go round in a circle", container.Number, maxLinks)
}

// dosID is the PARTUUID of a partition of a disk with a DOS table.
func dosID(disk uint32, number int) string { return fmt.Sprintf("%08x-%02x", disk, number) }

// readMBR reads the four entries of a DOS table, and the logical partitions. A boot sector without any is
// that of a disk which is one file system.
func readMBR(f *os.File, boot []byte, size int64) (*Layout, error) {
	var entries []*mbr.Partition
	if table, err := mbr.Read(f, 512, 512); err == nil { // else it is boot code, not a table
		entries = table.Partitions
	}
	layout := &Layout{Table: "dos", SectorSize: 512}
	disk := binary.LittleEndian.Uint32(boot[440:])
	for i, p := range entries {
		if p.Type == mbr.Empty || p.Size == 0 {
			continue
		}
		number := i + 1
		if p.Type == 0xee {
			return nil, errors.New("the disk says it has a GPT, but none can be read")
		}
		extent, err := extentOf(number, uint64(p.Start), uint64(p.Size), 512, size)
		if err != nil {
			return nil, err
		}
		layout.Partitions = append(layout.Partitions, Partition{
			Number: number, Extent: extent, UUID: dosID(disk, number), role: dosRoles[p.Type],
			FileSystem: FileSystem{Type: containers[p.Type]},
		})
	}
	if layout.Partitions == nil {
		return whole(size), nil
	}
	next := firstLogical
	for _, p := range layout.Partitions {
		if p.FileSystem.Type == "" {
			continue
		}
		var err error
		if next, err = layout.addLogical(f, p, disk, next, size); err != nil {
			return nil, err
		}
	}
	return layout, nil
}

// extentOf turns sectors into bytes and refuses what lies outside the disk.
func extentOf(number int, start, sectors uint64, sector int, size int64) (Extent, error) {
	limit := uint64(size) / uint64(sector)
	if start > limit || sectors > limit-start {
		return Extent{}, fmt.Errorf("partition %d reaches beyond the end of the disk (%d sectors from %d on, disk has %d): is the image cut off?",
			number, sectors, start, limit)
	}
	return Extent{Start: int64(start) * int64(sector), Size: int64(sectors) * int64(sector)}, nil
}
