package disk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"sort"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
)

// fstabEntry is one line of an fstab.
type fstabEntry struct {
	source, dir, kind string
	options           []string
}

// fstabEscapes are how fstab writes what would separate fields.
var fstabEscapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// parseFstab reads the lines that mount something somewhere, parents first.
func parseFstab(r io.Reader) []fstabEntry {
	var out []fstabEntry
	for lines := bufio.NewScanner(r); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || !strings.HasPrefix(fields[1], "/") {
			continue
		}
		e := fstabEntry{source: fstabEscapes.Replace(fields[0]), dir: path.Clean(fstabEscapes.Replace(fields[1])), kind: fields[2]}
		if len(fields) > 3 {
			e.options = strings.Split(fields[3], ",")
		}
		out = append(out, e)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].dir < out[j].dir })
	return out
}

// deviceName is a partition by the name of its device, whose beginning
// depends on the machine: /dev/sda2, /dev/vda2, /dev/nvme0n1p2.
var deviceName = regexp.MustCompile(`^/dev/(?:(?:sd|vd|xvd|hd)[a-z]|(?:nvme\d+n\d+|mmcblk\d+)p)(\d+)$`)

// deviceLinks are directories of links to devices, by what they name.
var deviceLinks = map[string]string{
	"/dev/disk/by-uuid/": "UUID=", "/dev/disk/by-label/": "LABEL=",
	"/dev/disk/by-partuuid/": "PARTUUID=", "/dev/disk/by-partlabel/": "PARTLABEL=",
}

// sourcePartition finds the partition that an fstab source names.
func (l *Layout) sourcePartition(source string) (Partition, bool) {
	if m := deviceName.FindStringSubmatch(source); m != nil {
		source = m[1]
	}
	for dir, tag := range deviceLinks {
		if rest, ok := strings.CutPrefix(source, dir); ok {
			source = tag + rest
		}
	}
	matches, err := matcher(source)
	if err != nil {
		return Partition{}, false
	}
	for _, p := range l.Partitions {
		if matches(p) {
			return p, true
		}
	}
	return Partition{}, false
}

// MountOthers mounts, below the root, the other Linux file systems of the
// same disk that the root's own fstab mounts there, so that the tree is what
// the node will see. It returns the lines of fstab whose file systems are not
// on this disk: what is below those directories is not in the tree.
func (m *Mounted) MountOthers(ctx context.Context, layout *Layout) (elsewhere []string, err error) {
	f, err := openIn(m.Root, "/etc/fstab")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, e := range parseFstab(f) {
		p, known := layout.sourcePartition(e.source)
		switch {
		case e.dir == "/" || e.ignored():
			continue
		case !known:
			elsewhere = append(elsewhere, fmt.Sprintf("%s on %s", e.dir, e.source))
			continue
		case !p.FileSystem.Root():
			continue // boot loaders' and swap
		}
		if err := m.mountEntry(ctx, e, p); err != nil {
			return nil, fmt.Errorf("the image's fstab: %s on %s: %w", e.dir, e.source, err)
		}
	}
	return elsewhere, nil
}

// virtual are file systems without a disk, and what fstab lists but mounts at
// no directory.
var virtual = map[string]bool{
	"tmpfs": true, "proc": true, "sysfs": true, "devpts": true, "devtmpfs": true, "cgroup2": true,
	"debugfs": true, "tracefs": true, "securityfs": true, "efivarfs": true, "hugetlbfs": true,
	"mqueue": true, "swap": true, "overlay": true, "vfat": true, "iso9660": true, "udf": true, "auto": true,
}

// ignored says whether a line has nothing to do with the node's own files.
func (e fstabEntry) ignored() bool {
	if virtual[e.kind] {
		return true
	}
	for _, o := range e.options {
		if o == "noauto" || o == "bind" || o == "rbind" {
			return true
		}
	}
	return false
}

func (m *Mounted) mountEntry(ctx context.Context, e fstabEntry, p Partition) error {
	dir, err := securejoin.SecureJoin(m.Root, e.dir)
	if err != nil {
		return err
	}
	if info, err := os.Lstat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return errors.New("is no directory")
	}
	var options []string
	for _, o := range e.options {
		if strings.HasPrefix(o, "subvol=") || strings.HasPrefix(o, "subvolid=") {
			options = append(options, o)
		}
	}
	return m.add(ctx, p, dir, strings.Join(options, ","))
}

// openIn opens a file of the tree at root.
func openIn(root, name string) (*os.File, error) {
	host, err := securejoin.SecureJoin(root, name)
	if err != nil {
		return nil, err
	}
	return os.Open(host)
}
