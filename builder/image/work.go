package image

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// Keys of the state bag beyond those of the SDK's steps.
const (
	workKey = "work"      // *work
	baseKey = "base_path" // string, by the SDK's download step
)

// work is what the steps hand to one another.
type work struct {
	// base is the path of the downloaded base, kind what it holds; by
	// stepIdentify. source is where it came from, baseDigest the digest with the
	// name of the algorithm, which is there once digested has returned.
	base, source, baseDigest string
	digested                 func() error
	kind                     disk.Kind
	// entry lists what the build makes, for those that find it killed; by
	// stepReclaim.
	entry *disk.Entry
	// scratch is a directory for everything that is gone after the build; by
	// stepWorkspace.
	scratch string
	// partial is the image while it is made, final where it goes; by
	// stepOutput.
	partial, final string
	// root is the tree, held what is missing from it, architecture that of
	// its programs; by stepTree.
	root         string
	held         *disk.Held
	architecture string
	// place is where a disk's tree is mounted; by stepTree.
	place *mountPoint
	// mounted is set while the tree is a mounted disk; by stepTree.
	mounted *disk.Mounted
	// hidden is what of the tree a node does not see at boot; by stepTree.
	hidden []disk.Hidden
	// disk is the raw disk that the tree was mounted from, by stepTree, or that
	// was made of it, by stepImage.
	disk string
	// layout is how a disk that was mounted is divided, partition where its
	// root is; by stepTree.
	layout    *disk.Layout
	partition disk.Partition
	// opened is when the tree was there for the provisioners; by stepTree.
	opened time.Time
	// listing is what the tree held after them; by stepRecord.
	listing disk.Listing
	// finished is the partial image once it holds that; by stepReread.
	finished *disk.Finished
	// comm is the tree's communicator; by stepCommunicator.
	comm *communicator
	// published is the finished image; by stepPublish.
	published *disk.Published
}

// of returns what the steps share, and the Ui.
func of(state multistep.StateBag) (*work, packersdk.Ui) {
	w, _ := state.Get(workKey).(*work)
	ui, _ := state.Get("ui").(packersdk.Ui)
	return w, ui
}

// errCancelled is what ends a build that a user interrupts.
var errCancelled = errors.New("the build was cancelled; there is no image")

// orCancelled is err, or errCancelled where that is why it happened.
func orCancelled(err error) error {
	if errors.Is(err, context.Canceled) {
		return errCancelled
	}
	return err
}

// halt ends the build with an error.
func halt(state multistep.StateBag, err error) multistep.StepAction {
	w, ui := of(state)
	err = orCancelled(w.explainFull(err))
	state.Put("error", err)
	ui.Error(err.Error())
	return multistep.ActionHalt
}

// failCleanup makes a build whose cleanup failed a failed build.
func failCleanup(state multistep.StateBag, err error) {
	if err == nil {
		return
	}
	w, ui := of(state)
	err = w.explainFull(err)
	ui.Error(err.Error())
	if _, ok := state.GetOk("error"); !ok {
		state.Put("error", err)
	}
}
