package remote

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// archive reads the files of a tar archive and stays right behind it.
func (p *replyParser) archive() (int, error) {
	r := tar.NewReader(p.in)
	for files := 0; ; files++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errCut, err)
		}
		if err := p.member(h, r); err != nil {
			return 0, err
		}
	}
}

// member reads one file of an archive. Not a byte of what is not wanted is
// read: a hole takes nothing to send.
func (p *replyParser) member(h *tar.Header, data io.Reader) error {
	at := nodePath(h.Name)
	if p.dropped[at] {
		return nil
	}
	if err := p.wanted(at); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return p.fill(at, h.Size, data)
	case tar.TypeLink:
		same := p.entries[nodePath(h.Linkname)]
		if same.Data == nil {
			return damaged("%s is the same as %q, which is not there", at, excerpt(h.Linkname))
		}
		return p.put(at, same.Data)
	}
	return fmt.Errorf("%s changed while it was read", at)
}

// archives reads one archive after another, up to the last line.
func (p *replyParser) archives() (int, error) {
	for files := 0; ; {
		n, err := p.archive()
		if err != nil {
			return 0, err
		}
		files += n
		// An archive is padded with zeros to whole records.
		for {
			b, err := p.in.ReadByte()
			if err != nil {
				return 0, errCut
			}
			if b != 0 {
				break
			}
		}
		if err := p.in.UnreadByte(); err != nil {
			return 0, err
		}
		if next, _ := p.in.Peek(len(p.sign)); string(next) == p.sign {
			return files, nil
		}
	}
}

// plain reads files as machines without tar send them.
func (p *replyParser) plain() (int, error) {
	for files := 0; ; files++ {
		start, err := p.in.Peek(2)
		if err != nil {
			return 0, errCut
		}
		if string(start) != "f " {
			return files, nil
		}
		line, err := p.line()
		if err != nil {
			return 0, err
		}
		if err := p.plainFile(line); err != nil {
			return 0, err
		}
	}
}

// plainFile reads the file that line announces.
func (p *replyParser) plainFile(line string) error {
	f := strings.SplitN(line, " ", 3)
	if len(f) != 3 {
		return damaged("file %q", excerpt(line))
	}
	size, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil || size < 0 || size > node.MaxFileSize {
		return damaged("file %q", excerpt(line))
	}
	at := nodePath(f[2])
	if p.dropped[at] {
		_, err = p.in.Discard(int(size))
	} else if err = p.wanted(at); err == nil {
		err = p.fill(at, size, p.in)
	}
	if err != nil {
		return err
	}
	last, err := p.in.ReadByte()
	switch {
	case err != nil:
		return errCut
	case last != '\n':
		return fmt.Errorf("%s changed while it was read", at)
	}
	return nil
}

// wanted refuses the bytes of the file at at when they were not asked for, or
// are there already.
func (p *replyParser) wanted(at string) error {
	switch {
	case !p.content[at]:
		return damaged("it holds %q, which was not asked for", excerpt(at))
	case p.entries[at].Data != nil:
		return damaged("it holds %q twice", excerpt(at))
	}
	return nil
}

// fill gives the entry at path at the next size bytes of data.
func (p *replyParser) fill(at string, size int64, data io.Reader) error {
	if size != p.entries[at].Size {
		return fmt.Errorf("%s changed while it was read", at)
	}
	// Sizes were added up before: this is within what one collection may hold.
	all := make([]byte, size)
	if _, err := io.ReadFull(data, all); err != nil {
		return fmt.Errorf("%w: %w", errCut, err)
	}
	return p.put(at, all)
}

func (p *replyParser) put(at string, data []byte) error {
	e := p.entries[at]
	if e.Size != int64(len(data)) {
		return fmt.Errorf("%s changed while it was read", at)
	}
	e.Data = data
	p.entries[at] = e
	return nil
}
