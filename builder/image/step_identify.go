package image

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"golang.org/x/sync/errgroup"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
	"github.com/k3s-cis/packer-plugin-k3s/internal/fetch"
)

// stepIdentify finds out what the downloaded base holds and whether the rest
// of the build can work with it.
type stepIdentify struct {
	Format    disk.Format
	Partition string
	DiskSize  int64
	// Checksum is what the base was held against.
	Checksum string

	end func() // of the base's digest, which is computed while its tree is made
}

func (s *stepIdentify) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	w, ui := of(state)
	w.base, _ = state.Get(baseKey).(string)
	source, _ := state.Get("SourceImageURL").(string)
	w.source = fetch.Provenance(source)
	kind, err := disk.Identify(w.base)
	if err != nil {
		return halt(state, fmt.Errorf("iso_url: %w", err))
	}
	w.kind = kind
	var errs []error
	if kind.Format == disk.Tar && s.Partition != "" {
		errs = append(errs, errors.New("partition: only a disk has partitions, and the base is a tar; remove it"))
	}
	errs = append(errs, disk.Missing(toolsFor(kind.Format, false, s.Format)...))
	if err := errors.Join(errs...); err != nil {
		return halt(state, err)
	}
	ui.Say(fmt.Sprintf("Base %s: %s", w.source, kind))
	ctx, cancel := context.WithCancel(ctx)
	var digest errgroup.Group
	digest.Go(func() (err error) {
		w.baseDigest, err = baseDigest(ctx, s.Checksum, w.base, kind.Format)
		return err
	})
	w.digested = digest.Wait
	s.end = func() {
		cancel()
		_ = digest.Wait() // whoever wanted it has heard
	}
	return multistep.ActionContinue
}

// digestNames are the algorithms of iso_checksum by how long their digests are in
// hexadecimal.
var digestNames = map[int]string{32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}

// baseDigest is the digest of the base with the name of the algorithm: the one that
// the download was held against, or where that is in a file the SHA-256 of what was
// downloaded. Where it was held against nothing, nobody has looked at the holes of a
// raw disk yet: then its digest is of the kind that the finished image has.
func baseDigest(ctx context.Context, checksum, file string, format disk.Format) (string, error) {
	name, digest, named := strings.Cut(strings.ToLower(checksum), ":")
	if !named {
		digest = name
	}
	if raw, err := hex.DecodeString(digest); err == nil && digestNames[2*len(raw)] != "" {
		return digestNames[2*len(raw)] + ":" + digest, nil
	}
	sum, err := disk.Sum(ctx, file, digestOf(format, digest != "none"))
	return sum.String(), err
}

// Cleanup reads no more of the base.
func (s *stepIdentify) Cleanup(multistep.StateBag) {
	if s.end != nil {
		s.end()
	}
}
