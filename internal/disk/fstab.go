package disk

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mountLine is what one line of an fstab or one mount unit says.
type mountLine struct {
	source, dir, kind string
	options           []string
	// from is the file and line that says so.
	from string
	// idle units are there, but nothing that is known starts them.
	idle bool
}

const fstabPath = "/etc/fstab"

// fstabEscapes are how fstab writes what would separate fields.
var fstabEscapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// parseFstab reads the lines that mount something somewhere, in their order.
func parseFstab(r io.Reader) ([]mountLine, error) {
	var out []mountLine
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || !strings.HasPrefix(fields[1], "/") || fields[2] == "swap" {
			continue
		}
		l := mountLine{
			source: fstabEscapes.Replace(fields[0]), dir: path.Clean(fstabEscapes.Replace(fields[1])), kind: fields[2],
			from: fmt.Sprintf("%s:%d", fstabPath, n),
		}
		if len(fields) > 3 {
			l.options = strings.Split(fields[3], ",")
		}
		out = append(out, l)
	}
	return out, lines.Err()
}

// has says whether the line has one of the options.
func (l mountLine) has(options ...string) bool {
	return slices.ContainsFunc(l.options, func(o string) bool { return slices.Contains(options, o) })
}

// bind says whether the line shows a directory of the tree in another place.
func (l mountLine) bind() bool { return l.has("bind", "rbind") }

// manual says whether nothing mounts the line at boot or on first use.
func (l mountLine) manual() bool {
	return l.idle || l.has("noauto") && !l.has("x-systemd.automount", "comment=systemd.automount")
}

// subvolume is the option that names a subvolume, or "".
func (l mountLine) subvolume() string {
	for _, o := range l.options {
		if strings.HasPrefix(o, "subvol=") || strings.HasPrefix(o, "subvolid=") {
			return o
		}
	}
	return ""
}

// inOrder sorts lines as they can be mounted: parents first, and a directory
// that is shown elsewhere after what it lies on.
func inOrder(lines []mountLine) []mountLine {
	rest := slices.Clone(lines)
	slices.SortStableFunc(rest, func(a, b mountLine) int { return strings.Compare(a.dir, b.dir) })
	out := make([]mountLine, 0, len(rest))
	for len(rest) > 0 {
		ready := slices.IndexFunc(rest, func(l mountLine) bool {
			return !slices.ContainsFunc(rest, func(before mountLine) bool {
				return before.dir != l.dir && (within(before.dir, l.dir) || l.bind() && within(before.dir, path.Clean(l.source)))
			})
		})
		ready = max(ready, 0) // lines that wait for each other: any
		out = append(out, rest[ready])
		rest = slices.Delete(rest, ready, ready+1)
	}
	return out
}

// deviceNames are the names of disks and their partitions, which depend on the
// machine and on what else is plugged in.
var deviceNames = []*regexp.Regexp{
	regexp.MustCompile(`^(/dev/(?:sd|vd|xvd|hd)[a-z]+)(\d*)$`),
	regexp.MustCompile(`^(/dev/(?:nvme\d+n\d+|mmcblk\d+))(?:p(\d+))?$`),
	regexp.MustCompile(`^(/dev/disk/by-(?:id|path)/.+?)(?:-part(\d+))?$`),
}

// deviceName splits a name into that of the disk and the partition's number, 0
// for the whole disk.
func deviceName(source string) (name string, number int, ok bool) {
	for _, pattern := range deviceNames {
		if m := pattern.FindStringSubmatch(source); m != nil {
			n, err := strconv.Atoi(m[2])
			return m[1], n, err == nil || m[2] == ""
		}
	}
	return "", 0, false
}

// deviceLinks are directories of links to devices, by what they name.
var deviceLinks = map[string]string{
	"/dev/disk/by-uuid/": "UUID=", "/dev/disk/by-label/": "LABEL=",
	"/dev/disk/by-partuuid/": "PARTUUID=", "/dev/disk/by-partlabel/": "PARTLABEL=",
}

// named is the disk's name where the line for the root directory, which is on
// partition root, gives it one. A name that other lines use is this disk only
// if it is the root's.
func named(lines []mountLine, root Partition) string {
	for _, l := range lines {
		if name, number, ok := deviceName(l.source); l.dir == "/" && ok && number == root.Number {
			return name
		}
	}
	return ""
}

// find returns the partitions that a source names, on a disk called name.
func (l *Layout) find(source, name string) []Partition {
	if l == nil {
		return nil
	}
	matches := func(Partition) bool { return false }
	if on, number, ok := deviceName(source); ok {
		if on == name {
			matches = func(p Partition) bool { return p.Number == number }
		}
	} else {
		for dir, tag := range deviceLinks {
			if rest, ok := strings.CutPrefix(source, dir); ok {
				source = tag + unescapeUdev(rest)
			}
		}
		if strings.Contains(source, "=") {
			if m, err := matcher(source); err == nil {
				matches = m
			}
		}
	}
	var found []Partition
	for _, p := range l.Partitions {
		if matches(p) {
			found = append(found, p)
		}
	}
	return found
}

var udevEscape = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// unescapeUdev undoes how the names of links to devices write blanks and such.
func unescapeUdev(name string) string {
	return udevEscape.ReplaceAllStringFunc(name, func(code string) string {
		n, err := strconv.ParseUint(code[2:], 16, 8)
		if err != nil {
			return code
		}
		return string([]byte{byte(n)})
	})
}

// virtual are file systems without a disk.
var virtual = map[string]bool{
	"tmpfs": true, "ramfs": true, "overlay": true, "proc": true, "sysfs": true, "devpts": true, "devtmpfs": true,
	"cgroup": true, "cgroup2": true, "debugfs": true, "tracefs": true, "securityfs": true, "efivarfs": true,
	"configfs": true, "fusectl": true, "hugetlbfs": true, "mqueue": true, "pstore": true, "bpf": true, "binfmt_misc": true,
}

// emptied are directories that hold nothing of an image at boot in any case.
var emptied = []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/run", "/var/lock"}

// volatile says whether nothing of an image is lost where the line mounts.
func (l mountLine) volatile() bool {
	return virtual[l.kind] && slices.ContainsFunc(emptied, func(dir string) bool { return within(dir, l.dir) })
}
