package node

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// archive reads the files of a tar archive and stays right behind it.
func (p *replyParser) archive() (int, error) {
	files := 0
	r := tar.NewReader(p.in)
	byName := map[string][]byte{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errCut, err)
		}
		at := nodePath(h.Name)
		var data []byte
		switch h.Typeflag {
		case tar.TypeReg:
			if h.Size > MaxFileSize {
				return 0, fmt.Errorf("the answer of the machine is damaged: %s has %d bytes", at, h.Size)
			}
			if data, err = io.ReadAll(r); err != nil {
				return 0, fmt.Errorf("%w: %w", errCut, err)
			}
		case tar.TypeLink:
			var ok bool
			if data, ok = byName[nodePath(h.Linkname)]; !ok {
				return 0, fmt.Errorf("the answer of the machine is damaged: %s is the same as %s, which is not there", at, h.Linkname)
			}
		default:
			return 0, fmt.Errorf("%s changed while it was read", at)
		}
		byName[at] = data
		files++
		if err := p.fill(at, data); err != nil {
			return 0, err
		}
	}
	return files, nil
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
		line, err := p.in.ReadString('\n')
		if err != nil {
			return 0, errCut
		}
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		size := -1
		if len(f) == 3 {
			size, err = strconv.Atoi(f[1])
		}
		if err != nil || size < 0 || size > MaxFileSize {
			return 0, fmt.Errorf("the answer of the machine is damaged: file %q", line)
		}
		data := make([]byte, size+1)
		if _, err := io.ReadFull(p.in, data); err != nil {
			return 0, errCut
		}
		if data[size] != '\n' {
			return 0, fmt.Errorf("%s changed while it was read", f[2])
		}
		if err := p.fill(nodePath(f[2]), data[:size:size]); err != nil {
			return 0, err
		}
	}
}

// fill gives the entry at path at its bytes.
func (p *replyParser) fill(at string, data []byte) error {
	if !plainName(at) || unreadable(at) != "" {
		return nil
	}
	if !p.content[at] {
		return fmt.Errorf("the answer of the machine is damaged: it holds %s, which was not asked for", at)
	}
	e := p.entries[at]
	if e.Size != int64(len(data)) {
		return fmt.Errorf("%s changed while it was read", at)
	}
	e.Data = append([]byte{}, data...)
	p.entries[at] = e
	return nil
}
