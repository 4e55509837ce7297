package remote

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
)

// parseCoded reads an answer that was protected from a terminal.
func parseCoded(in *bufio.Reader, encoding, sign string, j *job) (*reply, error) {
	text := &codedText{in: in, end: sign + "coded"}
	var data io.Reader
	switch encoding {
	case "base64":
		data = base64.NewDecoder(base64.StdEncoding, text)
	case "hex":
		data = hex.NewDecoder(text)
	default:
		return nil, damaged("encoding %q is not known", excerpt(encoding))
	}
	body := bufio.NewReaderSize(data, maxLine)
	rep, err := newReplyParser(body, sign, j).parse()
	if err == nil || errors.Is(err, errCut) {
		// What cannot be decoded looks as if it ended there.
		_, rest := io.Copy(io.Discard, body)
		switch {
		case text.cut:
			err = errCut
		case rest != nil:
			err = damaged("%w", rest)
		case err == nil && !text.over:
			err = damaged("there is more behind its end")
		}
	}
	if err != nil {
		return nil, err
	}
	return rep, nil
}

// codedText is text in lines up to the one that begins with end, without the
// spaces and line breaks in it.
type codedText struct {
	in    *bufio.Reader
	end   string
	line  []byte // what of a line is still to be read
	begun bool   // line does not start at its beginning
	blank int    // lines in a row that held nothing
	over  bool
	cut   bool // there was no end
}

// maxBlank bounds the lines in a row of coded text that hold nothing.
const maxBlank = 100

func (c *codedText) Read(p []byte) (int, error) {
	for len(c.line) == 0 {
		if c.over {
			return 0, io.EOF
		}
		if c.blank++; c.blank > maxBlank {
			return 0, errors.New("empty lines and no end")
		}
		line, err := c.in.ReadSlice('\n')
		switch {
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			c.over, c.cut = true, true
			return 0, io.EOF
		case !c.begun && bytes.HasPrefix(bytes.TrimLeft(line, " \t\r"), []byte(c.end)):
			c.over = true
			return 0, io.EOF
		}
		c.begun = err != nil
		c.line = slices.DeleteFunc(line, func(b byte) bool { return strings.IndexByte(" \t\r\n", b) >= 0 })
	}
	c.blank = 0
	n := copy(p, c.line)
	c.line = c.line[n:]
	return n, nil
}
