package disk

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Archive writes the tree at dir, and what is held for it, to w as a plain
// tar archive: sorted by name, with numeric owners, hard links and extended
// attributes. File systems mounted in the tree and sockets are left out;
// sockets are counted in what it returns.
func Archive(ctx context.Context, w io.Writer, dir string, held *Held) (sockets int, err error) {
	dir = filepath.Clean(dir)
	a := &archiver{root: dir, held: index(dir, held), links: map[inode]string{}, out: tar.NewWriter(w)}
	return a.run(ctx)
}

func (a *archiver) run(ctx context.Context) (sockets int, err error) {
	err = filepath.WalkDir(a.root, func(host string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return a.add(host)
	})
	if err != nil {
		return 0, err
	}
	return a.sockets, a.out.Close()
}

// inode tells a file from all others on this host.
type inode struct{ device, number uint64 }

// archiver is one run of Archive.
type archiver struct {
	root    string
	held    heldIndex
	links   map[inode]string // name of the first link to a file
	out     *tar.Writer
	device  uint64 // of the root
	across  bool   // other file systems belong to the tree
	sockets int
}

// memberName is the name of a path inside the tree in an archive.
func memberName(inside string, directory bool) string {
	name := "." + inside
	if directory && !strings.HasSuffix(name, "/") {
		name += "/"
	}
	return name
}

func (a *archiver) add(host string) error {
	inside := "/" + strings.TrimPrefix(strings.TrimPrefix(host, a.root), "/")
	var st unix.Stat_t
	if err := unix.Lstat(host, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: host, Err: err}
	}
	if inside == "/" {
		a.device = st.Dev
	}
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		a.sockets++
		return nil
	}
	header, err := a.header(host, inside, &st)
	if err != nil {
		return err
	}
	if err := a.write(host, header, &st); err != nil {
		return fmt.Errorf("archiving %s: %w", inside, err)
	}
	if header.Typeflag != tar.TypeDir {
		return nil
	}
	for _, d := range a.held.devices[inside] {
		if err := a.addDevice(d); err != nil {
			return fmt.Errorf("archiving %s: %w", d.Path, err)
		}
	}
	if st.Dev != a.device && !a.across {
		return fs.SkipDir
	}
	return nil
}

// header describes the file at host.
func (a *archiver) header(host, inside string, st *unix.Stat_t) (*tar.Header, error) {
	info, err := os.Lstat(host)
	if err != nil {
		return nil, err
	}
	var target string
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(host); err != nil {
			return nil, err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return nil, err
	}
	header.Name = memberName(inside, info.IsDir())
	header.Uname, header.Gname = "", ""
	header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
	header.ModTime = info.ModTime().Truncate(time.Second)
	if info.Mode()&fs.ModeDevice != 0 {
		header.Devmajor, header.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	}
	if !info.IsDir() && st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first, ok := a.links[id]; ok {
			header.Typeflag, header.Linkname, header.Size = tar.TypeLink, first, 0
			return header, nil
		}
		a.links[id] = header.Name
	}
	attributes, err := attributesOf(host)
	if err != nil {
		return nil, fmt.Errorf("extended attributes of %s: %w", inside, err)
	}
	for _, held := range a.held.attributes[inside] {
		attributes[held.Name] = string(held.Value)
	}
	for name, value := range attributes {
		if header.PAXRecords == nil {
			header.PAXRecords = map[string]string{}
		}
		header.PAXRecords[xattrRecord+name] = value
	}
	return header, nil
}

func (a *archiver) write(host string, header *tar.Header, st *unix.Stat_t) error {
	if err := a.out.WriteHeader(header); err != nil {
		return err
	}
	if header.Typeflag != tar.TypeReg {
		return nil
	}
	f, err := os.OpenFile(host, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(a.out, f)
	if err == nil && n != st.Size {
		err = fmt.Errorf("file changed while it was read: %d bytes, then %d", st.Size, n)
	}
	return err
}

func (a *archiver) addDevice(d Device) error {
	typeflag := byte(tar.TypeBlock)
	if d.Mode&fs.ModeCharDevice != 0 {
		typeflag = tar.TypeChar
	}
	return a.out.WriteHeader(&tar.Header{
		Typeflag: typeflag, Name: memberName(d.Path, false), Mode: int64(d.Mode.Perm()),
		Uid: d.UID, Gid: d.GID, Devmajor: int64(d.Major), Devminor: int64(d.Minor), ModTime: d.ModTime,
	})
}

// attributesOf reads the extended attributes of a file, not following a link.
func attributesOf(host string) (map[string]string, error) {
	out := map[string]string{}
	size, err := unix.Llistxattr(host, nil)
	if errors.Is(err, unix.ENOTSUP) || size == 0 {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	list := make([]byte, size)
	if size, err = unix.Llistxattr(host, list); err != nil {
		return nil, err
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(list[:size]), "\x00"), "\x00") {
		size, err := unix.Lgetxattr(host, name, nil)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue
		}
		if err != nil {
			return nil, err
		}
		value := make([]byte, size)
		if size > 0 {
			if size, err = unix.Lgetxattr(host, name, value); err != nil {
				return nil, err
			}
		}
		out[name] = string(value[:size])
	}
	return out, nil
}

// heldIndex is what is still true of a Held, by path: devices by the
// directory they stand in, attributes by their file.
type heldIndex struct {
	devices    map[string][]Device
	attributes map[string][]Attribute
}

// index drops from held what the tree has overtaken: devices whose directory
// is gone or whose place is taken, attributes of files that are not the same.
func index(root string, held *Held) heldIndex {
	out := heldIndex{devices: map[string][]Device{}, attributes: map[string][]Attribute{}}
	if held == nil {
		return out
	}
	for _, d := range held.Devices {
		parent, err := os.Lstat(filepath.Join(root, path.Dir(d.Path)))
		if err != nil || !parent.IsDir() {
			continue
		}
		if _, err := os.Lstat(filepath.Join(root, d.Path)); errors.Is(err, fs.ErrNotExist) {
			out.devices[path.Dir(d.Path)] = append(out.devices[path.Dir(d.Path)], d)
		}
	}
	for _, a := range held.Attributes {
		if now, err := stampOf(filepath.Join(root, a.Path)); err == nil && now == a.stamp {
			out.attributes[a.Path] = append(out.attributes[a.Path], a)
		}
	}
	return out
}

// paths lists everything that is still held.
func (h heldIndex) paths() []string {
	var out []string
	for _, devices := range h.devices {
		for _, d := range devices {
			out = append(out, d.Path)
		}
	}
	for name := range h.attributes {
		out = append(out, name)
	}
	return out
}
