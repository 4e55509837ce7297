package disk

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// plain are file systems that store a file in as many bytes as are in it, by
// the number that statfs has for them, whose width differs by architecture.
var plain = map[uint32]bool{unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.TMPFS_MAGIC: true}

// checkSpace returns a SpaceError where what is in the file from, unpacked or
// copied to the file to, is certain to fill the file system there: it takes at
// least as many bytes as are not zero in from.
func checkSpace(ctx context.Context, from, to string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(to), &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: filepath.Dir(to), Err: err}
	}
	if !plain[uint32(st.Type)] {
		return nil
	}
	free := Free(filepath.Dir(to))
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() <= free {
		return err
	}
	needed, err := nonZeroIn(ctx, f, info.Size())
	if err != nil || needed <= free {
		return err
	}
	return &SpaceError{Path: to, Needed: needed, Free: free}
}

// checkRoom returns a SpaceError where a file of at least so many bytes, none of
// them in a hole, does not fit at the path to.
func checkRoom(to string, needed int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(to), &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: filepath.Dir(to), Err: err}
	}
	if free := Free(filepath.Dir(to)); plain[uint32(st.Type)] && needed > free {
		return &SpaceError{Path: to, Needed: needed, Free: free}
	}
	return nil
}

// checkRoomFor is checkRoom for a file system with the tree at dir in it, of
// which blocks of zeros take no room. What is in the files is only read where
// their lengths do not fit.
func checkRoomFor(ctx context.Context, dir, to string) error {
	lengths := func(_ string, st *unix.Stat_t) (int64, error) { return st.Size, nil }
	contents := func(host string, st *unix.Stat_t) (int64, error) {
		f, err := os.OpenFile(host, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		return nonZeroIn(ctx, f, st.Size)
	}
	var err error
	for _, of := range []func(string, *unix.Stat_t) (int64, error){lengths, contents} {
		needed := int64(0)
		if werr := eachFile(dir, false, func(host string, st *unix.Stat_t) error {
			if st.Mode&unix.S_IFMT != unix.S_IFREG {
				return ctx.Err()
			}
			n, err := of(host, st)
			needed += n
			return err
		}); werr != nil {
			return werr
		}
		if err = checkRoom(to, needed); err == nil {
			return nil
		}
	}
	return err
}

// checkRoomForTar is checkRoom for an archive of the tree at dir, with the file
// systems that are mounted in it where they belong to it.
func checkRoomForTar(dir, to string, across bool) error {
	needed := int64(0)
	err := eachFile(dir, across, func(_ string, st *unix.Stat_t) error {
		needed += tarBlock
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			needed += st.Size
		}
		return nil
	})
	if err != nil {
		return err
	}
	return checkRoom(to, needed)
}

// eachFile calls f for everything in the tree at dir, once for all links to a
// file. It looks into file systems that are mounted in it if across is true.
func eachFile(dir string, across bool, f func(host string, st *unix.Stat_t) error) error {
	seen := map[inode]bool{}
	var device uint64
	return filepath.WalkDir(dir, func(host string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(host, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: host, Err: err}
		}
		if host == dir {
			device = st.Dev
		}
		if id := (inode{st.Dev, st.Ino}); st.Nlink > 1 && !d.IsDir() {
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		if err := f(host, &st); err != nil {
			return err
		}
		if d.IsDir() && st.Dev != device && !across {
			return fs.SkipDir
		}
		return nil
	})
}

// nearlyFull is so little room, in bytes, that what fails there fails for it.
const nearlyFull = 1 << 20

// nonZeroIn counts the bytes of a file in blocks that are not all zero.
func nonZeroIn(ctx context.Context, f *os.File, size int64) (needed int64, err error) {
	chunk := make([]byte, chunkSize)
	for e, err := range dataIn(f, size) {
		if err != nil {
			return 0, err
		}
		data := io.NewSectionReader(f, e.Start, e.Size)
		for err == nil {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			var n int
			n, err = fill(data, chunk)
			for start, end := range nonZero(chunk[:n]) {
				needed += int64(end - start)
			}
		}
		if !errors.Is(err, io.EOF) {
			return 0, err
		}
	}
	return needed, nil
}

// FullOf returns those of dirs whose full file systems an error comes from:
// the one that holds the file which did not fit, where the error knows it, and
// else all that are as good as full. What is to be written to a file system in
// a file on a full one fails in many ways.
func FullOf(err error, dirs ...string) (full []string) {
	path, noSpace := noSpaceFor(err)
	for _, dir := range dirs {
		if path != "" && within(dir, path) {
			return []string{dir}
		}
		if Free(dir) < nearlyFull {
			full = append(full, dir)
		}
	}
	if full == nil && noSpace && len(dirs) > 0 {
		return []string{slices.MinFunc(dirs, func(a, b string) int { return cmp.Compare(Free(a), Free(b)) })}
	}
	return full
}

// Free is how many bytes are free on the file system of dir.
func Free(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil || st.Blocks == 0 { // a tmpfs without a limit has no blocks
		return math.MaxInt64
	}
	return int64(st.Bfree * uint64(st.Bsize))
}

// noSpaceFor says whether an error is that of a full file system, be it a
// program's, and which file did not fit where that is known.
func noSpaceFor(err error) (path string, is bool) {
	if space := (*SpaceError)(nil); errors.As(err, &space) {
		return space.Path, true
	}
	if file := (*fs.PathError)(nil); errors.As(err, &file) && errors.Is(file, unix.ENOSPC) {
		return file.Path, true
	}
	return "", strings.Contains(err.Error(), "o space left on device")
}
