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
	"sort"
	"strings"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// Names of the PAX records that carry extended attributes.
const (
	xattrRecord   = "SCHILY.xattr."
	aclRecord     = "SCHILY.acl."
	selinuxRecord = "RHT.security.selinux"
)

// Unpack reads a plain tar archive from r into the empty directory dir, with
// owners, modes, times, hard links, devices and extended attributes exactly
// as the archive has them. Symbolic links of the archive are followed inside
// dir, as if dir were "/"; a name that leads out of it is an error, as is an
// archive without its end. What this host does not permit is returned.
func Unpack(ctx context.Context, r io.Reader, dir string) (*Held, error) {
	u := &unpacker{root: dir, held: &Held{}, times: map[string]time.Time{}}
	tail := &tailReader{r: r}
	archive := tar.NewReader(tail)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading archive after %d entries: %w", u.entries, err)
		}
		if header.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		u.entries++
		if err := u.unpack(ctx, header, archive); err != nil {
			return nil, fmt.Errorf("archive entry %q: %w", header.Name, err)
		}
	}
	// The rest is read so that a compressed archive's own checksum is tried.
	if _, err := io.Copy(io.Discard, tail); err != nil {
		return nil, fmt.Errorf("reading archive after %d entries: %w", u.entries, err)
	}
	if !tail.zero() {
		return nil, fmt.Errorf("archive is cut off after %d entries: it has no end-of-archive mark", u.entries)
	}
	if u.entries == 0 {
		return nil, errors.New("archive is empty")
	}
	return u.held, u.setTimes()
}

// unpacker is one run of Unpack.
type unpacker struct {
	root    string
	held    *Held
	times   map[string]time.Time // of directories, by host path: set last
	entries int
}

// cleanName turns a name in an archive into an absolute path inside the tree.
func cleanName(name string) (string, error) {
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("name %q leads out of the tree", name)
		}
	}
	return path.Clean("/" + name), nil
}

// locate resolves name inside the tree but for its last part. It returns the
// path on the host and the path inside the tree, both free of symbolic links
// up to the last part.
func (u *unpacker) locate(name string) (host, inside string, err error) {
	clean, err := cleanName(name)
	if err != nil {
		return "", "", err
	}
	if clean == "/" {
		return u.root, "/", nil
	}
	parent, err := securejoin.SecureJoin(u.root, path.Dir(clean))
	if err != nil {
		return "", "", err
	}
	host = filepath.Join(parent, path.Base(clean))
	return host, strings.TrimPrefix(host, filepath.Clean(u.root)), nil
}

func (u *unpacker) unpack(ctx context.Context, h *tar.Header, body io.Reader) error {
	host, inside, err := u.locate(h.Name)
	if err != nil {
		return err
	}
	if inside == "/" && h.Typeflag != tar.TypeDir {
		return errors.New("is the root of the tree but no directory")
	}
	if err := os.MkdirAll(filepath.Dir(host), 0o755); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		return u.link(h, host, inside)
	}
	if err := u.clear(host, inside, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.Mkdir(host, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		u.times[host] = h.ModTime
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		if err := writeFile(ctx, host, body, h.Size); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := os.Symlink(h.Linkname, host); err != nil {
			return err
		}
	case tar.TypeFifo:
		if err := unix.Mkfifo(host, 0o600); err != nil {
			return err
		}
	case tar.TypeChar, tar.TypeBlock:
		made, err := u.device(h, host, inside)
		if err != nil || !made {
			return err
		}
	default:
		return fmt.Errorf("is of unknown type %q", h.Typeflag)
	}
	return u.dress(h, host, inside)
}

// clear makes room for an entry that comes again: the last one counts.
func (u *unpacker) clear(host, inside string, directory bool) error {
	if len(u.held.Devices)+len(u.held.Attributes) > 0 {
		u.held.forget(inside)
	}
	info, err := os.Lstat(host)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && directory && info.IsDir()) {
		return nil
	}
	if err != nil {
		return err
	}
	delete(u.times, host)
	return os.Remove(host)
}

