package disk

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Changed tells the present from the past as file systems do: a file that is
// written or renamed from now on has no earlier change time.
func Changed() (time.Time, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
		return time.Time{}, fmt.Errorf("reading the clock: %w", err)
	}
	return time.Unix(now.Unix()), nil
}

// List returns what the tree at root holds. Content is read of the regular
// files for which digest, given the path inside the tree, the size in bytes
// and the change time, says so. File systems mounted in the tree are left out.
func List(ctx context.Context, root string, digest func(path string, size int64, changed time.Time) bool) (Listing, error) {
	return list(ctx, root, false, digest)
}

// List is like the function List for a mounted image, whose tree is all the
// file systems that are mounted.
func (m *Mounted) List(ctx context.Context, digest func(path string, size int64, changed time.Time) bool) (Listing, error) {
	return list(ctx, m.Root, true, digest)
}

func list(ctx context.Context, root string, across bool, digest func(string, int64, time.Time) bool) (Listing, error) {
	var st unix.Stat_t
	if err := unix.Lstat(root, &st); err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: root, Err: err}
	}
	l := lister{root: root, device: st.Dev, across: across, digest: digest, out: Listing{}}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(listers)
	g.Go(func() error { return l.visit(ctx, g, root) })
	err := g.Wait()
	return l.out, err
}

// listers is how many directories are read at the same time. Most of the time
// goes by waiting for the device.
const listers = 16

// lister lists a tree.
type lister struct {
	root   string
	device uint64 // of the root
	across bool   // list other file systems too
	digest func(path string, size int64, changed time.Time) bool

	lock sync.Mutex
	out  Listing
}

// visit lists what is at host, and what is below it; in the group, where that
// has room.
func (l *lister) visit(ctx context.Context, g *errgroup.Group, host string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	item, other, err := l.item(ctx, host)
	if err != nil || other {
		return err
	}
	l.lock.Lock()
	l.out[l.inside(host)] = item
	l.lock.Unlock()
	if !item.Mode.IsDir() {
		return nil
	}
	entries, err := os.ReadDir(host)
	if err != nil {
		return err
	}
	for _, e := range entries {
		child := filepath.Join(host, e.Name())
		if e.IsDir() && g.TryGo(func() error { return l.visit(ctx, g, child) }) {
			continue
		}
		if err := l.visit(ctx, g, child); err != nil {
			return err
		}
	}
	return nil
}

// inside is the path of host in the tree.
func (l *lister) inside(host string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(host, l.root), "/")
}

// item reads what is at host, and says whether it is a directory of another
// file system, which is not listed.
func (l *lister) item(ctx context.Context, host string) (item Item, other bool, err error) {
	info, err := os.Lstat(host)
	if err != nil {
		return item, false, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return item, false, fmt.Errorf("%s: no owner is known", host)
	}
	item = Item{Mode: info.Mode(), UID: int(st.Uid), GID: int(st.Gid)}
	switch {
	case info.Mode().IsRegular():
		item.Size = info.Size()
		if l.digest(l.inside(host), item.Size, time.Unix(st.Ctim.Unix())) {
			item.Digest, err = digestOf(ctx, host)
		}
	case info.Mode()&fs.ModeSymlink != 0:
		item.Target, err = os.Readlink(host)
	case info.IsDir():
		other = st.Dev != l.device && !l.across
	}
	return item, other, err
}

// digestOf reads a file.
func digestOf(ctx context.Context, host string) (string, error) {
	f, err := os.OpenFile(host, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digestFrom(ctx, f)
}

func digestFrom(ctx context.Context, r io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, reader{ctx, r}); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// again asks for the same digests a second time.
func (l Listing) again(name string, _ int64, _ time.Time) bool { return l[name].Digest != "" }

// CheckMounted compares a tree that is mounted from the finished image.
func (l Listing) CheckMounted(ctx context.Context, m *Mounted) error {
	got, err := m.List(ctx, l.again)
	if err != nil {
		return fmt.Errorf("reading the finished image: %w", err)
	}
	return l.compare(got, none)
}

// CheckTable compares the partitions of the finished disk with those that it
// had: its places, numbers and names.
func CheckTable(image string, had *Layout) error {
	has, err := ReadLayout(image)
	if err != nil {
		return fmt.Errorf("reading the finished image: %w", err)
	}
	if !reflect.DeepEqual(had.bare(), has.bare()) {
		return fmt.Errorf("%w: its partitions are\n%s\nand were\n%s", ErrDiffers, has, had)
	}
	return nil
}

// bare is a layout without what is in its partitions.
func (l *Layout) bare() Layout {
	out := *l
	out.Partitions = slices.Clone(l.Partitions)
	for i := range out.Partitions {
		out.Partitions[i].FileSystem = FileSystem{}
	}
	return out
}

// CheckTar compares the finished archive at path.
func (l Listing) CheckTar(ctx context.Context, path string, held *Held) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	got := Listing{}
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the finished archive: %w", err)
		}
		name, item, err := l.member(ctx, header, r, got)
		if err != nil {
			return fmt.Errorf("reading the finished archive: %s: %w", header.Name, err)
		}
		got[name] = item
	}
	want := Listing{}
	for name, item := range l {
		if item.Mode&fs.ModeSocket == 0 { // a tar has none
			want[name] = item
		}
	}
	return want.compare(got, held.has)
}

