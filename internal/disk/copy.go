package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// chunkSize is how much is copied between two looks at the context.
const chunkSize = 1 << 20

// holeSize is the smallest run of zeros that becomes a hole in a file.
const holeSize = 4096

// copySparse copies r into the empty file w, leaving out runs of zeros so
// that they take no room, and returns the length. It reads pieces of size
// bytes, at most chunkSize.
func copySparse(ctx context.Context, w *os.File, r io.Reader, size int64) (int64, error) {
	var at int64
	chunk := make([]byte, min(max(size, holeSize), chunkSize))
	zeros := make([]byte, holeSize)
	for {
		if err := ctx.Err(); err != nil {
			return at, err
		}
		n, err := fill(r, chunk)
		for off := 0; off < n; off += holeSize {
			block := chunk[off:min(off+holeSize, n)]
			if bytes.Equal(block, zeros[:len(block)]) {
				continue
			}
			if _, err := w.WriteAt(block, at+int64(off)); err != nil {
				return at, err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return at, w.Truncate(at)
		}
		if err != nil {
			return at, err
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
