package cis

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestNarrator: a session need not wait, everything is told in order, and
// nothing is left untold.
func TestNarrator(t *testing.T) {
	var told []string
	slow := make(chan struct{})
	n := newNarrator()
	say := n.by(func(text string) {
		<-slow
		told = append(told, "said "+text)
	})
	complain := n.by(func(text string) { told = append(told, "complained "+text) })
	say("0")
	complain("1")
	say("2") // all of it while the first is still being told
	close(slow)
	want := []string{"said 0", "complained 1", "said 2"}
	for i := 3; i < 3*backlog; i++ {
		say(fmt.Sprint(i))
		want = append(want, fmt.Sprintf("said %d", i))
	}
	n.end()
	assert.Equal(t, want, told)
}
