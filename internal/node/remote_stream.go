package node

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"
)

// capture keeps output up to a limit. A command that was given up may go on
// writing to it.
type capture struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	limit int
	over  bool
	// ready and refused are what is looked for as long as gate is there.
	ready, refused []byte
	gate           chan bool
	// last is how the last line begins; whole hears of it once it is there.
	last  []byte
	whole chan<- struct{}
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf.Len()+len(p) > c.limit {
		c.over = true
		return len(p), nil
	}
	n, err := c.buf.Write(p)
	if c.gate != nil {
		if yes := bytes.Contains(c.buf.Bytes(), c.ready); yes || bytes.Contains(c.buf.Bytes(), c.refused) {
			c.gate <- yes
			c.gate = nil
		}
	}
	if c.whole != nil && c.ended() {
		c.whole <- struct{}{}
		c.whole = nil
	}
	return n, err
}

// longestEnd is more than the last line has bytes.
const longestEnd = 200

// ended says whether the last line is there to its end. Behind an archive it has
// no line break before it.
func (c *capture) ended() bool {
	tail := c.buf.Bytes()
	tail = tail[max(0, len(tail)-longestEnd):]
	i := bytes.LastIndex(tail, c.last)
	return i >= 0 && bytes.IndexByte(tail[i:], '\n') == len(tail)-i-1
}

func (c *capture) take() (data []byte, whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.buf.Bytes()), !c.over
}

// gated is input that begins when the machine is ready for it. Were it a
// terminal that reads it, the archive would be typed into that. Waiting costs
// no round trip: the machine says so while the answer to the request to run
// the command is still on its way. When the context ends, so does the input:
// the machine then finds that the request is not whole, and does nothing.
type gated struct {
	ctx  context.Context
	gate <-chan bool
	open bool
	data io.Reader
}

// slowOutput is how long a communicator may keep output back.
const slowOutput = 10 * time.Second

func (g *gated) Read(p []byte) (int, error) {
	if err := g.ctx.Err(); err != nil {
		return 0, err
	}
	if !g.open {
		select {
		case <-g.ctx.Done():
			return 0, g.ctx.Err()
		case ready := <-g.gate:
			if !ready {
				return 0, io.EOF
			}
		case <-time.After(slowOutput):
		}
		g.open = true
	}
	return g.data.Read(p)
}
