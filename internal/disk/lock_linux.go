package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// ErrLocked is returned for what another process is working on.
var ErrLocked = errors.New("another build is working on it")

// Lock opens the file at path, made if it is not there, and keeps every other
// process from locking it until it is closed or this process ends.
func Lock(path string) (*os.File, error) { return lock(path, os.O_CREATE) }

// lockPatience is how long LockNew waits for another process: one that removes
// what a killed build left is done at once, one that builds is not.
const lockPatience = time.Second

// LockNew makes the file at path and locks it. One that a killed build left
// there is removed and never written to again: whatever of that build may
// still have it open must not write into the new one.
func LockNew(path string) (*os.File, error) {
	for began := time.Now(); ; {
		f, err := lock(path, os.O_CREATE|os.O_EXCL)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		old, err := lock(path, 0)
		switch {
		case err == nil:
			err = errors.Join(os.Remove(path), old.Close())
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, ErrLocked) && time.Since(began) < lockPatience:
			time.Sleep(lockPatience / 20)
			continue
		}
		if err != nil {
			return nil, err
		}
	}
}

// NewImage makes and locks the file that an image is made in, and lists it in
// entry.
func NewImage(path string, entry *Entry) (*os.File, error) {
	if err := entry.list(listedImage, path); err != nil {
		return nil, err
	}
	return LockNew(path)
}

// lock opens and locks the file at path; flags say whether it is made.
func lock(path string, flags int) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, flags|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = ErrLocked
			}
			return nil, errors.Join(&fs.PathError{Op: "lock", Path: path, Err: err}, f.Close())
		}
		// The file may have been renamed or removed before it was locked.
		locked, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if now, err := os.Lstat(path); err == nil && os.SameFile(locked, now) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// treeName is the directory in a work directory that holds the tree.
const treeName = "root"

// TreeIn is where a work directory has its tree.
func TreeIn(workDirectory string) string { return filepath.Join(workDirectory, treeName) }

// lockName is the file in a work directory that its build keeps locked.
const lockName = "lock"

// NewWorkDirectory makes a directory in parent, with a name that begins with
// prefix, that only root can look into, locks it and lists it in entry. The
// path that it returns holds no symbolic link, as the kernel's lists of mounts
// hold none.
func NewWorkDirectory(parent, prefix string, entry *Entry) (dir string, lock *os.File, err error) {
	if parent, err = resolved(parent); err != nil {
		return "", nil, err
	}
	name := prefix + rand.Text()
	dir = filepath.Join(parent, name)
	// Other builds take a directory of that name that nobody has locked for one
	// that a killed build left (see Reclaim): it has the name only once it is locked.
	unlocked := filepath.Join(parent, "."+name)
	if err := errors.Join(entry.list(listedWork, dir), entry.list(listedWork, unlocked)); err != nil {
		return "", nil, err
	}
	if err := os.Mkdir(unlocked, 0o700); err != nil {
		return "", nil, err
	}
	lock, err = Lock(filepath.Join(unlocked, lockName))
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(unlocked))
	}
	if err := os.Rename(unlocked, dir); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(unlocked), lock.Close())
	}
	return dir, lock, nil
}

// resolved is path, absolute and without symbolic links.
func resolved(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// Reclaim removes the work directories in parent that builds which were
// killed left behind, with the commands that still run and what is mounted in
// them, and returns their paths.
// Only root's own are considered.
func Reclaim(parent, prefix string) (removed []string, err error) {
	if parent, err = resolved(parent); err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob(filepath.Join(parent, prefix+"*"))
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, dir := range dirs {
		done, err := reclaimDirectory(dir, 0)
		if done {
			removed = append(removed, dir)
		}
		if !errors.Is(err, ErrLocked) {
			errs = append(errs, err)
		}
	}
	return removed, errors.Join(errs...)
}

// reclaimDirectory removes a work directory if it is one of root's, and says
// whether it did. Without O_CREATE in flags one that has no lock yet is passed
// over: it is just being made, or none of ours.
func reclaimDirectory(dir string, flags int) (removed bool, err error) {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != 0 || st.Mode&0o077 != 0 {
		return false, nil
	}
	held, err := lock(filepath.Join(dir, lockName), flags)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer held.Close()
	EndProcesses(TreeIn(dir), nil)
	if err := RemoveTree(dir); err != nil {
		return false, err
	}
	return true, nil
}

// RemoveTree unmounts whatever is mounted below dir and removes dir. It
// removes nothing while something is mounted.
func RemoveTree(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if err := unmountDir(m); err != nil && !errors.Is(err, errUnwritten) {
			return fmt.Errorf("unmounting %s: %w", m, err)
		}
	}
	if mounts, err = mountsBelow(dir); err != nil || len(mounts) > 0 {
		return errors.Join(err, fmt.Errorf("%s stays: still mounted below it: %q", dir, mounts))
	}
	return os.RemoveAll(dir)
}

// mountsBelow lists the mount points at or below dir, innermost first.
func mountsBelow(dir string) ([]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range mounts {
		out = append(out, m.Mountpoint)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(out)))
	return out, nil
}
