package node

import (
	"crypto/sha256"
	"errors"
	"fmt"
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

// CopyTo writes the whole source to w, in large writes. The error says where
// the file on the build host is not, or no longer, what the source tells; what
// was written by then is to be dropped.
func (s *Source) CopyTo(w io.Writer) error {
	f, err := os.Open(s.Path)
	if err != nil {
		return fmt.Errorf("on the build host: %w", err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return fmt.Errorf("on the build host: %w", err)
	} else if !fi.Mode().IsRegular() {
		return fmt.Errorf("on the build host: %s is not a regular file", s.Path)
	}
	sum := sha256.New()
	n, err := io.CopyBuffer(onlyWriter{io.MultiWriter(w, sum)}, onlyReader{io.LimitReader(f, s.Size)}, make([]byte, sourceBlock))
	if err != nil {
		return fmt.Errorf("copying %s: %w", s.Path, err)
	}
	// A byte more shows a file that has grown.
	more, err := f.Read(make([]byte, 1))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("on the build host: %w", err)
	}
	if n != s.Size || more > 0 {
		return fmt.Errorf("%s on the build host does not have the %d bytes that it had", s.Path, s.Size)
	}
	if got := [sha256.Size]byte(sum.Sum(nil)); got != s.SHA256 {
		return fmt.Errorf("%s on the build host has the SHA-256 %x, and not %x", s.Path, got, s.SHA256)
	}
	return nil
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
