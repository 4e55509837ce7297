package image

import (
	"io"
	"path"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// progressOf shows on the Ui how much of the base has been unpacked.
func progressOf(w *work, ui packersdk.Ui) disk.Progress {
	return func(stream io.ReadCloser, size int64) io.ReadCloser {
		return ui.TrackProgress("unpacking "+path.Base(w.source), 0, size, stream)
	}
}
