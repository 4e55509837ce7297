package cis

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
)

// becomes is the release of the K3s binary that the image will have.
func (s *session) becomes(have *node.Node) (k3s.Release, error) {
	if s.install != nil {
		return s.install.Binary.Release, nil
	}
	return s.installed(have)
}

// installed is the release of the K3s binary in the image; zero where there is
// none, or nothing was collected yet. A binary that does not tell its release
// is an error only where the user does not tell it either.
func (s *session) installed(have *node.Node) (k3s.Release, error) {
	release, err := k3s.Release{}, error(nil)
	switch {
	case s.access.root != nil:
		release, err = binaryRelease(s.access.root)
	case have != nil && have.K3sVersion != "":
		release, err = printedRelease(have.K3sVersion)
	}
	if err != nil && s.inputs.options.Release != (k3s.Release{}) {
		s.complain(fmt.Sprintf("Warning: whether the K3s in the image is %s could not be verified: %s", s.inputs.options.Release, err))
		return k3s.Release{}, nil
	}
	return release, err
}

// silentBinary is a K3s binary that is there and was asked in vain; "" for none.
func silentBinary(have *node.Node) string {
	for _, p := range k3s.BinaryPaths() {
		if e, presence := have.Lookup(p); presence == node.Present && e.Kind == node.KindFile {
			return p
		}
	}
	return ""
}

// binaryRelease reads the release out of the first K3s binary of a tree,
// without running it.
func binaryRelease(root *rootfs.Directory) (k3s.Release, error) {
	for _, path := range k3s.BinaryPaths() {
		f, err := root.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return k3s.Release{}, err
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return k3s.Release{}, fmt.Errorf("%s: %w", path, err)
		}
		release, err := k3s.ReadVersion(f, fi.Size())
		if err != nil {
			return k3s.Release{}, fmt.Errorf("%s: %w", path, err)
		}
		return release, nil
	}
	return k3s.Release{}, nil
}

// printedRelease reads what `k3s --version` prints first:
// k3s version v1.36.3+k3s1 (abcdef01).
func printedRelease(line string) (k3s.Release, error) {
	rest, ok := strings.CutPrefix(line, "k3s version ")
	tag, _, _ := strings.Cut(rest, " ")
	if !ok {
		return k3s.Release{}, fmt.Errorf("k3s --version printed %q, which is not what K3s prints", line)
	}
	return k3s.ParseRelease(tag)
}

// sameRelease refuses a node whose K3s is another release than the one it is
// hardened for. A zero installed release says nothing.
func sameRelease(chosen, installed k3s.Release) error {
	if installed == (k3s.Release{}) || installed == chosen {
		return nil
	}
	return fmt.Errorf("k3s_version is %s but the K3s binary in the image is %s: K3s's own defaults differ by release, so that a verdict for the one says nothing of the other; write k3s_version = %q or leave it out", chosen, installed, installed)
}
