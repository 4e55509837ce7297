package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
)

// FileSystem is what stands at the beginning of a partition.
type FileSystem struct {
	// Type is as in fstab: "ext4", "xfs", "btrfs", "vfat", "swap", …; empty
	// where nothing is known.
	Type string
	// Label and UUID are as in fstab, for the types that can hold a root.
	Label, UUID string
}

// rootTypes are the file systems that a root file system may be on.
var rootTypes = map[string]bool{"ext4": true, "xfs": true, "btrfs": true}

// Root says whether a root file system may be on it.
func (f FileSystem) Root() bool { return rootTypes[f.Type] }

// superblock is where a file system shows itself.
type superblock struct {
	kind  string
	at    int64 // of the magic
	magic string
	// label and uuid are where those are, zero for none.
	label, uuid int64
	labelSize   int
}

// superblocks are looked for in this order. Offsets are those of the kernel's
// on-disk structures. Version 2 and 3 of ext are mounted as ext4 too.
var superblocks = []superblock{
	{kind: "ext4", at: 0x438, magic: "\x53\xef", label: 0x478, labelSize: 16, uuid: 0x468},
	{kind: "xfs", at: 0, magic: "XFSB", label: 0x6c, labelSize: 12, uuid: 0x20},
	{kind: "btrfs", at: 0x10040, magic: "_BHRfS_M", label: 0x1012b, labelSize: 256, uuid: 0x10020},
	{kind: "LUKS (encrypted)", at: 0, magic: "LUKS\xba\xbe"},
	{kind: "LVM physical volume", at: 0x218, magic: "LVM2 001"},
	{kind: "RAID member", at: 0x1000, magic: "\xfc\x4e\x2b\xa9"},
	{kind: "swap", at: 0xff6, magic: "SWAPSPACE2"},
	{kind: "erofs", at: 0x400, magic: "\xe2\xe1\xf5\xe0"},
	{kind: "squashfs", at: 0, magic: "hsqs"},
	{kind: "f2fs", at: 0x400, magic: "\x10\x20\xf5\xf2"},
	{kind: "ntfs", at: 3, magic: "NTFS    "},
	{kind: "vfat", at: 0x52, magic: "FAT32   "},
	{kind: "vfat", at: 0x36, magic: "FAT"},
}

// probe reads what stands at start. What it does not know has an empty Type.
func probe(r io.ReaderAt, start int64) FileSystem {
	read := func(at int64, n int) []byte {
		b := make([]byte, n)
		if _, err := r.ReadAt(b, start+at); err != nil {
			return nil
		}
		return b
	}
	for _, s := range superblocks {
		if !bytes.Equal(read(s.at, len(s.magic)), []byte(s.magic)) {
			continue
		}
		found := FileSystem{Type: s.kind}
		if s.label > 0 {
			label, _, _ := bytes.Cut(read(s.label, s.labelSize), []byte{0})
			found.Label = string(label)
		}
		if id, err := uuid.FromBytes(read(s.uuid, 16)); s.uuid > 0 && err == nil {
			found.UUID = id.String()
		}
		if s.kind == "vfat" {
			// The serial number and the label end where the magic begins.
			found.UUID, found.Label = vfatNames(read(s.at-15, 15))
		}
		if s.kind == "ext4" && !plausibleExt(read(0x400, 0x60)) {
			continue
		}
		return found
	}
	return FileSystem{}
}

// vfatNames reads the serial number and the label of a vfat file system.
func vfatNames(b []byte) (id, label string) {
	if b == nil {
		return "", ""
	}
	serial := binary.LittleEndian.Uint32(b)
	return fmt.Sprintf("%04X-%04X", serial>>16, serial&0xffff), strings.TrimRight(string(b[4:]), " \x00")
}

// plausibleExt tells an ext superblock from two bytes that happen to match.
func plausibleExt(b []byte) bool {
	if b == nil {
		return false
	}
	le := binary.LittleEndian
	inodes, blocks, logBlock, perGroup := le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[0x18:]), le.Uint32(b[0x20:])
	return inodes > 0 && blocks > 0 && logBlock <= 6 && perGroup > 0
}

// String names the file system for a list: `ext4 "root"`.
func (f FileSystem) String() string {
	switch {
	case f.Type == "":
		return "nothing that is known"
	case f.Label != "":
		return fmt.Sprintf("%s, label %q", f.Type, f.Label)
	default:
		return f.Type
	}
}
