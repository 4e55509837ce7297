package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registry "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/docker/go-units"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// BuilderID is the artifact's BuilderId, by which post-processors know it.
const BuilderID = "k3s-cis.k3s-image"

// Artifact is what a build made: an image and its checksum file, or, where no
// image was asked for, the directory or base that was worked on.
type Artifact struct {
	// image is nil where no image was made.
	image *disk.Published
	// place is the directory or base of a build that made no image.
	place    string
	readOnly bool
	// source says what the image was made from.
	source       string
	architecture string
	format       string
	data         map[string]any
}

var _ packersdk.Artifact = (*Artifact)(nil)

// BuilderId names the builder.
//
//nolint:revive // the method's name is fixed by Packer
func (*Artifact) BuilderId() string { return BuilderID }

// Files are what post-processors work on: the image alone, without its
// checksum file, since some take one file only.
func (a *Artifact) Files() []string {
	if a.image == nil {
		return nil
	}
	return []string{a.image.Path}
}

// Id is the image's digest, "sha256:" or "fsverity-sha256:" and hex, or the
// path of what was worked on in place.
//
//nolint:revive // the method's name is fixed by Packer
func (a *Artifact) Id() string {
	if a.image == nil {
		return a.place
	}
	return a.image.Digest.String()
}

// String says in one line what came of the build.
func (a *Artifact) String() string {
	switch {
	case a.image != nil:
		return fmt.Sprintf("%s (%s, %s %s)", a.image.Path, units.BytesSize(float64(a.image.Size)), a.image.Digest.Algorithm, a.image.Digest.Hex)
	case a.readOnly:
		return a.place + " (only looked at, nothing was changed)"
	default:
		return a.place + " (directory, changed in place)"
	}
}

// State returns what Packer and post-processors ask of a finished build.
func (a *Artifact) State(name string) any {
	switch name {
	case "generated_data":
		return a.data
	case registry.ArtifactStateURI:
		if a.image == nil {
			return nil
		}
		labels := map[string]any{
			"architecture": a.architecture,
			"format":       a.format,
			"path":         a.image.Path,
		}
		labels[string(a.image.Digest.Algorithm)] = a.image.Digest.Hex
		image, err := registry.FromArtifact(a,
			registry.WithProvider("k3s-image"),
			registry.WithRegion("local"),
			registry.WithSourceID(a.source),
			registry.SetLabels(labels))
		if err != nil {
			return nil
		}
		return image
	default:
		return nil
	}
}

// Destroy removes the image and its checksum file. What was worked on in
// place stays: it was there before.
func (a *Artifact) Destroy() error {
	if a.image == nil {
		return nil
	}
	var errs []error
	for _, file := range []string{a.image.Path, a.image.Checksum} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
