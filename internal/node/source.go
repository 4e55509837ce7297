package node

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// Source is the content of a file to write that lies on the build host and is
// too large to be held in memory. It is read while it is put in place, once for
// each try, and never collected: what is known of it afterwards is mode, owner
// and size, and that its digest was compared before anything was changed.
type Source struct {
	// Path is a regular file of the build host.
	Path string
	// Size is its length in bytes.
	Size int64
	// SHA256 is the digest of its bytes.
	SHA256 [sha256.Size]byte
}

// checkSource finds a source that does not go with the rest of the entry.
func (e Entry) checkSource() error {
	switch s := e.Source; {
	case s == nil:
		return nil
	case e.Kind != KindFile:
		return fmt.Errorf("path %q: a %s has no source", e.Path, e.Kind)
	case len(e.Data) > 0:
		return fmt.Errorf("path %q: the content is given twice, in memory and in %s", e.Path, s.Path)
	case s.Path == "" || s.Size < 0:
		return fmt.Errorf("path %q: a source of %d bytes at %q makes no sense", e.Path, s.Size, s.Path)
	}
	return nil
}

// sourceBlock is how much of a source is read and written at once, in bytes.
const sourceBlock = 1 << 20

// Open reads the source from its beginning, to be closed by the caller. The end is
// an error where the file on the build host is not, or no longer, what the source
// tells: what was read by then is to be dropped.
func (s *Source) Open() (io.ReadCloser, error) {
	r, err := s.open()
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (s *Source) open() (*sourceReader, error) {
	f, err := os.Open(s.Path)
	if err != nil {
		return nil, fmt.Errorf("on the build host: %w", err)
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		_ = f.Close() // it was not read
		return nil, fmt.Errorf("on the build host: %w", cmp.Or(err, fmt.Errorf("%s is not a regular file", s.Path)))
	}
	return &sourceReader{source: s, file: f, sum: sha256.New()}, nil
}

// sourceReader compares what it reads with what the source tells.
type sourceReader struct {
	source *Source
	file   *os.File
	sum    hash.Hash
	read   int64
}

func (r *sourceReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.next(p)
	_, _ = r.sum.Write(p[:n]) // never fails
	return n, err
}

// next reads without computing the digest, which at the end has to be there.
func (r *sourceReader) next(p []byte) (int, error) {
	n, err := r.file.Read(p)
	r.read += int64(n)
	switch end := errors.Is(err, io.EOF); {
	case err != nil && !end:
		return 0, fmt.Errorf("on the build host: %w", err)
	case r.read > r.source.Size, end && r.read < r.source.Size:
		return 0, fmt.Errorf("%s on the build host does not have the %d bytes that it had", r.source.Path, r.source.Size)
	case !end:
		return n, nil
	}
	if got := [sha256.Size]byte(r.sum.Sum(nil)); got != r.source.SHA256 {
		return 0, fmt.Errorf("%s on the build host has the SHA-256 %x, and not %x", r.source.Path, got, r.source.SHA256)
	}
	return 0, io.EOF
}

func (r *sourceReader) Close() error { return r.file.Close() }

// CopyTo writes the whole source to w, in large writes beside which the digest is
// computed. Its errors are those of Open and of w.
func (s *Source) CopyTo(w io.Writer) error {
	from, err := s.open()
	if err != nil {
		return err
	}
	defer from.Close()
	for block := make([]byte, sourceBlock); ; {
		n, err := from.next(block)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("copying %s: %w", s.Path, err)
		}
		summed := make(chan struct{})
		go func() {
			_, _ = from.sum.Write(block[:n]) // never fails
			close(summed)
		}()
		_, err = w.Write(block[:n])
		<-summed
		if err != nil {
			return fmt.Errorf("copying %s: %w", s.Path, err)
		}
	}
}

// Same says whether what r holds is the source, byte for byte by its digest.
func (s *Source) Same(r io.Reader) (bool, error) {
	sum := sha256.New()
	n, err := io.CopyBuffer(onlyWriter{sum}, onlyReader{io.LimitReader(r, s.Size+1)}, make([]byte, sourceBlock))
	return err == nil && n == s.Size && [sha256.Size]byte(sum.Sum(nil)) == s.SHA256, err
}

// onlyReader and onlyWriter keep io.CopyBuffer to its buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
