package disk

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Published is an image in its final place.
type Published struct {
	// Path and Checksum are the image and its checksum file.
	Path, Checksum string
	// Digest is that of the image.
	Digest Digest
	// Size is the image's length in bytes.
	Size int64
}

// Publish makes the finished image at partial, on the same file system, the
// file at final, with a checksum file beside it. Everything is on the disk
// before the first rename. Files that are there are replaced; an older image's
// checksums, of every algorithm, go first, so that no image ever stands beside
// the checksum of another one. On an error none of the new ones stays.
func Publish(ctx context.Context, partial, final string, with Algorithm) (*Published, error) {
	algorithm := algorithms[with]
	p := &Published{Path: final, Checksum: final + algorithm.suffix}
	var err error
	if p.Digest, p.Size, err = digest(ctx, partial, with); err != nil {
		return nil, err
	}
	if err := os.Chmod(partial, 0o644); err != nil {
		return nil, err
	}
	partialSum := partial + algorithm.suffix
	line := fmt.Sprintf(algorithm.line, p.Digest.Hex, filepath.Base(final))
	if err := writeSynced(partialSum, line); err != nil {
		return nil, errors.Join(err, os.Remove(partialSum))
	}
	for _, old := range ChecksumFiles(final) {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, os.Remove(partialSum))
		}
	}
	if err := os.Rename(partial, final); err != nil {
		return nil, errors.Join(err, os.Remove(partialSum))
	}
	if err := os.Rename(partialSum, p.Checksum); err != nil {
		return nil, errors.Join(err, os.Remove(final), os.Remove(partialSum))
	}
	return p, syncDirectory(filepath.Dir(final))
}

// digest computes the digest of a file, and makes sure that it is on the disk.
func digest(ctx context.Context, path string, with Algorithm) (d Digest, size int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return d, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return d, 0, err
	}
	// What is being written out may go on meanwhile.
	value, err := algorithms[with].compute(ctx, f, info.Size())
	if err != nil {
		return d, 0, err
	}
	return Digest{with, hex.EncodeToString(value)}, info.Size(), f.Sync()
}

// reader stops when its context ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDirectory makes renames in a directory last.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
