package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// MountOthers mounts, below the root, the other Linux file systems of the
// same disk that the root's own fstab and mount units mount there, so that
// the tree is what the node will see. It returns the directories of which
// that cannot be: where a file system is not on this disk, nothing can be
// written below its directory either, unless the tree is only looked at.
func (m *Mounted) MountOthers(ctx context.Context, layout *Layout) ([]Hidden, error) {
	lines, err := mountLines(m.Root)
	if err != nil {
		return nil, err
	}
	name := named(lines, m.partition)
	defer m.release()
	var hidden []Hidden
	for _, l := range inOrder(lines) {
		h, err := m.follow(ctx, layout, name, l, hidden)
		if err != nil {
			return nil, fmt.Errorf("the image's %s: %s on %s: %w", l.from, l.dir, l.source, err)
		}
		if h != nil {
			hidden = append(hidden, *h)
		}
	}
	more, err := m.showBoot(ctx, layout, name, lines)
	return append(hidden, more...), err
}

// bootRoles are what boot loaders read, whether or not something mounts it,
// and the directories where that is looked for, best first. systemd mounts it
// there at boot where fstab does not.
var bootRoles = []struct {
	role role
	dirs []string
}{
	{roleESP, []string{"/efi", "/boot/efi"}},
	{roleBoot, []string{"/boot"}},
}

// showBoot mounts the partitions that boot loaders read and no line mentions.
func (m *Mounted) showBoot(ctx context.Context, layout *Layout, name string, lines []mountLine) (hidden []Hidden, err error) {
	for _, b := range bootRoles {
		i := slices.IndexFunc(layout.Partitions, func(p Partition) bool { return p.role == b.role })
		if i < 0 {
			continue
		}
		p := layout.Partitions[i]
		if slices.ContainsFunc(lines, func(l mountLine) bool {
			return (!l.manual() || bootDirectory[l.dir]) &&
				slices.ContainsFunc(layout.find(l.source, name), func(found Partition) bool { return found.Number == p.Number })
		}) {
			continue
		}
		l := mountLine{source: string(b.role), dir: m.free(b.dirs, lines), from: "by its type"}
		if l.dir == "" {
			l.dir = b.dirs[0]
			hidden = append(hidden, *l.hide("is not empty, and boot loaders read partition %d, the %s, which has no other place", p.Number, b.role))
			continue
		}
		h, err := m.followPartition(ctx, l, p)
		if err != nil {
			return hidden, fmt.Errorf("%s on partition %d, the %s: %w", l.dir, p.Number, b.role, err)
		}
		if h != nil {
			hidden = append(hidden, *h)
		}
	}
	return hidden, nil
}

// free returns the first of dirs that no line mounts and that is empty, or
// else the first that is not there, or "".
func (m *Mounted) free(dirs []string, lines []mountLine) string {
	missing := ""
	for _, dir := range dirs {
		if slices.ContainsFunc(lines, func(l mountLine) bool { return l.dir == dir }) {
			continue
		}
		host, err := securejoin.SecureJoin(m.Root, dir)
		if err != nil {
			continue
		}
		entries, err := os.ReadDir(host)
		switch {
		case errors.Is(err, fs.ErrNotExist) && missing == "":
			missing = dir
		case err == nil && len(entries) == 0:
			return dir
		}
	}
	return missing
}

// follow does what a line says, or says why not.
func (m *Mounted) follow(ctx context.Context, layout *Layout, name string, l mountLine, hidden []Hidden) (*Hidden, error) {
	if l.dir == "/" || l.volatile() {
		return nil, nil
	}
	for _, h := range hidden {
		if within(h.Dir, l.dir) {
			return l.hide("is below %s, which is hidden", h.Dir), nil
		}
		if l.bind() && within(h.Dir, path.Clean(l.source)) {
			return l.hide("shows %s, and %s is hidden", l.source, h.Dir), m.cover(l)
		}
	}
	found := layout.find(l.source, name)
	switch {
	case l.manual() && (len(found) != 1 || !bootDirectory[l.dir]):
		return l.hide("may be mounted over with %s, by hand or by what needs it", l.source), nil
	case l.bind():
		return m.orHide(l, m.bind(l))
	case virtual[l.kind]:
		return l.hide("gets a %s mounted over it at boot", l.kind), nil
	case len(found) == 0:
		return l.hide("is on %s, which is not on this disk%s", l.source, layout.hint(l.source)), m.cover(l)
	case len(found) > 1:
		return l.hide("is on %s, which %d partitions of this disk are", l.source, len(found)), m.cover(l)
	}
	return m.followPartition(ctx, l, found[0])
}

