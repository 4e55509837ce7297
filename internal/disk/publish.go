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

// Finished is an image that nothing is written to any more and that is on the
// disk, at Path, with the digest and the length in bytes that it has there.
type Finished struct {
	Path   string
	Digest Digest
	Size   int64
}

// Finish computes the digest of an image and waits until it is on the disk.
// Others may read it meanwhile.
func Finish(ctx context.Context, path string, with Algorithm) (_ *Finished, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// Writing it out takes none of the time that computing does.
	synced := make(chan error, 1)
	go func() { synced <- f.Sync() }()
	value, err := algorithms[with].compute(ctx, f, info.Size())
	if err := errors.Join(err, <-synced); err != nil {
		return nil, err
	}
	return &Finished{path, Digest{with, hex.EncodeToString(value)}, info.Size()}, nil
}

// Publish makes the image, on the same file system, the file at final, with a
// checksum file beside it. Everything is on the disk before the first rename.
// Files that are there are replaced; an older image's checksums, of every
// algorithm, go first, so that no image ever stands beside the checksum of
// another one. On an error none of the new ones stays.
func (f *Finished) Publish(final string) (*Published, error) {
	algorithm := algorithms[f.Digest.Algorithm]
	p := &Published{Path: final, Checksum: final + algorithm.suffix, Digest: f.Digest, Size: f.Size}
	if err := os.Chmod(f.Path, 0o644); err != nil {
		return nil, err
	}
	partialSum := f.Path + algorithm.suffix
	line := fmt.Sprintf(algorithm.line, p.Digest.Hex, filepath.Base(final))
	if err := writeSynced(partialSum, line); err != nil {
		return nil, errors.Join(err, os.Remove(partialSum))
	}
	for _, old := range ChecksumFiles(final) {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(err, os.Remove(partialSum))
		}
	}
	if err := os.Rename(f.Path, final); err != nil {
		return nil, errors.Join(err, os.Remove(partialSum))
	}
	if err := os.Rename(partialSum, p.Checksum); err != nil {
		return nil, errors.Join(err, os.Remove(final), os.Remove(partialSum))
	}
	return p, syncDirectory(filepath.Dir(final))
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
