package cis

import (
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Input is everything a verdict may rest on.
type Input struct {
	// Node is what was collected, by Query.
	Node *node.Node
	// Effective is what K3s will run with, resolved from the same Node.
	Effective *k3s.Effective
	// Benchmark is a name from Benchmarks.
	Benchmark string
	Role      k3s.Role
	Waivers   []Waiver
	// Build is Packer's name of the build, for waivers that name one.
	Build string
	// Now decides which waivers have expired.
	Now time.Time
	// Own are the user's own controls, see LoadControls.
	Own []Control
}

// Control is one control of the catalogue or of the user's own.
type Control struct {
	Key string `yaml:"key"`
}

// Benchmarks returns the names of the benchmark releases, oldest first.
func Benchmarks() []string { panic("not written yet") }

// Select returns the benchmark that name stands for on release r: "auto" and
// "" mean the newest that lists r's minor. The error of one that does not fit
// names those that do.
func Select(r k3s.Release, name string) (string, error) { panic("not written yet") }

// Query returns what has to be collected from a node before Evaluate.
func Query(role k3s.Role, dataDir string) node.Query { panic("not written yet") }

// Evaluate judges the node: the benchmark's controls in its order, then the
// controls of our own and the user's. The same input gives the same results.
func Evaluate(in Input) []Result { panic("not written yet") }

// CheckWaivers returns what is wrong with waivers before any node was seen:
// an unknown control, a duplicate, an expired one, no reason or owner.
func CheckWaivers(ws []Waiver, benchmark string, role k3s.Role, own []Control, now time.Time) []error {
	panic("not written yet")
}

// UnneededWaivers returns the waivers that no failed control needed.
func UnneededWaivers(results []Result, ws []Waiver) []Waiver { panic("not written yet") }

// LoadControls reads a user's own controls; name is the file's name for
// errors, which carry line and column.
func LoadControls(name string, data []byte) ([]Control, error) { panic("not written yet") }
