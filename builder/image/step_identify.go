package image

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

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
	if w.baseDigest, err = baseDigest(ctx, s.Checksum, w.base, kind.Format); err != nil {
		return halt(state, fmt.Errorf("iso_url: %w", err))
	}
	var errs []error
	if kind.Format == disk.Tar && s.Partition != "" {
		errs = append(errs, errors.New("partition: only a disk has partitions, and the base is a tar; remove it"))
	}
	errs = append(errs, disk.Missing(toolsFor(kind.Format, false, s.Format)...))
	if err := errors.Join(errs...); err != nil {
		return halt(state, err)
	}
	ui.Say(fmt.Sprintf("Base %s: %s", w.source, kind))
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

func (s *stepIdentify) Cleanup(multistep.StateBag) {}
