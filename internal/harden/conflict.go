package harden

import (
	"fmt"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Conflict is the error for configuration of the node's own that contradicts
// what is wanted. Make joins it with its other errors.
type Conflict struct {
	// Wants are the flags and keys that could not be had.
	Wants []Wanted
	text  string
}

// Wanted is a flag of a component, or a key of K3s's own configuration where
// Component is empty.
type Wanted struct {
	Component k3s.Component
	Name      string
}

// Error names the place, what stands there, what is wanted and the remedy.
func (c *Conflict) Error() string { return c.text }

func conflict(ws []want, format string, args ...any) error {
	c := &Conflict{text: fmt.Sprintf(format, args...)}
	for _, w := range ws {
		wanted := Wanted{Component: w.component, Name: w.flag}
		if w.flag == "" {
			wanted = Wanted{Name: w.key}
		}
		c.Wants = append(c.Wants, wanted)
	}
	return c
}
