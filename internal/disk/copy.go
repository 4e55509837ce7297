package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// chunkSize is how much is copied between two looks at the context.
const chunkSize = 1 << 20

// holeSize is the smallest run of zeros that becomes a hole in a file.
const holeSize = 4096

// zeroBlock is what a hole reads as.
var zeroBlock = make([]byte, holeSize)

// copySparse copies r into the empty file w, leaving out runs of zeros so
// that they take no room, and returns the length. It reads pieces of size
// bytes, at most chunkSize.
func copySparse(ctx context.Context, w *os.File, r io.Reader, size int64) (int64, error) {
	n, err := copyNonZero(ctx, w, 0, r, size)
	if err != nil {
		return n, err
	}
	return n, w.Truncate(n)
}

// copyNonZero writes what r holds into w from the offset at on, but for blocks
// of zeros, and returns the length of r.
func copyNonZero(ctx context.Context, w io.WriterAt, at int64, r io.Reader, size int64) (int64, error) {
	var done int64
	chunk := make([]byte, min(max(size, holeSize), chunkSize))
	for {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n, err := fill(r, chunk)
		for start, end := range nonZero(chunk[:n]) {
			if _, err := w.WriteAt(chunk[start:end], at+done+int64(start)); err != nil {
				return done, err
			}
		}
		done += int64(n)
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
}

// nonZero yields the runs of blocks in p that are not all zero.
func nonZero(p []byte) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		start := -1
		for at := 0; at < len(p); at += holeSize {
			block := p[at:min(at+holeSize, len(p))]
			zero := bytes.Equal(block, zeroBlock[:len(block)])
			switch {
			case !zero && start < 0:
				start = at
			case zero && start >= 0:
				if !yield(start, at) {
					return
				}
				start = -1
			}
		}
		if start >= 0 {
			yield(start, len(p))
		}
	}
}

// fill reads until p is full. Unlike io.ReadFull it tells a source that ends,
// io.EOF, from one that is cut off.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// writeFile makes the file host, which must not exist, from size bytes of r.
func writeFile(ctx context.Context, host string, r io.Reader, size int64) (err error) {
	f, err := os.OpenFile(host, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	n, err := copySparse(ctx, f, r, size)
	if err == nil && n != size {
		err = fmt.Errorf("holds %d bytes where the archive says %d", n, size)
	}
	return err
}

// tailReader remembers whether the last 512 bytes that were read are zero,
// which is how a tar archive ends.
type tailReader struct {
	r    io.Reader
	tail []byte
}

const tarBlock = 512

func (t *tailReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n >= tarBlock {
		t.tail = append(t.tail[:0], p[n-tarBlock:n]...)
	} else if n > 0 {
		t.tail = append(t.tail, p[:n]...)
		if over := len(t.tail) - tarBlock; over > 0 {
			t.tail = append(t.tail[:0], t.tail[over:]...)
		}
	}
	return n, err
}

func (t *tailReader) zero() bool {
	return len(t.tail) == tarBlock && bytes.Count(t.tail, []byte{0}) == tarBlock
}
