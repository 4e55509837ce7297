package disk

import (
	"fmt"
	"strings"
)

// Hidden is a directory of a tree that shows something else once the node has
// booted, so that what is in the tree below it proves nothing, and what is
// written there is lost.
type Hidden struct {
	// Dir is the directory, absolute inside the tree.
	Dir string
	// Why says what is mounted there and which file says so.
	Why string
}

// String is one line for a log.
func (h Hidden) String() string { return h.Dir + " " + h.Why }

// within says whether p is dir or below it.
func within(dir, p string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// hide is the Hidden of a line.
func (l mountLine) hide(format string, args ...any) *Hidden {
	return &Hidden{Dir: l.dir, Why: fmt.Sprintf(format, args...) + " (" + l.from + ")"}
}