// member is what a header of an archive, whose earlier members are got, says.
func (l Listing) member(ctx context.Context, header *tar.Header, r io.Reader, got Listing) (string, Item, error) {
	name := path.Clean("/" + header.Name)
	if header.Typeflag == tar.TypeLink {
		first, ok := got[path.Clean("/"+header.Linkname)]
		if !ok {
			return name, first, fmt.Errorf("is a link to %s, which is not there", header.Linkname)
		}
		if first.Digest == "" && l[name].Digest != "" {
			return name, first, errors.New("the content of its first link was not read")
		}
		return name, first, nil
	}
	item := Item{Mode: header.FileInfo().Mode(), UID: header.Uid, GID: header.Gid, Target: header.Linkname}
	if header.Typeflag == tar.TypeReg {
		item.Size = header.Size
		if l[name].Digest != "" {
			var err error
			item.Digest, err = digestFrom(ctx, r)
			return name, item, err
		}
	}
	return name, item, nil
}

// has says whether something is held at path, or was.
func (h *Held) has(path string) bool {
	_, ok := h.device(path)
	return ok
}

// CheckExt4 compares the finished ext4 image, without mounting it. scratch is
// a directory for the files whose content is compared. Names with control
// characters, which debugfs cannot be asked for, are passed over.
func (l Listing) CheckExt4(ctx context.Context, image string, held *Held, scratch string) (err error) {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	image = nameFor(f)
	var directories, files []string
	want := Listing{}
	for name, item := range l {
		if strings.ContainsFunc(name, unicode.IsControl) {
			continue
		}
		if item.Mode.IsDir() {
			directories = append(directories, name)
		} else if item.Digest != "" {
			files = append(files, name)
		}
		item.Target = "" // its length is compared
		want[name] = item
	}
	got, err := listExt4(ctx, image, directories)
	if err != nil {
		return fmt.Errorf("reading the finished image: %w", err)
	}
	out, err := os.MkdirTemp(scratch, "reread-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(out)
	var script strings.Builder
	for i, name := range files {
		fmt.Fprintf(&script, "dump %s %s\n", quote(name), quote(filepath.Join(out, strconv.Itoa(i))))
	}
	if _, err := debugfs(ctx, script.String(), image); err != nil {
		return fmt.Errorf("reading the finished image: %w", err)
	}
	for i, name := range files {
		item := got[name]
		if item.Digest, err = digestOf(ctx, filepath.Join(out, strconv.Itoa(i))); err != nil {
			return fmt.Errorf("reading the finished image: %w", err)
		}
		got[name] = item
	}
	return want.compare(got, func(name string) bool {
		_, parent := l[path.Dir(name)]
		return name == "/lost+found" || !parent || held.has(name) || strings.ContainsFunc(name, unicode.IsControl)
	})
}

// listExt4 lists directories of an ext4 image.
func listExt4(ctx context.Context, image string, directories []string) (Listing, error) {
	var script strings.Builder
	for _, dir := range directories {
		fmt.Fprintf(&script, "ls -p %s\n", quote(dir))
	}
	text, err := debugfs(ctx, script.String(), image)
	if err != nil {
		return nil, err
	}
	got := Listing{}
	n := -1
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "debugfs: ") { // the command, which it repeats
			n++
			continue
		}
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "/") // "/inode/mode/uid/gid/name/size/"
		if len(fields) != 8 || n < 0 || n >= len(directories) || fields[5] == ".." || fields[5] == "." && directories[n] != "/" {
			continue
		}
		item, err := ext4Item(fields)
		if err != nil {
			return nil, fmt.Errorf("debugfs wrote %q: %w", line, err)
		}
		got[path.Join(directories[n], fields[5])] = item
	}
	return got, nil
}

// ext4Item reads one line of debugfs, split at slashes.
func ext4Item(fields []string) (Item, error) {
	mode, err := strconv.ParseUint(fields[2], 8, 32)
	uid, uidErr := strconv.Atoi(fields[3])
	gid, gidErr := strconv.Atoi(fields[4])
	var sizeErr error
	item := Item{Mode: modeOf(uint32(mode)), UID: uid, GID: gid}
	if item.Mode.IsRegular() {
		item.Size, sizeErr = strconv.ParseInt(fields[6], 10, 64)
	}
	return item, errors.Join(err, uidErr, gidErr, sizeErr)
}

// fileTypes are the kernel's types of files as Go names them.
var fileTypes = map[uint32]fs.FileMode{
	unix.S_IFREG: 0, unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe,
	unix.S_IFSOCK: fs.ModeSocket, unix.S_IFBLK: fs.ModeDevice, unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice,
}

// modeOf is a mode of the kernel's as Go writes it.
func modeOf(mode uint32) fs.FileMode {
	out := fileTypes[mode&unix.S_IFMT] | fs.FileMode(mode&0o777)
	for bit, flag := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if mode&bit != 0 {
			out |= flag
		}
	}
	return out
}

// CompareDisks fails unless the image at path shows a machine the same disk as
// the raw image does.
func CompareDisks(ctx context.Context, raw, path string, format Format) error {
	if _, err := run(ctx, QemuImg, "", nil, "compare", "-q", "-f", string(Raw), "-F", string(format), raw, path); err != nil {
		return fmt.Errorf("%w: %w", ErrDiffers, err)
	}
	return nil
}

// Archive writes the mounted tree, with all file systems of the image that
// are mounted in it, as a plain tar archive to the file to. See Archive.
func (m *Mounted) Archive(ctx context.Context, to string) (sockets int, err error) {
	if err := checkRoomForTar(m.Root, to, true); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	a := &archiver{root: m.Root, held: index(m.Root, nil), links: map[inode]string{}, out: tar.NewWriter(f), across: true}
	sockets, err = a.run(ctx)
	return sockets, errors.Join(err, f.Close())
}