// followPartition mounts partition p as a line says, or says why not.
func (m *Mounted) followPartition(ctx context.Context, l mountLine, p Partition) (*Hidden, error) {
	switch {
	case p.FileSystem.Root():
		return m.orHide(l, m.mountPartition(ctx, l, p))
	case p.FileSystem.Type == "vfat":
		err := m.mountVfat(ctx, l, p)
		if errors.Is(err, unix.ENODEV) {
			return l.hide("is on partition %d: %s", p.Number, err), m.cover(l)
		}
		return m.orHide(l, err)
	default:
		return l.hide("is on partition %d, whose file system cannot be mounted here: %s", p.Number, p.FileSystem), m.cover(l)
	}
}

// bootDirectory are directories that firmware and boot loaders read, whether
// the node mounts something there or not.
var bootDirectory = map[string]bool{"/boot": true, "/efi": true, "/boot/efi": true, "/boot/firmware": true}

// orHide lets a line fail that the node boots without, or whose directory
// systemd makes at boot and nobody may make now.
func (m *Mounted) orHide(l mountLine, err error) (*Hidden, error) {
	if err == nil {
		return nil, nil
	}
	if !l.has("nofail") && (!errors.Is(err, fs.ErrNotExist) || m.writable()) {
		return nil, err
	}
	return l.hide("is to show %s, which fails: %s", l.source, err), nil
}

// hint says what to write in place of a device's name that means a partition
// of this disk on some machines.
func (l *Layout) hint(source string) string {
	_, number, ok := deviceName(source)
	if !ok {
		return ""
	}
	for _, p := range l.Partitions {
		if p.Number == number && p.FileSystem.UUID != "" {
			return fmt.Sprintf(" as far as its name tells; for partition %d of this disk write UUID=%s", number, p.FileSystem.UUID)
		}
	}
	return ""
}

func (m *Mounted) mountPartition(ctx context.Context, l mountLine, p Partition) error {
	dir, err := m.mountPoint(l.dir)
	if err != nil {
		return err
	}
	return m.add(ctx, p, dir, l.subvolume())
}

// mountPoint is where a directory of the tree is on this host; it is made if
// it is not there, as systemd does.
func (m *Mounted) mountPoint(inside string) (string, error) {
	dir, err := securejoin.SecureJoin(m.Root, inside)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && m.writable():
		return dir, os.MkdirAll(dir, 0o755)
	case err != nil:
		return "", err
	case !info.IsDir():
		return "", errors.New("is no directory")
	}
	return dir, nil
}

// writable says whether the tree may be changed.
func (m *Mounted) writable() bool { return !m.access.ReadOnly && !m.access.Image }

// bind shows a directory or file of the tree in a second place.
func (m *Mounted) bind(l mountLine) error {
	from, err := securejoin.SecureJoin(m.Root, l.source)
	if err != nil {
		return err
	}
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	to, err := securejoin.SecureJoin(m.Root, l.dir)
	if err == nil && info.IsDir() {
		to, err = m.mountPoint(l.dir)
	}
	if err != nil {
		return err
	}
	flags := uintptr(unix.MS_BIND)
	if l.has("rbind") {
		flags |= unix.MS_REC
	}
	if err := unix.Mount(from, to, "", flags, ""); err != nil {
		return fmt.Errorf("bind mount: %w", err)
	}
	m.mounts = append(m.mounts, to)
	return nil
}

// cover keeps others from writing below a directory that another disk hides.
func (m *Mounted) cover(l mountLine) error {
	if !m.writable() {
		return nil
	}
	dir, err := m.mountPoint(l.dir)
	if err != nil {
		return nil //nolint:nilerr // nothing can be mounted there, at boot neither
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("protecting it: %w", err)
	}
	m.mounts, m.covers = append(m.mounts, dir), append(m.covers, dir)
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("protecting it: %w", err)
	}
	return nil
}

// Uncover takes away the protection of the directories that other disks hide,
// for what copies the tree.
func (m *Mounted) Uncover() error {
	for len(m.covers) > 0 {
		last := m.covers[len(m.covers)-1]
		if err := unmountDir(last); err != nil {
			return fmt.Errorf("unmounting %s: %w", last, err)
		}
		m.covers = m.covers[:len(m.covers)-1]
		m.mounts = slices.DeleteFunc(m.mounts, func(dir string) bool { return dir == last })
	}
	return nil
}

// HiddenIn returns the directories of the tree at root, which is a file
// system of its own, that something else is mounted over at boot.
func HiddenIn(root string) ([]Hidden, error) {
	lines, err := mountLines(root)
	if err != nil {
		return nil, err
	}
	var hidden []Hidden
	for _, l := range inOrder(lines) {
		switch {
		case l.dir == "/" || l.volatile() || bootDirectory[l.dir]:
		case l.manual():
			hidden = append(hidden, *l.hide("may be mounted over with %s, by hand or by what needs it", l.source))
		case l.bind():
			hidden = append(hidden, *l.hide("shows %s at boot", path.Clean(l.source)))
		case virtual[l.kind]:
			hidden = append(hidden, *l.hide("gets a %s mounted over it at boot", l.kind))
		default:
			hidden = append(hidden, *l.hide("is on %s, which is not in this tree", l.source))
		}
	}
	return hidden, nil
}