// device makes a device node, or holds it back where that is not permitted.
func (u *unpacker) device(h *tar.Header, host, inside string) (made bool, err error) {
	kind, mode := uint32(unix.S_IFBLK), fs.ModeDevice
	if h.Typeflag == tar.TypeChar {
		kind, mode = unix.S_IFCHR, fs.ModeDevice|fs.ModeCharDevice
	}
	major, minor := uint32(h.Devmajor), uint32(h.Devminor)
	err = unix.Mknod(host, kind|0o600, int(unix.Mkdev(major, minor)))
	if errors.Is(err, unix.EPERM) {
		u.held.Devices = append(u.held.Devices, Device{
			Path: inside, Mode: mode | h.FileInfo().Mode().Perm(), UID: h.Uid, GID: h.Gid,
			Major: major, Minor: minor, ModTime: h.ModTime,
		})
		return false, nil
	}
	return err == nil, err
}

// link makes a hard link; its owner, mode and times are its target's.
func (u *unpacker) link(h *tar.Header, host, inside string) error {
	source, sourceInside, err := u.locate(h.Linkname)
	if err != nil {
		return err
	}
	if source == host {
		return nil
	}
	if d, ok := u.held.device(sourceInside); ok {
		if err := u.clear(host, inside, false); err != nil {
			return err
		}
		d.Path = inside
		u.held.Devices = append(u.held.Devices, d)
		return nil
	}
	if _, err := os.Lstat(source); err != nil {
		return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
	}
	if err := u.clear(host, inside, false); err != nil {
		return err
	}
	return os.Link(source, host)
}

// dress gives a new entry its owner, mode, attributes and times. The order
// matters: changing the owner clears set-id bits and capabilities.
func (u *unpacker) dress(h *tar.Header, host, inside string) error {
	if err := os.Lchown(host, h.Uid, h.Gid); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := os.Chmod(host, h.FileInfo().Mode()&permissionBits); err != nil {
			return err
		}
	}
	if h.Typeflag != tar.TypeDir {
		if err := setTime(host, h.ModTime); err != nil {
			return err
		}
	}
	return u.attributes(h, host, inside)
}

// attributes sets the extended attributes that the archive has for an entry.
func (u *unpacker) attributes(h *tar.Header, host, inside string) error {
	for record, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(record, xattrRecord)
		switch {
		case ok:
		case record == selinuxRecord:
			name = "security.selinux"
		case strings.HasPrefix(record, aclRecord):
			u.held.drop("access control lists in text form")
			continue
		default:
			continue
		}
		err := unix.Lsetxattr(host, name, []byte(value), 0)
		switch {
		case err == nil:
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EINVAL):
			st, err := stampOf(host)
			if err != nil {
				return err
			}
			if h.Typeflag == tar.TypeDir {
				st.modified = time.Time{} // changes with every entry in it
			}
			u.held.Attributes = append(u.held.Attributes, Attribute{Path: inside, Name: name, Value: []byte(value), stamp: st})
		default:
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	return nil
}

// setTimes gives the directories their times, children first.
func (u *unpacker) setTimes() error {
	dirs := make([]string, 0, len(u.times))
	for dir := range u.times {
		dirs = append(dirs, dir)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(dirs)))
	for _, dir := range dirs {
		if err := setTime(dir, u.times[dir]); err != nil {
			return err
		}
	}
	return nil
}

// permissionBits are the mode bits that chmod sets.
const permissionBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// setTime sets both times of a path, of a symbolic link itself.
func setTime(host string, t time.Time) error {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	ts := unix.NsecToTimespec(t.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, host, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: host, Err: err}
	}
	return nil
}

// stampOf returns the state of the file at host now.
func stampOf(host string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Lstat(host, &st); err != nil {
		return stamp{}, &fs.PathError{Op: "lstat", Path: host, Err: err}
	}
	s := stamp{device: st.Dev, inode: st.Ino, modified: time.Unix(st.Mtim.Unix())}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		s.modified = time.Time{}
	}
	return s, nil
}
