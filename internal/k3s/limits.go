package k3s

import (
	"fmt"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// Limits of what is judged. Nobody's configuration is as large; a node that
// exceeds them gets an error, never half a verdict.
const (
	// MaxConfigSize is how many bytes a configuration file may have, and all
	// files together that are read as one.
	MaxConfigSize = 512 << 10
	// maxConfigFiles is how many files may be read as one.
	maxConfigFiles = 1000
)

// CheckConfigSize says why so many files, which are read as one, with so many
// bytes are not judged, or nil.
func CheckConfigSize(files, size int) error {
	if files <= maxConfigFiles && size <= MaxConfigSize {
		return nil
	}
	return fmt.Errorf("the configuration has %d files with %d KiB, which is more than the %d files and %d KiB that are judged",
		files, size>>10, maxConfigFiles, MaxConfigSize>>10)
}

// tooMuch reports more files than are judged.
func (r *resolver) tooMuch(files []node.Entry) bool {
	size := 0
	for _, e := range files {
		size += len(e.Data)
	}
	err := CheckConfigSize(len(files), size)
	if err != nil {
		r.problem(Unreadable, Origin{Source: files[len(files)-1].Path}, "%v", err)
	}
	return err != nil
}
