package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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

	made    []string // directories, innermost last
	partial string
}

func (s *stepOutput) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	w, _ := of(state)
	dir, err := filepath.Abs(s.Directory)
	if err != nil {
		return halt(state, fmt.Errorf("output_directory: %w", err))
	}
	final := filepath.Join(dir, s.Name)
	var errs []error
	for _, path := range []string{final, final + disk.ChecksumSuffix} {
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, fmt.Errorf("output_directory: %w", err))
		case !info.Mode().IsRegular():
			errs = append(errs, fmt.Errorf("output_directory: %s is there and no regular file; remove it", path))
		case !s.Force:
			errs = append(errs, fmt.Errorf("output_directory: %s is there already; run packer build -force to replace it, or change vm_name", path))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return halt(state, err)
	}
	if s.made, err = makeDirectories(dir); err != nil {
		return halt(state, fmt.Errorf("output_directory: %w", err))
	}
	partial, err := os.CreateTemp(dir, "."+s.Name+".partial-*")
	if err != nil {
		return halt(state, fmt.Errorf("output_directory: %w", err))
	}
	s.partial = partial.Name()
	if err := partial.Close(); err != nil {
		return halt(state, fmt.Errorf("output_directory: %w", err))
	}
	w.partial, w.final = s.partial, final
	return multistep.ActionContinue
}

// makeDirectories makes dir and its missing parents and returns those that it
// made, outermost first.
func makeDirectories(dir string) (made []string, err error) {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return nil, fmt.Errorf("%s is no directory", dir)
		}
		return nil, nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if made, err = makeDirectories(parent); err != nil {
			return made, err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return made, err
	}
	return append(made, dir), nil
}

// Cleanup takes away the partial image, if it is still there, and, when the
// build made none, the directories that were made for it. Those in which
// others (think of reports) have put something stay.
func (s *stepOutput) Cleanup(state multistep.StateBag) {
	if s.partial != "" {
		for _, path := range []string{s.partial, s.partial + disk.ChecksumSuffix} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failCleanup(state, err)
			}
		}
	}
	for i := len(s.made) - 1; i >= 0; i-- {
		if err := os.Remove(s.made[i]); err != nil {
			return
		}
	}
}
