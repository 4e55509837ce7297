package image

import (
	"os"
	"runtime"
	"testing"
)

// Keeps tests off the main thread. It outlives a goroutine that locks it, and
// /proc/self shows its namespaces: a test that gave it some of its own would
// give them to all tests after it.
func init() { runtime.LockOSThread() }

// The tests' program is the builder's own in them.
func TestMain(m *testing.M) {
	Dispatch()
	ownMounts()
	os.Exit(m.Run())
}
