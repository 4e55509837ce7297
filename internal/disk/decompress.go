package disk

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Compression is how a base is compressed.
type Compression string

// The compressions that are read.
const (
	None  Compression = ""
	Gzip  Compression = "gzip"
	Bzip2 Compression = "bzip2"
	XZ    Compression = "xz"
	Zstd  Compression = "zstd"
)

// maxZstdWindow bounds the memory that an archive can make the reader take,
// in bytes: what "zstd --ultra --long=27" needs.
const maxZstdWindow = 128 << 20

// compressions tells a compression by its first bytes.
var compressions = []struct {
	name  Compression
	magic []byte
	open  func(io.Reader) (io.ReadCloser, error)
}{
	{Gzip, []byte{0x1f, 0x8b}, func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }},
	{Bzip2, []byte("BZh"), func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(r)), nil }},
	{XZ, []byte{0xfd, '7', 'z', 'X', 'Z', 0}, func(r io.Reader) (io.ReadCloser, error) {
		x, err := xz.NewReader(r)
		return io.NopCloser(x), err
	}},
	{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd}, func(r io.Reader) (io.ReadCloser, error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}},
}

// Decompress tells by its first bytes how r is compressed and returns the
// plain bytes. An error names the compression.
func Decompress(r io.Reader) (Compression, io.ReadCloser, error) {
	return decompress(r, nil)
}

// decompress is Decompress with other ways to open some compressions. One that
// is not there returns errors.ErrUnsupported.
func decompress(r io.Reader, other map[Compression]func(io.Reader) (io.ReadCloser, error)) (Compression, io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, chunkSize)
	head, err := buffered.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return None, nil, err
	}
	for _, c := range compressions {
		if !bytes.HasPrefix(head, c.magic) {
			continue
		}
		plain, err := io.ReadCloser(nil), errors.ErrUnsupported
		if open := other[c.name]; open != nil {
			plain, err = open(buffered)
		}
		if errors.Is(err, errors.ErrUnsupported) {
			plain, err = c.open(buffered)
		}
		if err != nil {
			return c.name, nil, fmt.Errorf("reading as %s: %w", c.name, err)
		}
		return c.name, plain, nil
	}
	return None, io.NopCloser(buffered), nil
}

// Progress shows how far a stream of size bytes has been read. It returns what
// to read instead.
type Progress func(stream io.ReadCloser, size int64) io.ReadCloser

// packed is a file that is read decompressed.
type packed struct {
	io.Reader
	closers []io.Closer
}

// Close ends what decompresses before it closes what that reads from.
func (p *packed) Close() error {
	var errs []error
	for _, c := range p.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// openPacked opens a file to read what is in it decompressed, with a program
// where that is faster, and shows the progress unless that is nil.
func openPacked(ctx context.Context, path string, progress Progress) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	stream := io.ReadCloser(f)
	if progress != nil {
		stream = progress(f, info.Size())
	}
	_, plain, err := decompress(stream, map[Compression]func(io.Reader) (io.ReadCloser, error){
		XZ: func(r io.Reader) (io.ReadCloser, error) { return xzProgram(ctx, r) },
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), stream.Close())
	}
	return &packed{plain, []io.Closer{plain, stream}}, nil
}
