package rootfs

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// transaction changes a tree. New files are staged first; commit then puts
// them in place by rename, and every step of it leaves behind how it is
// undone. Old files stay in the staging directories until finish.
type transaction struct {
	tree    *tree
	nonce   string
	stages  map[string]string // anchor directory → its staging directory
	above   map[string]bool   // every directory above a destination
	count   int
	steps   []step
	undo    []func() error
	changed []string
}

// step is one path that has to become different.
type step struct {
	shown  string // path as the change names it
	at     string // where that is, links resolved
	exists bool
	old    fs.FileInfo // nil unless exists
	entry  node.Entry
	staged string // where the new file waits; empty for directories
	label  string // for SELinux; empty for none
	remove bool
	kept   bool // its content and owner stay: it gets a mode alone
}

func (t *tree) begin() *transaction {
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails
	return &transaction{tree: t, nonce: hex.EncodeToString(raw[:]), stages: map[string]string{}, above: map[string]bool{}}
}

// run plans, stages and commits c. On error nothing of it remains.
func (x *transaction) run(ctx context.Context, c node.Change) error {
	if err := x.plan(ctx, c); err != nil {
		return err
	}
	if err := x.label(); err != nil {
		return err
	}
	if err := x.sweep(); err != nil {
		return err
	}
	if err := x.room(); err != nil {
		return err
	}
	if err := x.stage(ctx); err != nil {
		return x.rollback(err)
	}
	if err := x.commit(ctx); err != nil {
		return x.rollback(err)
	}
	sort.Strings(x.changed)
	x.changed = slices.Compact(x.changed) // what was emptied took several steps
	return nil
}

// commit puts everything in place.
func (x *transaction) commit(ctx context.Context) error {
	for i := range x.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := &x.steps[i]
		var err error
		switch {
		case s.remove:
			err = x.moveAside(s)
		case s.kept:
			err = x.putMode(s)
		case s.entry.Kind == node.KindDirectory:
			err = x.putDirectory(s)
		case s.entry.Kind == node.KindLink:
			err = x.putLink(s)
		default:
			err = x.putFile(s)
		}
		if err != nil {
			return fmt.Errorf("cannot change %s: %w", s.shown, cause(err))
		}
		x.changed = append(x.changed, s.shown)
	}
	return x.sync()
}

func (x *transaction) putDirectory(s *step) error {
	r, name := x.tree.fs, rel(s.at)
	if !s.exists {
		if err := r.Mkdir(name, 0o700); err != nil {
			return err
		}
		x.undo = append(x.undo, func() error { return r.Remove(name) })
		if err := x.labelDirectory(s); err != nil {
			return err
		}
	} else {
		x.giveBack(s)
	}
	return x.give(name, s.entry)
}

// putMode gives what is there a mode, and has it last.
func (x *transaction) putMode(s *step) error {
	x.giveBack(s)
	if err := x.give(rel(s.at), s.entry); err != nil {
		return err
	}
	return x.syncDirectories(map[string]bool{s.at: true})
}

// giveBack notes how what is at s gets its mode and owner back.
func (x *transaction) giveBack(s *step) {
	was := node.Entry{Mode: s.old.Mode() & node.ModeBits}
	was.UID, was.GID = ownerOf(s.old)
	x.undo = append(x.undo, func() error { return x.give(rel(s.at), was) })
}

func (x *transaction) putFile(s *step) error {
	r := x.tree.fs
	if !s.exists {
		// Undone before the rename is known to have happened: the name was
		// free, so removing it is right in both cases.
		x.undo = append(x.undo, func() error { return ignoreMissing(r.Remove(rel(s.at))) })
		return r.Rename(rel(s.staged), rel(s.at))
	}
	old := s.backup()
	if err := r.Link(rel(s.at), rel(old)); err != nil {
		return err
	}
	x.undo = append(x.undo, func() error { return r.Rename(rel(old), rel(s.at)) })
	return r.Rename(rel(s.staged), rel(s.at))
}

