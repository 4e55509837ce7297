package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ChecksumSuffix is what the name of an image's checksum file ends with.
const ChecksumSuffix = ".sha256"

// Published is an image in its final place.
type Published struct {
	// Path and Checksum are the image and its checksum file.
	Path, Checksum string
	// Digest is the SHA-256 of the image in lower-case hex.
	Digest string
	// Size is the image's length in bytes.
	Size int64
}

// Publish makes the finished image at partial, on the same file system, the
// file at final, with a checksum file beside it in the form of sha256sum.
// Everything is on the disk before the first rename. Files that are there
// are replaced; on an error none of the new ones stays.
func Publish(ctx context.Context, partial, final string) (*Published, error) {
	p := &Published{Path: final, Checksum: final + ChecksumSuffix}
	var err error
	if p.Digest, p.Size, err = digest(ctx, partial); err != nil {
		return nil, err
	}
	if err := os.Chmod(partial, 0o644); err != nil {
		return nil, err
	}
	partialSum := partial + ChecksumSuffix
	line := fmt.Sprintf("%s  %s\n", p.Digest, filepath.Base(final))
	if err := writeSynced(partialSum, line); err != nil {
		return nil, errors.Join(err, os.Remove(partialSum))
	}
	if err := os.Rename(partial, final); err != nil {
		return nil, errors.Join(err, os.Remove(partialSum))
	}
	if err := os.Rename(partialSum, p.Checksum); err != nil {
		return nil, errors.Join(err, os.Remove(final), os.Remove(partialSum))
	}
	return p, syncDirectory(filepath.Dir(final))
}

// digest hashes a file and makes sure that it is on the disk.
func digest(ctx context.Context, path string) (sum string, size int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return "", 0, err
	}
	hash := sha256.New()
	size, err = io.CopyBuffer(hash, reader{ctx, f}, make([]byte, chunkSize))
	return hex.EncodeToString(hash.Sum(nil)), size, err
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
