package remote

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// body is what is sent to a machine: bytes, and between them files of the build
// host, which are read while they are sent, anew for each try.
type body []part

// part is bytes, or a file of the build host.
type part struct {
	data   []byte
	source *node.Source
	// member is the number of the file of the build host, from 1, that is nothing
	// without this part; 0 for what is always sent.
	member int
}

// size is that of all parts, in bytes.
func (b body) size() int64 {
	n := b.onDisk()
	for _, p := range b {
		n += int64(len(p.data))
	}
	return n
}

// onDisk is the size of the files of the build host alone.
func (b body) onDisk() (n int64) {
	for _, p := range b {
		if p.source != nil {
			n += p.source.Size
		}
	}
	return n
}

// reading is a body that is being read.
type reading struct {
	left body
	at   io.ReadCloser // in the first part that is left; nil before it
	// optional says that the machine takes it without the files that it has.
	optional bool
	progress *progress
	// failed gets why it could not be read to its end, where that is so.
	failed chan error
}

// read begins at the first byte, and tells how far it is.
func (b body) read(tell func(string)) *reading {
	return &reading{left: b, failed: make(chan error, 1), progress: newProgress(tell, b.onDisk())}
}

// leaveOut takes out the files of the build host that the machine has, by number.
func (r *reading) leaveOut(has []int) {
	if !r.optional {
		return
	}
	r.left = slices.DeleteFunc(slices.Clone(r.left), func(p part) bool { return p.member > 0 && slices.Contains(has, p.member) })
	r.progress.total = r.left.onDisk()
}

func (r *reading) Read(p []byte) (int, error) {
	for len(r.left) > 0 {
		n, err := r.readPart(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

// readPart reads of the first part that is left, which ends without an error.
func (r *reading) readPart(p []byte) (n int, err error) {
	if r.at == nil {
		r.at, err = r.left[0].open()
	}
	if err == nil {
		n, err = r.at.Read(p)
	}
	if r.left[0].source != nil {
		r.progress.add(n)
	}
	if err == nil {
		return n, nil
	}
	if r.at != nil {
		_ = r.at.Close() // it was only read
	}
	r.left, r.at = r.left[1:], nil
	if errors.Is(err, io.EOF) {
		return n, nil
	}
	r.left = nil
	r.failed <- err
	return n, err
}

// failure is why the body could not be read, as far as it was; nil for no reason.
func (r *reading) failure() error {
	select {
	case err := <-r.failed:
		return err
	default:
		return nil
	}
}

func (p part) open() (io.ReadCloser, error) {
	if p.source != nil {
		return p.source.Open()
	}
	return io.NopCloser(bytes.NewReader(p.data)), nil
}

// typedLine is how many bytes of a file are typed in a line. A terminal takes
// lines of 4095 characters.
const typedLine = 1023

// typing is what it reads, in lines of base64.
type typing struct {
	from *reading
	line []byte
	err  error
}

func (t *typing) failure() error { return t.from.failure() }

func (t *typing) Read(p []byte) (int, error) {
	if len(t.line) == 0 && t.err == nil {
		raw := make([]byte, typedLine)
		var n int
		n, t.err = io.ReadFull(t.from, raw)
		if errors.Is(t.err, io.ErrUnexpectedEOF) {
			t.err = io.EOF
		}
		if n > 0 {
			t.line = append(base64.StdEncoding.AppendEncode(nil, raw[:n]), '\n')
		}
	}
	if len(t.line) == 0 {
		return 0, t.err
	}
	n := copy(p, t.line)
	t.line = t.line[n:]
	return n, nil
}

// typedSize is how many bytes lines of base64 have in which size bytes are typed.
func typedSize(size int64) int64 {
	line := func(n int64) int64 {
		if n == 0 {
			return 0
		}
		return int64(base64.StdEncoding.EncodedLen(int(n))) + 1
	}
	return size/typedLine*line(typedLine) + line(size%typedLine)
}