// putLink makes a link, which fails where something is there by now.
func (x *transaction) putLink(s *step) error {
	r := x.tree.fs
	if err := r.Symlink(s.entry.Target, rel(s.at)); err != nil {
		return err
	}
	x.undo = append(x.undo, func() error { return ignoreMissing(r.Remove(rel(s.at))) })
	fi, err := r.Lstat(rel(s.at))
	if err != nil {
		return err
	}
	if uid, gid := ownerOf(fi); uid != 0 || gid != 0 { // of a directory that gives its group
		if err := r.Lchown(rel(s.at), 0, 0); err != nil {
			return err
		}
	}
	return x.labelLink(s)
}

// moveAside removes what is at s for now: it is deleted once all is done, so that
// a directory of any size comes back in one step.
func (x *transaction) moveAside(s *step) error {
	r, old := x.tree.fs, s.backup()
	if err := r.Rename(rel(s.at), rel(old)); err != nil {
		return err
	}
	x.undo = append(x.undo, func() error { return r.Rename(rel(old), rel(s.at)) })
	return nil
}

// give gives what is at name exactly e's owner and mode, and makes sure that
// the file system keeps them.
func (x *transaction) give(name string, e node.Entry) error {
	r := x.tree.fs
	fi, err := r.Lstat(name)
	if err != nil {
		return err
	}
	if uid, gid := ownerOf(fi); uid != e.UID || gid != e.GID {
		if err := r.Lchown(name, e.UID, e.GID); err != nil {
			return err
		}
	}
	if fi, err = r.Lstat(name); err != nil {
		return err
	}
	// After the owner: changing that clears setuid and setgid.
	if fi.Mode()&node.ModeBits != e.Mode {
		if err := r.Chmod(name, e.Mode); err != nil {
			return err
		}
	}
	if fi, err = r.Lstat(name); err != nil {
		return err
	}
	if uid, gid := ownerOf(fi); fi.Mode()&node.ModeBits != e.Mode || uid != e.UID || gid != e.GID {
		return fmt.Errorf("the file system made %v %d:%d of mode and owner %v %d:%d",
			fi.Mode()&node.ModeBits, uid, gid, e.Mode, e.UID, e.GID)
	}
	return nil
}

// stage writes every new file beside its destination.
func (x *transaction) stage(ctx context.Context) error {
	for i := range x.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := &x.steps[i]
		if s.entry.Kind == node.KindDirectory || s.entry.Kind == node.KindLink || s.kept {
			continue
		}
		dir, err := x.stageFor(s.at)
		if err == nil {
			x.count++
			s.staged = path.Join(dir, strconv.Itoa(x.count)+".new")
			if !s.remove {
				err = x.write(s)
			}
		}
		if err != nil {
			return fmt.Errorf("cannot write %s: %w", s.shown, cause(err))
		}
	}
	return nil
}

