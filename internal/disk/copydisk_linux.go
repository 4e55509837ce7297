package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// CopyDisk makes the raw disk image to from the base from, which is a disk of
// whatever kind; the base is only read. scratch is a directory for what a
// compressed QCOW2 has to be unpacked to.
func CopyDisk(ctx context.Context, from string, kind Kind, to, scratch string) (err error) {
	switch {
	case kind.Format == Raw && kind.Compression == None:
		return cloneOrCopy(ctx, from, to)
	case kind.Format == Raw:
		return ExtractFile(ctx, from, to)
	case kind.Compression != None:
		plain := filepath.Join(scratch, "base.qcow2")
		if err := ExtractFile(ctx, from, plain); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(plain)) }()
		from = plain
	}
	if err := Convert(ctx, from, QCOW2, to, Raw); err != nil {
		return fmt.Errorf("reading the base: %w", err)
	}
	return nil
}
