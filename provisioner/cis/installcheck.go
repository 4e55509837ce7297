package cis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/k3s-cis/packer-plugin-k3s/internal/fetch"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/install"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// otherThanInstalled is an error that names what of install is not on a node that is
// only checked: another binary or archive than the block says, or none.
func (s *session) otherThanInstalled(ctx context.Context, o harden.Options, n *node.Node) error {
	c := s.config.Install
	if c == nil || s.install != nil {
		return nil
	}
	architecture := s.access.architecture()
	if architecture == "" {
		found, err := s.access.target.Read(ctx, install.LoaderQuery())
		if err != nil {
			return fmt.Errorf("reading the node: %w", err)
		}
		architecture = install.Architecture(found)
	}
	source, err := c.binary(architecture)
	if err != nil {
		return err
	}
	errs := []error{s.sameFile(ctx, source, path.Join(c.BinDir, "k3s"))}
	dirs, _, _, err := s.dataDirs(o, n)
	if err != nil {
		return err
	}
	if c.SELinuxPolicy != "" {
		module := c.module()
		errs = append(errs, s.sameFile(ctx, module, install.ModulePath(module.Name())))
	}
	for _, archive := range c.archives() {
		for i, dir := range dirs {
			if i == 0 || dir != dirs[0] {
				errs = append(errs, s.sameFile(ctx, archive, path.Join(k3s.LayoutOf(dir).Images(), archive.Name())))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the image does not have what install says:\n%w", err)
	}
	return nil
}

// sameFile compares a file of the node with what an option names.
func (s *session) sameFile(ctx context.Context, source fetch.Source, name string) error {
	want, err := s.digest(ctx, source)
	if err != nil {
		return err
	}
	other := fmt.Errorf("%s is not the file of %s, whose SHA-256 is %s", name, source.Option, want)
	if s.access.root == nil {
		// The machine compares, without sending it.
		out, err := s.access.target.Apply(ctx, node.Change{Preconditions: []node.Precondition{{Path: name, Either: []string{want}}}}, nil)
		if err != nil {
			return fmt.Errorf("comparing %s: %w", name, err)
		}
		if out.Stale {
			return other
		}
		return nil
	}
	f, err := s.access.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there, and %s names it", name, source.Option)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != want {
		return other
	}
	return nil
}

// digest is the SHA-256 of what an option names: as it is written there, or else of
// the file itself, which is fetched for that.
func (s *session) digest(ctx context.Context, source fetch.Source) (string, error) {
	if sum, is := source.SHA256(); is {
		return sum, nil
	}
	file, err := source.File(ctx, s.ui)
	if err != nil {
		return "", err
	}
	read, err := install.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", source.Option, err)
	}
	return hex.EncodeToString(read.SHA256[:]), nil
}
