package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Format is how a base or an image is laid out.
type Format string

// The formats that are read and written.
const (
	// Raw is a disk, byte by byte: with a partition table, or one file system.
	Raw Format = "raw"
	// QCOW2 is a disk in QEMU's format.
	QCOW2 Format = "qcow2"
	// Tar is a root file system as a tar archive.
	Tar Format = "tar"
)

// Formats lists every format, for error texts.
var Formats = []Format{Raw, QCOW2, Tar}

// Kind is what a base file holds.
type Kind struct {
	Format      Format
	Compression Compression
}

// String names the kind for a log: "tar (zstd)".
func (k Kind) String() string {
	if k.Compression == None {
		return string(k.Format)
	}
	return fmt.Sprintf("%s (%s)", k.Format, k.Compression)
}

// foreign are formats that would otherwise be taken for a raw disk.
var foreign = []struct {
	foreignError
	offset int
	magic  string
}{
	{foreignError{"a VMDK image", true}, 0, "KDMV"},
	{foreignError{"a VHDX image", true}, 0, "vhdxfile"},
	{foreignError{"a VHD image", true}, 0, "conectix"},
	{foreignError{"a VirtualBox image", true}, 0x40, "\x7f\x10\xda\xbe"},
	{foreignError{"a squashfs file system", false}, 0, "hsqs"},
	{foreignError{"a zip archive", false}, 0, "PK\x03\x04"},
	{foreignError{"a 7z archive", false}, 0, "7z\xbc\xaf\x27\x1c"},
	{foreignError{"a cpio archive", false}, 0, "070701"},
	{foreignError{"an ISO 9660 image", false}, 0x8001, "CD001"},
}

// foreignError is returned for a format that is known and not read.
type foreignError struct {
	name string
	// disk says that qemu-img makes a base of it.
	disk bool
}

func (e foreignError) Error() string {
	return fmt.Sprintf("is %s; a base is a raw or qcow2 disk or a root file system tar", e.name)
}

// headSize is how much of a file is looked at to know its format.
const headSize = 0x8001 + 5

// Identify finds out what the file at path holds from its bytes; its name
// means nothing. What is neither an archive nor another known format is a
// raw disk, whose file systems are looked for later.
func Identify(path string) (Kind, error) {
	f, err := os.Open(path)
	if err != nil {
		return Kind{}, err
	}
	defer f.Close()
	compression, r, err := Decompress(f)
	if err != nil {
		return Kind{}, fmt.Errorf("%s: %w", path, err)
	}
	defer r.Close()
	head := make([]byte, headSize)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Kind{}, fmt.Errorf("%s: reading as %s: %w", path, compression, err)
	}
	format, err := identify(head[:n])
	if err != nil {
		return Kind{}, fmt.Errorf("%s: %w", path, err)
	}
	return Kind{Format: format, Compression: compression}, nil
}

// identify names the format of a file that begins with head.
func identify(head []byte) (Format, error) {
	if len(head) < 512 {
		return "", fmt.Errorf("holds %d bytes, too few for a disk or an archive", len(head))
	}
	if bytes.HasPrefix(head, []byte("QFI\xfb")) {
		return QCOW2, nil
	}
	if isTar(head) {
		return Tar, nil
	}
	for _, f := range foreign {
		if len(head) >= f.offset+len(f.magic) && string(head[f.offset:f.offset+len(f.magic)]) == f.magic {
			return "", f.foreignError
		}
	}
	return Raw, nil
}

// isTar says whether a tar header stands at the beginning of head. Old
// archives have no magic, so the checksum decides.
func isTar(head []byte) bool {
	const at, size = 148, 8
	field := strings.Trim(string(head[at:at+size]), " \x00")
	want, err := strconv.ParseInt(field, 8, 64)
	if err != nil || head[0] == 0 {
		return false
	}
	var sum int64
	for i, b := range head[:512] {
		if i >= at && i < at+size {
			b = ' '
		}
		sum += int64(b)
	}
	return sum == want
}
