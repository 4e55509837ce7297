package rootfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// preconditionsHold says whether the tree is as the plan took it to be. An
// error means that it cannot be told.
func (t *tree) preconditionsHold(ctx context.Context, list []node.Precondition) (bool, error) {
	named := map[string]bool{}
	for _, a := range list {
		if !a.Children {
			named[a.Path] = true
		}
	}
	for _, a := range list {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		var holds bool
		var err error
		if a.Children {
			holds, err = t.noOtherChildren(a, named)
		} else {
			holds, err = t.hasContent(a)
		}
		if err != nil {
			return false, fmt.Errorf("cannot tell whether %s is as it was planned for: %w", a.Path, cause(err))
		}
		if !holds {
			return false, nil
		}
	}
	return true, nil
}

// find returns where p leads and what is there; a nil FileInfo means that
// nothing is.
func (t *tree) find(p string) (string, fs.FileInfo, error) {
	at, err := t.resolve(p)
	if errors.Is(err, errLoop) || errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	fi, err := t.lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil, nil
	}
	return at, fi, err
}

func (t *tree) hasContent(a node.Precondition) (bool, error) {
	at, fi, err := t.find(a.Path)
	if err != nil {
		return false, err
	}
	if fi == nil {
		return slices.Contains(a.Either, ""), nil
	}
	if !fi.Mode().IsRegular() {
		return false, nil
	}
	f, err := t.open(at)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if fi.Size() > node.MaxFileSize {
		// No plan is made from a file whose bytes were not collected.
		return false, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(f, node.MaxFileSize+1)); err != nil {
		return false, err
	}
	return slices.Contains(a.Either, hex.EncodeToString(sum.Sum(nil))), nil
}

func (t *tree) noOtherChildren(a node.Precondition, named map[string]bool) (bool, error) {
	at, fi, err := t.find(a.Path)
	if err != nil {
		return false, err
	}
	if fi == nil || !fi.IsDir() {
		return true, nil
	}
	f, err := t.open(at)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		for _, name := range names {
			suffixed := slices.ContainsFunc(a.Suffixes, func(s string) bool { return strings.HasSuffix(name, s) })
			if !suffixed || named[path.Join(a.Path, name)] {
				continue
			}
			_, child, err := t.find(path.Join(at, name))
			if err != nil {
				return false, err
			}
			if child != nil && child.Mode().IsRegular() {
				return false, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}
