package disk

import (
	"fmt"

	"github.com/docker/go-units"
)

// SpaceError is returned for a file that does not fit on the file system that
// it is to be written to.
type SpaceError struct {
	// Path is the file.
	Path string
	// Needed is the least that it takes, and Free what is left, in bytes.
	Needed, Free int64
}

// Error says both sizes.
func (e *SpaceError) Error() string {
	return fmt.Sprintf("%s needs at least %s, and %s are free", e.Path,
		units.BytesSize(float64(e.Needed)), units.BytesSize(float64(e.Free)))
}
