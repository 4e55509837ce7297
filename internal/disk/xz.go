package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// xzReader reads what the program xz writes.
type xzReader struct {
	cmd    *exec.Cmd
	out    io.Reader
	said   *bytes.Buffer
	cancel context.CancelFunc
	err    error // of the program's end; nil while it runs
}

// xzProgram decompresses r with the program xz, which uses every processor on
// blocks that were compressed by many. Without the program, or with one of
// another make, it returns errors.ErrUnsupported.
func xzProgram(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	path, err := XZUtils.Find()
	if err != nil {
		return nil, errors.ErrUnsupported
	}
	if version, err := exec.CommandContext(ctx, path, "--version").Output(); err != nil || !bytes.HasPrefix(version, []byte("xz (XZ Utils)")) {
		return nil, errors.ErrUnsupported
	}
	ctx, cancel := context.WithCancel(ctx)
	x := &xzReader{said: &bytes.Buffer{}, cancel: cancel}
	x.cmd = exec.CommandContext(ctx, path, "--decompress", "--stdout", "--threads=0")
	x.cmd.Env = append(os.Environ(), "LC_ALL=C")
	x.cmd.WaitDelay = 5 * time.Second
	x.cmd.Stdin, x.cmd.Stderr = r, x.said
	if x.out, err = x.cmd.StdoutPipe(); err == nil {
		err = x.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return x, nil
}

// Read returns the program's error in place of the end of what it wrote.
func (x *xzReader) Read(p []byte) (int, error) {
	if x.err != nil {
		return 0, x.err
	}
	n, err := x.out.Read(p)
	if errors.Is(err, io.EOF) {
		x.end(io.EOF)
		err = x.err
	}
	return n, err
}

// end waits for the program; what is read from then on is an error, or ended
// where the program was content.
func (x *xzReader) end(ended error) {
	x.err = ended
	if err := x.cmd.Wait(); err != nil {
		x.err = fmt.Errorf("xz: %w: %s", err, strings.TrimSpace(x.said.String()))
	}
}

// Close ends the program, if it still runs.
func (x *xzReader) Close() error {
	x.cancel()
	if x.err == nil {
		x.end(os.ErrClosed)
	}
	return nil
}
