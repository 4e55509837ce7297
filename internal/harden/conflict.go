package harden

import (
	"fmt"
	"slices"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Conflict is the error for configuration of the node's own that contradicts
// what is desired. Make joins it with its other errors.
type Conflict struct {
	// Desired are the flags and keys that could not be had.
	Desired []Setting
	text    string
}

// Setting is a flag of a component, or a key of K3s's own configuration where
// Component is empty.
type Setting struct {
	Component k3s.Component
	Name      string
}

// Given is a flag or a key that the user's own options set.
type Given struct {
	Setting
	// Option is where, as the user writes it.
	Option string
}

// Given lists the keys and flags that config and the lists of arguments set.
func (o Options) Given() []Given {
	c := &choices{Options: o}
	scalars, lists := c.userKeys()
	var out []Given
	for _, w := range slices.Concat(c.userArgs(), scalars, lists) {
		out = append(out, Given{w.setting(), w.option})
	}
	return out
}

// Error names the place, what stands there, what is desired and the remedy.
func (c *Conflict) Error() string { return c.text }

func conflict(ws []desired, format string, args ...any) error {
	c := &Conflict{text: fmt.Sprintf(format, args...)}
	for _, w := range ws {
		c.Desired = append(c.Desired, w.setting())
	}
	return c
}

func (w desired) setting() Setting {
	if w.flag == "" {
		return Setting{Name: w.key}
	}
	return Setting{Component: w.component, Name: w.flag}
}
