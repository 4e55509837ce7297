package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/sys/unix"
)

// vfatTools read and write a vfat file system that is not mounted.
var vfatTools = []Tool{{"mcopy", "mtools"}, {"mdeltree", "mtools"}}

// vfatCopy is a vfat file system that this host's kernel cannot mount. What is
// in it is shown as a copy in memory, and what has changed there is written
// back.
type vfatCopy struct {
	partition Partition
	dress     vfatDress
	// dirs are where the copy is mounted.
	dirs []string
	// had is what the file system holds.
	had Listing
}

// vfatDress is what every file of a vfat file system gets, which knows neither
// owners nor modes.
type vfatDress struct {
	uid, gid  int
	dirs      fs.FileMode
	files     fs.FileMode
	forKernel string
}

// dressOf reads the options of a line as the kernel does. Without an umask it
// is that of systemd, which mounts at boot.
func dressOf(l mountLine) (vfatDress, error) {
	values := map[string]int64{"uid": 0, "gid": 0, "umask": 0o022}
	for _, o := range l.options {
		name, value, _ := strings.Cut(o, "=")
		base, known := map[string]int{"uid": 10, "gid": 10, "umask": 8, "dmask": 8, "fmask": 8}[name]
		if !known {
			continue
		}
		n, err := strconv.ParseUint(value, base, 31)
		if err != nil {
			return vfatDress{}, fmt.Errorf("option %s: %w", o, err)
		}
		values[name] = int64(n)
	}
	masked := func(name string) fs.FileMode {
		mask, ok := values[name]
		if !ok {
			mask = values["umask"]
		}
		return 0o777 &^ fs.FileMode(mask)
	}
	d := vfatDress{uid: int(values["uid"]), gid: int(values["gid"]), dirs: masked("dmask"), files: masked("fmask")}
	d.forKernel = fmt.Sprintf("uid=%d,gid=%d,dmask=%04o,fmask=%04o", d.uid, d.gid, 0o777&^d.dirs, 0o777&^d.files)
	return d, nil
}

// put gives the tree at dir the owner and the modes of vfat's files.
func (d vfatDress) put(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := d.files
		if e.IsDir() {
			mode = d.dirs
		}
		return errors.Join(root.Lchown(name, d.uid, d.gid), root.Chmod(name, mode))
	})
}

// mountVfat mounts partition p as the line says, or a copy of it where the
// kernel cannot.
func (m *Mounted) mountVfat(ctx context.Context, l mountLine, p Partition) error {
	dress, err := dressOf(l)
	if err != nil {
		return err
	}
	dir, err := m.mountPoint(l.dir)
	if err != nil {
		return err
	}
	err = m.add(ctx, p, dir, dress.forKernel)
	if !errors.Is(err, unix.ENODEV) {
		return err
	}
	if missing := Missing(vfatTools...); missing != nil {
		return fmt.Errorf("%w (modprobe vfat), and without mounting it cannot be read: %w", err, missing)
	}
	for _, c := range m.copies {
		if c.partition.Number == p.Number {
			if err := unix.Mount(c.dirs[0], dir, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("bind mount: %w", err)
			}
			m.mounts, c.dirs = append(m.mounts, dir), append(c.dirs, dir)
			return nil
		}
	}
	return m.showCopy(ctx, &vfatCopy{partition: p, dress: dress, dirs: []string{dir}})
}

