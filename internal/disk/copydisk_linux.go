package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// CopyDisk makes the raw disk image to from the base from, which is a disk of
// whatever kind; the base is only read. scratch is a directory for what a
// compressed QCOW2 has to be unpacked to. Unpacking shows its progress unless
// that is nil.
func CopyDisk(ctx context.Context, from string, kind Kind, to, scratch string, progress Progress) (err error) {
	switch {
	case kind.Format == Raw && kind.Compression == None:
		return cloneOrCopy(ctx, from, to)
	case kind.Format == Raw:
		return ExtractFile(ctx, from, to, progress)
	case kind.Compression != None:
		plain := filepath.Join(scratch, "base.qcow2")
		if err := ExtractFile(ctx, from, plain, progress); err != nil {
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

// cloneOrCopy copies the raw image from to the file to, sharing its blocks
// where the file system can. What is a hole in from is not even read.
func cloneOrCopy(ctx context.Context, from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		if err = checkSpace(ctx, from, to); err == nil {
			err = copyData(ctx, out, in)
		}
	}
	return errors.Join(err, out.Close())
}

// copiers is how many pieces of a disk are copied at the same time: two fill
// one another's pauses, and more take their turns on the same disk.
const copiers = 2

// copyPiece is how much of a disk one of them copies, and copyChunk how much of
// that at once, in bytes: what has just been read is still in the processor's
// cache when it is written.
const (
	copyPiece = 8 << 20
	copyChunk = 256 << 10
)

// copyData copies what in holds into the empty file out.
func copyData(ctx context.Context, out, in *os.File) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(copiers)
	for e, err := range dataIn(in, info.Size()) {
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		for piece := range e.pieces(copyPiece) {
			g.Go(func() error {
				_, err := copyNonZero(ctx, out, piece.Start, io.NewSectionReader(in, piece.Start, piece.Size), copyChunk)
				return err
			})
		}
	}
	return g.Wait()
}

// pieces yields the extent in parts of at most size bytes.
func (e Extent) pieces(size int64) iter.Seq[Extent] {
	return func(yield func(Extent) bool) {
		for at := e.Start; at < e.Start+e.Size; at += size {
			if !yield(Extent{at, min(size, e.Start+e.Size-at)}) {
				return
			}
		}
	}
}

// dataIn yields the parts of a file of size bytes that are not holes, in
// order.
func dataIn(f *os.File, size int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		for at := int64(0); at < size; {
			start, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
			switch {
			case errors.Is(err, unix.ENXIO):
				return // a hole up to the end
			case errors.Is(err, unix.EINVAL) && at == 0:
				yield(Extent{0, size}, nil) // a file system that knows no holes
				return
			}
			if err == nil {
				at, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
			}
			if err != nil {
				yield(Extent{}, &os.PathError{Op: "seek", Path: f.Name(), Err: err})
				return
			}
			at = min(at, size)
			if start < at && !yield(Extent{start, at - start}, nil) {
				return
			}
		}
	}
}
