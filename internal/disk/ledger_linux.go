package disk

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Ledger is a directory with a file for each build that has begun, which the
// build keeps locked. The file lists what the build makes, wherever that is, so
// that what a killed one leaves is found by a build that works in other places
// and under another name.
type Ledger string

// Entry is a build's file in a ledger. A nil Entry records nothing.
type Entry struct{ file *os.File }

// What an entry lists.
const (
	listedWork      = "work"      // a work directory
	listedImage     = "image"     // an image while it is made
	listedDirectory = "directory" // a directory that was made for an image
)

// Begin makes the entry of a build.
func (l Ledger) Begin() (*Entry, error) {
	if err := l.open(); err != nil {
		return nil, err
	}
	for {
		f, err := lock(filepath.Join(string(l), rand.Text()), os.O_CREATE|os.O_EXCL|unix.O_APPEND)
		if errors.Is(err, ErrLocked) {
			continue // another build saw it before it was locked, and removes it
		}
		if err != nil {
			return nil, err
		}
		return &Entry{f}, nil
	}
}

// open makes the directory. It is root's alone, as what is listed in it is
// removed.
func (l Ledger) open() error {
	if err := os.MkdirAll(string(l), 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(string(l), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != 0 || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s is not a directory that only root can write to", string(l))
	}
	return nil
}

// Directory lists a directory that is about to be made for an image. Once the
// build is dead, it is removed if it is empty.
func (e *Entry) Directory(path string) error { return e.list(listedDirectory, path) }

// list writes down what is about to be made: later, a kill could come between.
func (e *Entry) list(what, path string) error {
	if e == nil {
		return nil
	}
	_, err := fmt.Fprintf(e.file, "%s %s\n", what, strconv.Quote(path))
	return err
}

// Close ends a build. Its entry stays for later ones while something of it is
// left.
func (e *Entry) Close() error {
	if e == nil {
		return nil
	}
	for line := range entryLines(e.file) {
		if line.what == listedDirectory {
			continue // it has its image in it
		}
		if _, err := os.Lstat(line.path); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, e.file.Close())
		}
	}
	return errors.Join(os.Remove(e.file.Name()), e.file.Close())
}

type entryLine struct{ what, path string }

// entryLines yields what an entry lists, last first. A line that was cut off by
// a kill lists nothing: it was not made any more.
func entryLines(f *os.File) func(yield func(entryLine) bool) {
	return func(yield func(entryLine) bool) {
		var lines []entryLine
		if _, err := f.Seek(0, 0); err != nil {
			return
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			what, quoted, _ := strings.Cut(s.Text(), " ")
			if path, err := strconv.Unquote(quoted); err == nil {
				lines = append(lines, entryLine{what, path})
			}
		}
		for _, line := range slices.Backward(lines) {
			if !yield(line) {
				return
			}
		}
	}
}

// Reclaim removes what the ledger's builds left behind when they were killed,
// with their entries, and returns the paths.
func (l Ledger) Reclaim() (removed []string, err error) {
	if err := l.open(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(string(l))
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		file, err := lock(filepath.Join(string(l), e.Name()), 0)
		if err != nil {
			continue // at work, or just ended
		}
		left, err := reclaimEntry(file)
		removed, errs = append(removed, left...), append(errs, err, file.Close())
	}
	return removed, errors.Join(errs...)
}

// reclaimers remove what a dead build left and say whether something was there.
var reclaimers = map[string]func(path string) (removed bool, err error){
	listedWork:      func(path string) (bool, error) { return reclaimDirectory(path, os.O_CREATE) },
	listedImage:     reclaimImage,
	listedDirectory: func(path string) (bool, error) { return os.Remove(path) == nil, nil },
}

// reclaimEntry removes what a dead build left behind, and its entry if that is
// everything.
func reclaimEntry(file *os.File) (removed []string, err error) {
	var errs []error
	for line := range entryLines(file) {
		reclaim, ok := reclaimers[line.what]
		if !ok {
			continue
		}
		done, err := reclaim(line.path)
		if done {
			removed = append(removed, line.path)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return removed, err
	}
	return removed, os.Remove(file.Name())
}

// reclaimImage removes an image that was not finished, with its checksum.
func reclaimImage(path string) (removed bool, err error) {
	was := slices.ContainsFunc(append(ChecksumFiles(path), path), func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	})
	if !was {
		return false, nil
	}
	// What is there may be another build's by now, which has it locked.
	held, err := LockNew(path)
	if errors.Is(err, ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer held.Close()
	for _, path := range append(ChecksumFiles(path), path) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return true, nil
}