func (x *transaction) write(s *step) error {
	f, err := x.tree.fs.OpenFile(rel(s.staged), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if s.entry.Source != nil {
		err = s.entry.Source.CopyTo(f)
	} else {
		_, err = f.Write(s.entry.Data)
	}
	if err == nil {
		err = x.give(rel(s.staged), s.entry)
	}
	if err == nil && s.label != "" {
		err = setLabel(f, s.label)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// stageFor returns the staging directory for a destination: in the nearest
// directory above it that exists, so that both are on one file system.
func (x *transaction) stageFor(dest string) (string, error) {
	anchor := path.Dir(dest)
	for {
		if _, err := x.tree.lstat(anchor); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		anchor = path.Dir(anchor)
	}
	if dir, ok := x.stages[anchor]; ok {
		return dir, nil
	}
	dir := path.Join(anchor, node.StagingPrefix+x.nonce)
	if err := x.tree.fs.Mkdir(rel(dir), 0o700); err != nil {
		return "", err
	}
	x.stages[anchor] = dir
	return dir, nil
}

// own holds the staging directories, which are no part of the node.
func (x *transaction) own() map[string]bool {
	set := map[string]bool{}
	for _, dir := range x.stages {
		set[dir] = true
	}
	return set
}

// sweep removes what an earlier run that was killed left beside or above the
// destinations.
func (x *transaction) sweep() error {
	for _, dir := range slices.Sorted(maps.Keys(x.above)) {
		f, err := x.tree.open(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot look at %s: %w", dir, cause(err))
		}
		names, err := f.Readdirnames(-1)
		if errors.Is(err, syscall.ENOTDIR) { // nothing is below it, nor to be removed
			err = nil
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("cannot look at %s: %w", dir, cause(err))
		}
		for _, name := range names {
			if !strings.HasPrefix(name, node.StagingPrefix) {
				continue
			}
			if err := x.tree.fs.RemoveAll(rel(path.Join(dir, name))); err != nil {
				return fmt.Errorf("cannot remove %s: %w", path.Join(dir, name), cause(err))
			}
		}
	}
	return nil
}

// sync makes the renames last, and the modes of directories. What the new files
// hold was made to last before they were renamed.
func (x *transaction) sync() error {
	dirs := map[string]bool{}
	for _, s := range x.steps {
		dirs[path.Dir(s.at)] = true
		if s.entry.Kind == node.KindDirectory {
			dirs[s.at] = true
		}
	}
	return x.syncDirectories(dirs)
}

func (x *transaction) syncDirectories(dirs map[string]bool) error {
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		f, err := x.tree.open(dir)
		if err != nil {
			return fmt.Errorf("cannot write %s: %w", dir, cause(err))
		}
		if err := errors.Join(syncDirectory(f), f.Close()); err != nil {
			return fmt.Errorf("cannot write %s: %w", dir, cause(err))
		}
	}
	return nil
}

// finish drops the old files, for good.
func (x *transaction) finish() error {
	var errs []error
	anchors := map[string]bool{}
	for _, anchor := range slices.Sorted(maps.Keys(x.stages)) {
		anchors[anchor] = true
		if err := x.tree.fs.RemoveAll(rel(x.stages[anchor])); err != nil {
			errs = append(errs, fmt.Errorf("cannot remove %s: %w", x.stages[anchor], cause(err)))
		}
	}
	return errors.Join(append(errs, x.syncDirectories(anchors))...)
}

// rollback undoes what was done and returns why, with what could not be undone.
func (x *transaction) rollback(why error) error {
	errs := []error{why}
	for i := len(x.undo) - 1; i >= 0; i-- {
		if err := x.undo[i](); err != nil {
			errs = append(errs, fmt.Errorf("while undoing: %w", err))
		}
	}
	x.undo, x.changed = nil, nil
	if len(errs) > 1 {
		for _, anchor := range slices.Sorted(maps.Keys(x.stages)) {
			errs = append(errs, fmt.Errorf("what could not be put back is in %s", x.stages[anchor]))
		}
		return errors.Join(errs...)
	}
	if err := x.finish(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// backup is where the old file of s waits until the whole change is done.
func (s *step) backup() string { return strings.TrimSuffix(s.staged, ".new") + ".old" }

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sameContent says whether the regular file at p, resolved already, holds what e
// is to hold: of a source the same digest.
func (t *tree) sameContent(p string, fi fs.FileInfo, e node.Entry) (bool, error) {
	if e.Source == nil {
		return t.sameBytes(p, fi, e.Data)
	}
	if fi.Size() != e.Source.Size {
		return false, nil
	}
	f, err := t.open(p)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return e.Source.Same(f)
}

// sameBytes says whether the regular file at p, resolved already, holds data.
func (t *tree) sameBytes(p string, fi fs.FileInfo, data []byte) (bool, error) {
	if fi.Size() != int64(len(data)) {
		return false, nil
	}
	have, err := t.readFile(p)
	return err == nil && bytes.Equal(have, data), err
}
