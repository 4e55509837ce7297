package image

import (
	"fmt"
	"path/filepath"

	"github.com/docker/go-units"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// explainFull names, in an error that comes from a file system being full,
// which that is and what chooses another place.
func (w *work) explainFull(err error) error {
	options := map[string]string{}
	var dirs []string
	for _, place := range []struct{ option, path string }{{"TMPDIR", w.scratch}, {"output_directory", w.partial}} {
		if place.path != "" {
			dir := filepath.Dir(place.path)
			dirs, options[dir] = append(dirs, dir), place.option
		}
	}
	for _, dir := range disk.FullOf(err, dirs...) {
		err = fmt.Errorf("%s: not enough room in %s, %s free; make room or choose another directory: %w",
			options[dir], dir, units.BytesSize(float64(disk.Free(dir))), err)
	}
	return err
}
