package remote

import (
	"fmt"
	"time"

	"github.com/docker/go-units"
)

// progressEvery is how often the user is told how far files of the build host are.
const progressEvery = 10 * time.Second

// progress tells how much of the files of the build host is on its way, where that
// takes long.
type progress struct {
	tell        func(string)
	sent, total int64
	now         func() time.Time
	// last is when it was told last, or when the first byte went.
	last time.Time
	told bool
}

func newProgress(tell func(string), total int64) *progress {
	return &progress{tell: tell, total: total, now: time.Now}
}

// add counts bytes that go now.
func (p *progress) add(n int) {
	if p.tell == nil || n == 0 {
		return
	}
	now := p.now()
	if p.last.IsZero() {
		p.last = now
	}
	p.sent += int64(n)
	done := p.sent == p.total
	if now.Sub(p.last) < progressEvery && (!done || !p.told) {
		return
	}
	p.last, p.told = now, true
	size := func(n int64) string { return units.HumanSize(float64(n)) }
	p.tell(fmt.Sprintf("Sent %s of %s (%d %%).", size(p.sent), size(p.total), p.sent*100/max(1, p.total)))
}
