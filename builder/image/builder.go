// Package image is the Packer builder k3s-image: it hands a root file system
// (from a tar, a directory or a disk image) to the provisioners without
// booting it, and makes an image of the result.
package image

import (
	"context"
	"errors"
	"maps"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
	"github.com/k3s-cis/packer-plugin-k3s/internal/fetch"
	"github.com/k3s-cis/packer-plugin-k3s/internal/packerui"
)

// Names of the data that the builder generates for provisioners and
// post-processors.
const (
	// RootDirectory is the absolute path, on this host, of the tree that the
	// image is made of.
	RootDirectory = "RootDirectory"
	// RootReadOnly is "true" when the tree must not be changed, else "false".
	RootReadOnly = "RootReadOnly"
	// RootHidden is a JSON object of the directories of the tree that show
	// something else once a node has booted, and of what that is.
	RootHidden = "RootHidden"
	// RootImage is the file name of the image to be; empty where none is made.
	RootImage = "RootImage"
	// RootBase is where the base came from, without what gives access to it, and
	// RootBaseDigest its digest with the name of the algorithm; empty for a directory.
	RootBase       = "RootBase"
	RootBaseDigest = "RootBaseDigest"
	// artifactID is what Packer itself calls the artifact's Id: build.ID. Only
	// post-processors can have it.
	artifactID = "ID"
)

// Builder implements packersdk.Builder.
type Builder struct {
	config Config
}

var _ packersdk.Builder = (*Builder)(nil)

// ConfigSpec returns the HCL schema of the builder's options.
func (b *Builder) ConfigSpec() hcldec.ObjectSpec { return b.config.FlatMapstructure().HCL2Spec() }

// Prepare decodes and checks the options and returns the names of the
// generated data.
func (b *Builder) Prepare(raws ...any) (generated, warnings []string, err error) {
	warnings, err = b.config.Prepare(raws...)
	if err != nil {
		return nil, warnings, packerui.Error(err)
	}
	return []string{RootDirectory, RootReadOnly, RootHidden, RootImage, RootBase, RootBaseDigest}, warnings, nil
}

// Run makes the image.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (packersdk.Artifact, error) {
	state := new(multistep.BasicStateBag)
	state.Put("ui", packerui.New(ui))
	w := &work{}
	state.Put("hook", provisioning{hook, ui, w})
	state.Put(workKey, w)

	commonsteps.NewRunner(withTimes(b.steps(), b.config.PackerDebug), b.config.PackerConfig, ui).Run(ctx, state)

	if err, ok := state.Get("error").(error); ok {
		// An image of a build that could not clean up is not handed out.
		return nil, packerui.Error(errors.Join(orCancelled(err), b.artifact(state, w).Destroy()))
	}
	if _, ok := state.GetOk(multistep.StateCancelled); ok {
		return nil, errCancelled
	}
	if _, ok := state.GetOk(multistep.StateHalted); ok {
		return nil, errors.New("the build was halted; there is no image")
	}
	return b.artifact(state, w), nil
}

// provisioning runs other plugins with Packer's own Ui: what they say is theirs,
// colours too.
type provisioning struct {
	packersdk.Hook
	ui   packersdk.Ui
	work *work
}

func (p provisioning) Run(ctx context.Context, name string, _ packersdk.Ui, comm packersdk.Communicator, data any) error {
	err := p.Hook.Run(ctx, name, p.ui, comm, data)
	if err != nil {
		err = p.work.explainFull(err)
	}
	return err
}

// steps is the build in its order. Cleanup runs the other way round.
func (b *Builder) steps() []multistep.Step {
	c := &b.config
	download := len(c.ISOUrls) > 0
	makesImage := c.Format != ""
	format := disk.Format(c.Format)
	return []multistep.Step{
		&stepPreflight{URLs: c.ISOUrls, Directory: c.RootfsDirectory, Format: format},
		&stepReclaim{},
		multistep.If(makesImage, &stepOutput{
			Directory: c.OutputDirectory, Name: c.fileName(), Force: c.PackerForce,
		}),
		multistep.If(download, &commonsteps.StepDownload{
			Checksum:    c.ISOChecksum,
			Description: "base",
			Extension:   c.TargetExtension,
			ResultKey:   baseKey,
			TargetPath:  c.TargetPath,
			Url:         fetch.AsFiles(c.ISOUrls),
		}),
		&stepWorkspace{},
		multistep.If(download, &stepIdentify{Format: format, Partition: c.Partition, DiskSize: c.diskSize, Checksum: c.ISOChecksum}),
		&stepTree{
			Directory: c.RootfsDirectory, ReadOnly: c.ReadOnly, Format: format,
			Partition: c.Partition, DiskSize: c.diskSize, Architecture: c.Architecture,
		},
		&stepCommunicator{ReadOnly: c.ReadOnly, Image: c.imageName()},
		&commonsteps.StepProvision{},
		&stepSeal{},
		multistep.If(makesImage, &stepRecord{}),
		multistep.If(makesImage, &stepImage{Format: format, DiskSize: c.diskSize}),
		multistep.If(makesImage, &stepReread{Format: format, Checksum: c.Checksum}),
		multistep.If(makesImage, &stepPublish{}),
	}
}

// artifact describes what a successful build made.
func (b *Builder) artifact(state multistep.StateBag, w *work) *Artifact {
	place := b.config.RootfsDirectory
	if place == "" {
		place = w.base
	}
	data, _ := state.Get("generated_data").(map[string]any)
	a := &Artifact{
		image: w.published, place: place, readOnly: b.config.ReadOnly, source: w.source,
		architecture: w.architecture, format: b.config.Format, data: maps.Clone(data),
	}
	if a.data != nil {
		a.data[artifactID] = a.Id()
	}
	return a
}
