package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Offsets in a QCOW2 header and its incompatible feature that puts the data
// into another file (QEMU, docs/interop/qcow2.txt).
const (
	qcow2Version     = 4
	qcow2BackingFile = 8
	qcow2Size        = 24
	qcow2Crypt       = 32
	qcow2Features    = 72
	qcow2HeaderSize  = 104
	externalData     = 1 << 2
)

// CheckQCOW2 refuses a QCOW2 image that is not whole in itself: one that
// names a backing or data file would have a file of this host read, whoever
// made it, and an encrypted one cannot be read. It returns the size of the
// disk inside, in bytes.
func CheckQCOW2(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head := make([]byte, qcow2HeaderSize)
	if n, err := io.ReadFull(f, head); err != nil && (!errors.Is(err, io.ErrUnexpectedEOF) || n < qcow2Features) {
		return 0, fmt.Errorf("%s: qcow2 header: %w", path, err)
	}
	version := binary.BigEndian.Uint32(head[qcow2Version:])
	switch {
	case version != 2 && version != 3:
		return 0, fmt.Errorf("%s: qcow2 version %d is not known, only 2 and 3 are", path, version)
	case binary.BigEndian.Uint64(head[qcow2BackingFile:]) != 0:
		return 0, fmt.Errorf("%s: has a backing file; make it whole with: qemu-img convert -O qcow2", path)
	case binary.BigEndian.Uint32(head[qcow2Crypt:]) != 0:
		return 0, fmt.Errorf("%s: is encrypted; decrypt it first", path)
	case version == 3 && binary.BigEndian.Uint64(head[qcow2Features:])&externalData != 0:
		return 0, fmt.Errorf("%s: keeps its data in another file; make it whole with: qemu-img convert -O qcow2", path)
	}
	size := binary.BigEndian.Uint64(head[qcow2Size:])
	if size == 0 || size > 1<<50 {
		return 0, fmt.Errorf("%s: says its disk is %d bytes", path, size)
	}
	return int64(size), nil
}

// Convert makes the image to from the image from. Both formats are disks.
func Convert(ctx context.Context, from string, fromFormat Format, to string, toFormat Format) error {
	if fromFormat == QCOW2 {
		if _, err := CheckQCOW2(from); err != nil {
			return err
		}
	}
	if err := checkSpace(ctx, from, to); err != nil {
		return err
	}
	_, err := run(ctx, QemuImg, "", nil, "convert", "-q",
		"-f", string(fromFormat), "-O", string(toFormat), from, to)
	return err
}
