package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// stepOutput makes sure that the image can be put where it belongs: its
// directory is there and nothing is in its way, unless -force was given. It
// also takes away what was begun when a build fails, and the directory if the
// build made it and nothing else is in it.
type stepOutput struct {
	Directory string
	Name      string
	Force     bool

	made []string // directories, innermost last
	lock *os.File // the partial image, so that no other build writes it
}

func (s *stepOutput) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	w, _ := of(state)
	if err := s.reserve(w); err != nil {
		return halt(state, fmt.Errorf("output_directory: %w", err))
	}
	return multistep.ActionContinue
}

func (s *stepOutput) reserve(w *work) error {
	dir, err := filepath.Abs(s.Directory)
	if err != nil {
		return err
	}
	if s.made, err = makeDirectories(dir, w.entry); err != nil {
		return err
	}
	w.final = filepath.Join(dir, s.Name)
	partial := filepath.Join(dir, "."+s.Name+".partial")
	if s.lock, err = disk.NewImage(partial, w.entry); err != nil {
		return err
	}
	w.partial = partial
	return s.free(append(disk.ChecksumFiles(w.final), w.final)...)
}

// free says what is in the way of the image.
func (s *stepOutput) free(paths ...string) error {
	var errs []error
	for _, path := range paths {
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, err)
		case !info.Mode().IsRegular():
			errs = append(errs, fmt.Errorf("%s is there and no regular file; remove it", path))
		case !s.Force:
			errs = append(errs, fmt.Errorf("%s is there already; run packer build -force to replace it, or change vm_name", path))
		}
	}
	return errors.Join(errs...)
}

// trim takes what the provisioners removed out of the disk as well.
func trim(ctx context.Context, state multistep.StateBag, w *work) error {
	_, ui := of(state)
	untrimmed, err := w.mounted.Trim(ctx)
	if len(untrimmed) > 0 {
		ui.Error(fmt.Sprintf("Not trimmed, so the image may still hold what was removed from %s: "+
			"the file system of the work directory or of output_directory cannot make holes in files", strings.Join(untrimmed, ", ")))
	}
	return err
}

// makeDirectories makes dir and its missing parents and returns those that it
// made, outermost first. They are listed in entry.
func makeDirectories(dir string, entry *disk.Entry) (made []string, err error) {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return nil, fmt.Errorf("%s is no directory", dir)
		}
		return nil, nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if made, err = makeDirectories(parent, entry); err != nil {
			return made, err
		}
	}
	if err := entry.Directory(dir); err != nil {
		return made, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			// Builds that run at once share a parent: another one was quicker,
			// and the directory is its to take away.
			return made, nil
		}
		return made, err
	}
	return append(made, dir), nil
}

// Cleanup takes away the partial image, if it is still there, and, when the
// build made none, the directories that were made for it. Those in which
// others (think of reports) have put something stay.
func (s *stepOutput) Cleanup(state multistep.StateBag) {
	w, _ := of(state)
	if s.lock != nil && w.published != nil {
		failCleanup(state, s.lock.Close()) // the partial image is the image now
	} else if s.lock != nil {
		for _, path := range append(disk.ChecksumFiles(w.partial), w.partial) {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failCleanup(state, err)
			}
		}
		failCleanup(state, s.lock.Close())
	}
	for i := len(s.made) - 1; i >= 0; i-- {
		if os.Remove(s.made[i]) != nil {
			return
		}
	}
}
