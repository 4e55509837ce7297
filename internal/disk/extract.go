package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// UnpackFile unpacks the archive at path, compressed or not, into dir, and
// shows its progress unless that is nil. See Unpack.
func UnpackFile(ctx context.Context, path, dir string, progress Progress) (held *Held, err error) {
	if err := checkSpace(ctx, path, dir); err != nil {
		return nil, err
	}
	plain, err := openPacked(ctx, path, progress)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	if held, err = Unpack(ctx, plain, dir); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return held, nil
}

// ExtractFile writes what the file from holds, decompressed, to the file
// to, with holes where it is zero.
func ExtractFile(ctx context.Context, from, to string, progress Progress) (err error) {
	if err := checkSpace(ctx, from, to); err != nil {
		return err
	}
	plain, err := openPacked(ctx, from, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = copySparse(ctx, out, plain, chunkSize)
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("%s: %w", from, errors.Join(err, os.Remove(to)))
	}
	return nil
}

// ArchiveFile writes the tree at dir as a plain tar archive to the file to.
// See Archive.
func ArchiveFile(ctx context.Context, dir, to string, held *Held) (sockets int, err error) {
	if err := checkRoomForTar(dir, to, false); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	sockets, err = Archive(ctx, f, dir, held)
	return sockets, errors.Join(err, f.Close())
}
