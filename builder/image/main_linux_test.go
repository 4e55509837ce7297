package image

import (
	"os"
	"testing"
)

// The tests' program is the builder's own in them.
func TestMain(m *testing.M) {
	Dispatch()
	ownMounts()
	os.Exit(m.Run())
}
