package cis

// narrator passes on to Packer what a session says, in order, and does not keep
// the session waiting: each text is a round trip between two processes.
type narrator struct {
	texts chan func()
	ended chan struct{}
}

// backlog is how many texts may wait to be passed on.
const backlog = 16

func newNarrator() *narrator {
	n := &narrator{texts: make(chan func(), backlog), ended: make(chan struct{})}
	go func() {
		defer close(n.ended)
		for tell := range n.texts {
			tell()
		}
	}()
	return n
}

// by returns a function that has a text told by tell.
func (n *narrator) by(tell func(string)) func(string) {
	return func(text string) { n.texts <- func() { tell(text) } }
}

// end waits until all is told. Nothing may be said after it.
func (n *narrator) end() {
	close(n.texts)
	<-n.ended
}
