package harden

import (
	"fmt"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Incomplete is the error of Make when the node's own configuration points to
// paths that were not collected: collect Query too and plan again.
type Incomplete struct {
	Query node.Query
}

// Error names the paths that are missing.
func (e *Incomplete) Error() string {
	s := "the node's configuration points to what was not collected:"
	for _, p := range e.Query {
		s += " " + p.Path
	}
	return s
}

// contentOf returns a file's bytes, nil when it is absent.
func contentOf(current *node.Node, p string) ([]byte, error) {
	if current == nil {
		return nil, nil
	}
	e, presence := current.Lookup(p)
	switch {
	case presence == node.Absent:
		return nil, nil
	case presence == node.Unknown:
		return nil, &Incomplete{node.Query{{Path: p, Content: true}}}
	case e.Unread != "":
		return nil, fmt.Errorf("%s: cannot be read: %s", p, e.Unread)
	case e.Kind != node.KindFile:
		return nil, fmt.Errorf("%s: found a %s where a file is wanted: remove it", p, e.Kind)
	case e.Data == nil:
		return nil, &Incomplete{node.Query{{Path: p, Content: true}}}
	}
	return e.Data, nil
}