// showCopy mounts a copy of a vfat file system.
func (m *Mounted) showCopy(ctx context.Context, c *vfatCopy) error {
	dir := c.dirs[0]
	// Small files take more room in memory than on the disk.
	if err := unix.Mount("vfat", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d", 2*c.partition.Size)); err != nil {
		return fmt.Errorf("mounting a tmpfs: %w", err)
	}
	m.mounts, m.copies = append(m.mounts, dir), append(m.copies, c)
	what := fmt.Sprintf("reading partition %d (%s)", c.partition.Number, c.partition.FileSystem)
	if err := c.mtools(ctx, m.image, "mcopy", "-smnQ", "::/", dir+"/"); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	err := errors.Join(spell(dir), c.dress.put(dir))
	if err == nil {
		c.had, err = list(ctx, dir, false, allContent)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if m.writable() {
		return nil
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("protecting it: %w", err)
	}
	return nil
}

func allContent(string, int64, time.Time) bool { return true }

// mtools runs one of the mtools on the file system. Times are in UTC, as the
// kernel has them, and no configuration of the host's counts.
func (c *vfatCopy) mtools(ctx context.Context, image, name string, args ...string) error {
	env := []string{"TZ=UTC", "LC_ALL=C.UTF-8", "MTOOLSRC=/dev/null", "MTOOLS_SKIP_CHECK=1", "MTOOLS_LOWER_CASE=0", "MTOOLS_FAT_COMPATIBILITY=0"}
	place := fmt.Sprintf("%s@@%d", image, c.partition.Start)
	_, err := run(ctx, Tool{name, "mtools"}, "", env, append([]string{"-i", place}, args...)...)
	return err
}

// spelled are names that firmware and boot loaders look for in any case, as
// everything else that looks for them writes them.
var spelled = map[string]string{
	"efi": "EFI", "loader": "loader", "entries": "entries", "grub": "grub", "grub2": "grub2", "grub.cfg": "grub.cfg",
	"grubenv": "grubenv", "cmdline.txt": "cmdline.txt", "config.txt": "config.txt", "extlinux": "extlinux",
	"extlinux.conf": "extlinux.conf", "syslinux": "syslinux", "syslinux.cfg": "syslinux.cfg", "linux.cfg": "linux.cfg",
	"memdisk.cfg": "memdisk.cfg", "addons": "addons", "custom.cfg": "custom.cfg", "user.cfg": "user.cfg", "tryboot.txt": "tryboot.txt",
	"usercfg.txt": "usercfg.txt", "syscfg.txt": "syscfg.txt", "distroconfig.txt": "distroconfig.txt", "boot.scr": "boot.scr",
	"armbianenv.txt": "armbianEnv.txt", "uenv.txt": "uEnv.txt",
}

// spell renames, in the copy at dir, what is looked for by a name in other
// letters: on vfat it would be found.
func spell(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if known, ok := spelled[strings.ToLower(name)]; ok {
			name = known
		} else if ending := path.Ext(name); strings.EqualFold(ending, ".conf") {
			name = strings.TrimSuffix(name, ending) + ".conf"
		}
		if exists(dir, name) {
			name = e.Name()
		} else if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(dir, name)); err != nil {
			return err
		}
		if e.IsDir() {
			if err := spell(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// WriteBack writes what has changed in copies of file systems that this host
// cannot mount to where it belongs. Once it has failed the image is of no use.
func (m *Mounted) WriteBack(ctx context.Context) error {
	if !m.writable() {
		return nil
	}
	for _, c := range m.copies {
		if err := c.writeBack(ctx, m.image); err != nil {
			return fmt.Errorf("writing %s back to partition %d (%s): %w", m.inside(c.dirs[0]), c.partition.Number, c.partition.FileSystem, err)
		}
	}
	return nil
}

// inside is a directory of this host as the image names it.
func (m *Mounted) inside(dir string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(dir, filepath.Clean(m.Root)), "/")
}

func (c *vfatCopy) writeBack(ctx context.Context, image string) error {
	dir := c.dirs[0]
	has, err := list(ctx, dir, false, allContent)
	if err != nil {
		return err
	}
	gone, added := c.had.changes(has)
	if err := has.checkVfat(added); err != nil {
		return err
	}
	for names := range slices.Chunk(gone, maxArguments) {
		args := []string{}
		for _, name := range names {
			args = append(args, vfatPath(name))
		}
		if err := c.mtools(ctx, image, "mdeltree", args...); err != nil {
			return err
		}
	}
	// What is written next leaves the ends of its clusters as they are.
	if len(gone) > 0 {
		if _, err := c.trim(image); err != nil {
			return err
		}
	}
	byParent := map[string][]string{}
	for _, name := range added {
		byParent[path.Dir(name)] = append(byParent[path.Dir(name)], filepath.Join(dir, name))
	}
	for _, parent := range slices.Sorted(maps.Keys(byParent)) {
		for files := range slices.Chunk(byParent[parent], maxArguments) {
			if err := c.mtools(ctx, image, "mcopy", append(append([]string{"-smoQ"}, files...), strings.TrimSuffix(vfatPath(parent), "/")+"/")...); err != nil {
				return err
			}
		}
	}
	c.had = has
	return c.dress.put(dir)
}

// maxArguments is how many files one command gets.
const maxArguments = 100

// vfatPath is a path as mtools take it, which know patterns.
func vfatPath(name string) string { return "::" + strings.ReplaceAll(name, "[", `\[`) }

// changes returns what has to go from l and what to come for it to be has, of
// directories as a whole only themselves.
func (l Listing) changes(has Listing) (gone, added []string) {
	other := func(a Item, in Listing, name string) bool {
		b, there := in[name]
		return !there || a.Mode.Type() != b.Mode.Type()
	}
	below := func(names []string, name string) bool {
		return slices.ContainsFunc(names, func(dir string) bool { return within(dir, name) })
	}
	for _, name := range slices.Sorted(maps.Keys(l)) {
		if other(l[name], has, name) && !below(gone, name) {
			gone = append(gone, name)
		}
	}
	var whole []string
	for _, name := range slices.Sorted(maps.Keys(has)) {
		switch item := has[name]; {
		case below(whole, name):
		case other(item, l, name):
			added, whole = append(added, name), append(whole, name)
		case item.Digest != l[name].Digest:
			gone, added = append(gone, name), append(added, name)
		}
	}
	return gone, added
}

// vfatForbidden cannot be in a name on vfat.
const vfatForbidden = `"*/:<>?\|`

// maxVfatName is how long a name on vfat may be, in units of UTF-16, and
// maxVfatFile a file, in bytes.
const (
	maxVfatName = 255
	maxVfatFile = 1<<32 - 1
)

// checkVfat says what of a tree, of which added is new with all that is below,
// vfat has no place for.
func (l Listing) checkVfat(added []string) error {
	folded := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(l)) {
		if twin, ok := folded[strings.ToLower(name)]; ok {
			return fmt.Errorf("%s and %s are the same name on vfat", twin, name)
		}
		folded[strings.ToLower(name)] = name
		if !slices.ContainsFunc(added, func(dir string) bool { return within(dir, name) }) {
			continue
		}
		item, base := l[name], path.Base(name)
		units := utf16.Encode([]rune(base))
		switch {
		case !item.Mode.IsRegular() && !item.Mode.IsDir():
			return fmt.Errorf("%s is %s, and vfat holds files and directories only", name, item.Mode)
		case strings.ContainsAny(base, vfatForbidden) || strings.ContainsFunc(base, func(r rune) bool { return r < ' ' || r > 0xffff || r == 0xfffd }) ||
			strings.TrimRight(base, ". ") != base || len(units) > maxVfatName:
			return fmt.Errorf("%q cannot be a name on vfat", name)
		case item.Size > maxVfatFile:
			return fmt.Errorf("%s has %d bytes, and files on vfat at most %d", name, item.Size, int64(maxVfatFile))
		}
	}
	return nil
}
