package remote

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// output is what a command prints, up to a limit. A command that was given up
// may go on writing to it, and gets an error: communicators then close what they
// read it from.
type output struct {
	to io.Writer // nil where only the end of it counts

	mu   sync.Mutex
	left int64
	end  []byte
	// over is closed when there was more than the limit.
	over chan struct{}
}

// keptEnd is how many bytes are kept of what a command printed last.
const keptEnd = 4 << 10

var errOver = errors.New("more output than is read")

// newOutput passes up to limit bytes on.
func newOutput(to io.Writer, limit int64) *output {
	return &output{to: to, left: limit, over: make(chan struct{})}
}

func (o *output) Write(p []byte) (int, error) {
	if !o.take(p) {
		return 0, errOver
	}
	if o.to == nil {
		return len(p), nil
	}
	return o.to.Write(p)
}

// take counts p and says whether it is within the limit.
func (o *output) take(p []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left < 0 {
		return false
	}
	if o.left -= int64(len(p)); o.left < 0 {
		close(o.over)
		return false
	}
	o.end = append(o.end, p[max(0, len(p)-keptEnd):]...)
	if len(o.end) > 2*keptEnd {
		o.end = append(o.end[:0], o.end[len(o.end)-keptEnd:]...)
	}
	return true
}

func (o *output) exceeded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.left < 0
}

// lastLines returns the end of what was printed, as one line.
func (o *output) lastLines() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return lastLines(ownLines.ReplaceAllString(string(o.end), ""))
}

// answer is a reply that is read while it comes in.
type answer struct {
	*output
	in  *io.PipeReader
	end *io.PipeWriter
	// ready hears what the machine says of standard input.
	ready chan readiness
	// read gets the reply, or what is wrong with it, as soon as either is known.
	read chan result
}

type result struct {
	reply *reply
	err   error
}

// listen reads the reply to j from what is written to the answer.
func listen(j *job) *answer {
	in, to := io.Pipe()
	a := &answer{output: newOutput(to, maxReply), in: in, end: to, ready: make(chan readiness, 2), read: make(chan result, 1)}
	go func() {
		rep, err := parseReply(in, j, a.ready)
		a.read <- result{rep, err}
		// What comes behind it is not held up, so that the command can end.
		_, _ = io.Copy(io.Discard, in)
	}()
	return a
}

// ended says that all has been written.
func (a *answer) ended() { _ = a.end.Close() }

// refuse reads no more: whatever the command writes from now on is an error.
func (a *answer) refuse() { _ = a.in.CloseWithError(errOver) }

// readiness is what a machine says of standard input: that it looks for what it has
// of it, and then whether it takes it, and which files it has, by their numbers.
type readiness struct {
	looks, takes bool
	has          []int
}

// gated is input that begins when the machine is ready for it. Were it a
// terminal that reads it, the archive would be typed into that. Waiting costs
// no round trip: the machine says so while the answer to the request to run
// the command is still on its way. When the context ends, so does the input:
// the machine then finds that the request is not whole, and does nothing.
type gated struct {
	ctx  context.Context
	gate <-chan readiness
	open bool
	data io.Reader
	// waits is true for a machine that says what it does, however long that takes.
	waits bool
}

// slowOutput is how long a communicator may keep output back.
const slowOutput = 10 * time.Second

func (g *gated) Read(p []byte) (int, error) {
	if err := g.ctx.Err(); err != nil {
		return 0, err
	}
	for !g.open {
		var late <-chan time.Time
		if !g.waits {
			late = time.After(slowOutput)
		}
		select {
		case <-g.ctx.Done():
			return 0, g.ctx.Err()
		case ready := <-g.gate:
			if g.waits = ready.looks; g.waits {
				continue
			}
			if !ready.takes {
				return 0, io.EOF
			}
			if r, ok := g.data.(*reading); ok {
				r.leaveOut(ready.has)
			}
		case <-late:
		}
		g.open = true
	}
	return g.data.Read(p)
}

// ending is input that ends with a context.
type ending struct {
	ctx  context.Context
	data io.Reader
}

func (e ending) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.data.Read(p)
}
