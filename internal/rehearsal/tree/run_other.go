//go:build !linux

package tree

import (
	"context"
	"runtime"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
)

// Dispatch does nothing where there are no rehearsals.
func Dispatch() {}

// Run says that a rehearsal needs Linux.
func Run(context.Context, string, *rehearsal.Request) (*rehearsal.Observation, error) {
	return nil, &rehearsal.Unavailable{Lacks: []string{"a build host with Linux: this one has " + runtime.GOOS}}
}
