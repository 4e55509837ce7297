package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/packerbuilderdata"
)

// stepCommunicator gives the provisioners their way into the tree, and tells
// those that need none where the tree is.
type stepCommunicator struct {
	ReadOnly bool
	// Image is the file name of the image to be; empty for none.
	Image string
}

func (s *stepCommunicator) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	w, ui := of(state)
	w.comm = newCommunicator(ctx, w.root, s.ReadOnly)
	if err := w.comm.open(); err != nil {
		return halt(state, err)
	}
	if !s.ReadOnly && !mayConfine() {
		ui.Say("Commands run in a plain chroot, and can reach what this process can: it lacks CAP_SYS_ADMIN, which namespaces of their own need.")
	}
	state.Put("communicator", w.comm)
	data := packerbuilderdata.GeneratedData{State: state}
	root := w.root
	if w.mounted != nil {
		root = forOthers(root)
	}
	data.Put(RootDirectory, root)
	data.Put(RootReadOnly, strconv.FormatBool(s.ReadOnly))
	hidden := map[string]string{}
	for _, h := range w.hidden {
		hidden[h.Dir] = h.Why
	}
	text, err := json.Marshal(hidden)
	if err != nil {
		return halt(state, err)
	}
	data.Put(RootHidden, string(text))
	data.Put(RootImage, s.Image)
	if w.digested != nil { // a directory has no base
		if err := w.digested(); err != nil {
			return halt(state, fmt.Errorf("iso_url: %w", err))
		}
	}
	data.Put(RootBase, w.source)
	data.Put(RootBaseDigest, w.baseDigest)
	return multistep.ActionContinue
}

// Cleanup ends every command that still runs.
func (s *stepCommunicator) Cleanup(state multistep.StateBag) {
	if w, _ := of(state); w.comm != nil {
		failCleanup(state, w.comm.close())
	}
}

// stepSeal ends the provisioners' access, so that nothing changes while the
// image is made.
type stepSeal struct{}

func (s *stepSeal) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	w, _ := of(state)
	if err := errors.Join(w.comm.close(), w.place.astray()); err != nil {
		return halt(state, err)
	}
	return multistep.ActionContinue
}

func (s *stepSeal) Cleanup(multistep.StateBag) {}
