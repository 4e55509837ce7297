package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// place is a partition of a layout that holds something.
type place struct {
	number int
	// kind is a file system, or "root" for that of the root directory, or
	// "swap" or "code" for what no build changes.
	kind string
	// dir is where fstab has it, option more that fstab says.
	dir, option string
}

// diskLayout is how a disk is divided, as sfdisk reads it.
type diskLayout struct {
	table  string
	places []place
	// device is what fstab calls the disk where it names no file systems.
	device string
}

const (
	espType  = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	bootType = "BC13C2FF-59E6-4262-A352-B275FD6F7172"
	rootType = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
	biosType = "21686148-6449-6E6F-744E-656564454649"
	varType  = "4D21B016-B534-45C2-A9FB-5C16E091FD2D"
)

// The sizes leave room for the smallest xfs and btrfs.
var diskLayouts = map[string]diskLayout{
	"no table":  {"", []place{{0, "root", "/", ""}}, ""},
	"DOS, root": {"label: dos\n1: size=360MiB, type=83, bootable\n", []place{{1, "root", "/", ""}}, "/dev/vda"},
	"DOS, boot and root": {
		"label: dos\n1: size=40MiB, type=83, bootable\n2: size=360MiB, type=83\n",
		[]place{{1, "ext4", "/boot", ""}, {2, "root", "/", ""}},
		"/dev/sda",
	},
	"DOS, primary root beside logical partitions": {
		"label: dos\n1: size=360MiB, type=83, bootable\n2: type=5\n5: size=32MiB, type=82\n6: size=32MiB, type=83\n",
		[]place{{1, "root", "/", ""}, {5, "swap", "", ""}, {6, "ext4", "/srv", ""}},
		"",
	},
	"DOS, logical root": {
		"label: dos\n1: size=40MiB, type=83, bootable\n2: type=f\n5: size=32MiB, type=82\n6: size=360MiB, type=83\n",
		[]place{{1, "ext4", "/boot", ""}, {5, "swap", "", ""}, {6, "root", "/", ""}},
		"/dev/sda",
	},
	"Raspberry Pi": {
		"label: dos\n1: start=8192, size=64MiB, type=c\n2: size=360MiB, type=83\n",
		[]place{{1, "vfat", "/boot/firmware", ""}, {2, "root", "/", ""}},
		"",
	},
	"GPT, root": {"label: gpt\n1: size=360MiB\n", []place{{1, "root", "/", ""}}, ""},
	"GPT, ESP and root": {
		"label: gpt\n1: size=40MiB, type=" + espType + "\n2: size=360MiB\n",
		[]place{{1, "vfat", "/boot/efi", "umask=0077"}, {2, "root", "/", ""}},
		"",
	},
	"GPT, ESP, boot and root": {
		"label: gpt\n1: size=40MiB, type=" + espType + "\n2: size=40MiB, type=" + bootType + "\n3: size=360MiB\n",
		[]place{{1, "vfat", "/boot/efi", "umask=0077,shortname=winnt"}, {2, "ext4", "/boot", ""}, {3, "root", "/", ""}},
		"",
	},
	"Debian cloud": {
		"label: gpt\n14: start=2048, size=3MiB, type=" + biosType + "\n15: size=40MiB, type=" + espType + "\n1: size=360MiB, type=" + rootType + "\n",
		[]place{{14, "code", "", ""}, {15, "vfat", "/boot/efi", "umask=0077"}, {1, "root", "/", ""}},
		"",
	},
	"GPT, ESP that fstab does not list": {
		"label: gpt\n1: size=40MiB, type=" + espType + "\n2: size=360MiB, type=" + rootType + "\n",
		[]place{{1, "vfat", "/efi", "unlisted"}, {2, "root", "/", ""}},
		"",
	},
	"GPT, var": {
		"label: gpt\n1: size=360MiB\n2: size=40MiB, type=" + varType + "\n",
		[]place{{1, "root", "/", ""}, {2, "ext4", "/var", ""}},
		"",
	},
	"GPT, K3s's data": {
		"label: gpt\n1: size=360MiB\n2: size=40MiB\n",
		[]place{{1, "root", "/", ""}, {2, "ext4", "/var/lib/rancher", "nofail"}},
		"",
	},
	"GPT, swap, home, root last": {
		"label: gpt\n1: size=32MiB, type=swap\n2: size=40MiB, type=home\n3: size=360MiB, type=" + rootType + "\n",
		[]place{{1, "swap", "", ""}, {2, "ext4", "/home", ""}, {3, "root", "/", ""}},
		"",
	},
}

// rootMakers make the root's file system on the device $1, with label and UUID
// as they come, and put the tree $2 into it; $3 is an empty directory.
var rootMakers = map[string]string{
	"ext4": `mkfs.ext4 -q -F -L ROOT "$1"; mount "$1" "$3"; cp -a "$2/." "$3"; umount "$3"`,
	"xfs":  `mkfs.xfs -q -f -L ROOT "$1"; mount -o nouuid "$1" "$3"; cp -a "$2/." "$3"; umount "$3"`,
	"btrfs": `mkfs.btrfs -q -f -L ROOT "$1"; mount "$1" "$3"
		for s in @ @home @var; do btrfs -q subvolume create "$3/$s" >/dev/null; done
		cp -a "$2/." "$3/@"
		for s in home var; do find "$3/@/$s" -mindepth 1 -maxdepth 1 -exec mv {} "$3/@$s/" \;; done
		umount "$3"`,
}

// makers make the other file systems in the same way.
var layoutMakers = map[string]string{
	"ext4": `mkfs.ext4 -q -F -L "$4" "$1"; mount "$1" "$3"; cp -a "$2/." "$3"; umount "$3"`,
	"vfat": `mkfs.vfat -n "$4" "$1" >/dev/null; MTOOLS_SKIP_CHECK=1 mcopy -i "$1" -s -m "$2"/* ::/`,
	"swap": `mkswap "$1" >/dev/null`,
	"code": `dd if=/dev/urandom of="$1" bs=64k count=1 2>/dev/null`,
}

// readers check the file system in the file $1 and copy what is in it to $2,
// by nothing of the builder's.
var readers = map[string]string{
	"ext4": `e2fsck -fn "$1" >/dev/null 2>&1 || { e2fsck -fn "$1"; exit 1; }
		debugfs -R "rdump / $2" "$1" >/dev/null 2>&1; rm -rf "$2/lost+found"`,
	"xfs": `xfs_repair -n "$1" >/dev/null 2>&1 || { xfs_repair -n "$1"; exit 1; }
		mkdir "$1.mounted"; mount -o loop,ro,norecovery,nouuid "$1" "$1.mounted"; cp -a "$1.mounted/." "$2"; umount "$1.mounted"`,
	"btrfs": `btrfs check --readonly "$1" >/dev/null 2>&1 || { btrfs check --readonly "$1"; exit 1; }
		btrfs restore -s -S -m "$1" "$2" >/dev/null`,
	"vfat": `fsck.vfat -n "$1" >/dev/null || { fsck.vfat -n "$1"; exit 1; }
		LC_ALL=C.UTF-8 MTOOLS_SKIP_CHECK=1 mcopy -i "$1" -s -m -n ::/ "$2"`,
}

// TestAccLayouts builds from every layout, with every file system for the root
// and both formats, and opens what was made with other programs: every file is
// there, file systems are clean, and what nobody asked to change is as before.
func TestAccLayouts(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("acceptance test: set PACKER_ACC=1 to run it")
	}
	for name, l := range diskLayouts {
		for kind := range rootMakers {
			for _, format := range []string{"raw", "qcow2"} {
				t.Run(fmt.Sprintf("%s, %s, %s", name, kind, format), func(t *testing.T) { l.build(t, kind, format) })
			}
		}
	}
}

// build makes a base, an image of it, and compares.
func (l diskLayout) build(t *testing.T, kind, format string) {
	b := newBench(t)
	b.needLoop()
	base := filepath.Join(b.dir, "base.raw")
	stage := l.stage(t, kind)
	l.make(b, base, stage, kind)
	before := tableOf(b, base)
	code := outside(b, base, before)
	fixed := map[int][32]byte{}
	for _, p := range l.places {
		if p.kind == "swap" || p.kind == "code" {
			fixed[p.number] = sum(t, before.cut(b, base, p.number))
		}
	}
	source := base
	if format == "qcow2" {
		source = filepath.Join(b.dir, "base.qcow2")
		b.sh(`qemu-img convert -f raw -O qcow2 "$1" "$2"`, base, source)
	}
	_, err := b.run(t.Context(), b.options(source, map[string]any{"format": format}),
		provision(func(_ context.Context, c packersdk.Communicator, _ map[string]any) error {
			own, ok := c.(*communicator)
			require.True(t, ok)
			for _, dir := range l.dirs(kind) {
				require.NoError(t, c.Upload(filepath.Join(dir, "uploaded to here.txt"), strings.NewReader(dir), nil))
				require.NoError(t, os.WriteFile(filepath.Join(stage, dir, "uploaded to here.txt"), []byte(dir), 0o644))
				script := fmt.Sprintf("cd '%s' && echo changed > a-file && rm -r removed && mkdir -p made && echo by-shell > made/file", dir)
				got := runIn(t, own, script, nil)
				require.Zero(t, got.status, got.errOut)
				b.sh(strings.Replace(script, "'"+dir+"'", `"$1`+dir+`"`, 1), stage)
			}
			return nil
		}))
	require.NoError(t, err)
	image := filepath.Join(b.out, "node."+format)
	if format == "qcow2" {
		raw := filepath.Join(b.dir, "made.raw")
		b.sh(`qemu-img convert -f qcow2 -O raw "$1" "$2"`, image, raw)
		image = raw
	}
	after := tableOf(b, image)
	assert.Equal(t, before, after)
	assert.Equal(t, code, outside(b, image, after), "what is outside of partitions")
	for _, p := range l.places {
		part := after.cut(b, image, p.number)
		if want, ok := fixed[p.number]; ok {
			assert.Equal(t, want, sum(t, part), "partition %d", p.number)
			continue
		}
		l.compare(b, p, kind, part, stage)
	}
}

// dirs are all directories that a file system is mounted at.
func (l diskLayout) dirs(kind string) []string {
	var out []string
	for _, p := range l.places {
		if p.dir != "" {
			out = append(out, p.dir)
		}
	}
	if kind == "btrfs" {
		for _, dir := range []string{"/home", "/var"} {
			if !l.has(dir) {
				out = append(out, dir)
			}
		}
	}
	return out
}

func (l diskLayout) has(dir string) bool {
	for _, p := range l.places {
		if p.dir == dir {
			return true
		}
	}
	return false
}

// stage makes the tree that a base is made of.
func (l diskLayout) stage(t *testing.T, kind string) string {
	t.Helper()
	stage := busybox(t)
	for _, dir := range append(l.dirs(kind), "/home", "/var") {
		at := filepath.Join(stage, dir)
		for _, sub := range []string{"removed/below", "kept"} {
			require.NoError(t, os.MkdirAll(filepath.Join(at, sub), 0o755))
		}
		for _, name := range []string{"a-file", "removed/below/x", "kept/A long name with blanks.conf", "kept/other.txt"} {
			require.NoError(t, os.WriteFile(filepath.Join(at, name), []byte(dir+" "+name+"\n"), 0o644))
		}
	}
	return stage
}

// make writes a base disk with the tree.
func (l diskLayout) make(b *bench, base, stage, kind string) {
	t := b.t
	t.Helper()
	require.NoError(t, os.WriteFile(base, nil, 0o600))
	require.NoError(t, os.Truncate(base, 520<<20))
	if l.table != "" {
		b.sh(`printf "%s" "$2" | sfdisk -q "$1"; printf 'boot loader' | dd of="$1" conv=notrunc 2>/dev/null
			dd if=/dev/urandom of="$1" bs=512 seek=64 count=100 conv=notrunc 2>/dev/null`, base, l.table)
	}
	table := tableOf(b, base)
	work, mnt := filepath.Join(b.dir, "stage"), filepath.Join(b.dir, "mnt")
	require.NoError(t, os.Mkdir(mnt, 0o755))
	b.sh(`cp -a "$1" "$2"`, stage, work)
	// The innermost first, each taken out of the tree that the others get.
	var root place
	for _, p := range byDepth(l.places) {
		if p.kind == "root" {
			root = p
			continue
		}
		loop := table.attach(b, base, p.number)
		b.sh(layoutMakers[p.kind], loop, filepath.Join(work, p.dir), mnt, fmt.Sprintf("PART%d", p.number))
		b.sh(`losetup -d "$1"`, loop)
		if p.dir != "" {
			b.sh(`find "$1" -mindepth 1 -delete`, filepath.Join(work, p.dir))
		}
	}
	fstab := l.fstab(kind)
	for _, dir := range []string{stage, work} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "etc/fstab"), []byte(fstab), 0o644))
	}
	loop := table.attach(b, base, root.number)
	b.sh(rootMakers[kind], loop, work, mnt)
	b.sh(`losetup -d "$1"; rm -rf "$2"`, loop, work)
}

// byDepth sorts inner directories before outer ones.
func byDepth(places []place) []place {
	var out []place
	for depth := 9; depth >= 0; depth-- {
		for _, p := range places {
			if strings.Count(p.dir, "/") == depth {
				out = append(out, p)
			}
		}
	}
	return out
}

// fstab is what the base has in its /etc/fstab.
func (l diskLayout) fstab(kind string) string {
	name := func(p place, label string) string {
		if l.device != "" {
			return fmt.Sprintf("%s%d", l.device, p.number)
		}
		return "LABEL=" + label
	}
	var lines []string
	for _, p := range l.places {
		option := p.option
		if option == "" {
			option = "defaults"
		}
		switch {
		case p.kind == "root" && kind == "btrfs":
			for _, at := range [][2]string{{"/", "@"}, {"/home", "@home"}, {"/var", "@var"}} {
				if at[0] == "/" || !l.has(at[0]) {
					lines = append(lines, fmt.Sprintf("%s %s btrfs subvol=%s 0 0", name(p, "ROOT"), at[0], at[1]))
				}
			}
		case p.kind == "root":
			lines = append(lines, fmt.Sprintf("%s / %s %s 0 1", name(p, "ROOT"), kind, option))
		case p.dir != "" && option != "unlisted":
			lines = append(lines, fmt.Sprintf("%s %s %s %s 0 2", name(p, fmt.Sprintf("PART%d", p.number)), p.dir, p.kind, option))
		case p.kind == "swap":
			lines = append(lines, fmt.Sprintf("%s none swap sw 0 0", name(p, "SWAP")))
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// compare opens a partition and compares it with its part of the tree.
func (l diskLayout) compare(b *bench, p place, kind, part, stage string) {
	b.t.Helper()
	fileSystem := p.kind
	if fileSystem == "root" {
		fileSystem = kind
	}
	out := filepath.Join(b.t.TempDir(), "out")
	require.NoError(b.t, os.Mkdir(out, 0o755))
	b.sh(readers[fileSystem], part, out)
	if p.kind == "root" && kind == "btrfs" {
		// Put together again what fstab puts together.
		b.sh(`for s in home var; do if [ -d "$1/@$s" ]; then cp -a "$1/@$s/." "$1/@/$s/"; fi; done`, out)
		out = filepath.Join(out, "@")
	}
	modes := fileSystem != "vfat"
	want := contents(b.t, filepath.Join(stage, p.dir), modes)
	for _, other := range l.places {
		if other.dir == "" || other.dir == p.dir || !strings.HasPrefix(other.dir, strings.TrimSuffix(p.dir, "/")+"/") {
			continue
		}
		inner := strings.TrimPrefix(other.dir, strings.TrimSuffix(p.dir, "/"))
		maps.DeleteFunc(want, func(name, _ string) bool { return strings.HasPrefix(name, inner+"/") })
		for dir := inner; dir != "/"; dir = filepath.Dir(dir) {
			require.Contains(b.t, want, dir)
		}
	}
	got := contents(b.t, out, modes)
	for name, is := range want {
		assert.Equal(b.t, is, got[name], "partition %d, %s in %s", p.number, name, p.dir)
		delete(got, name)
	}
	assert.Empty(b.t, got, "partition %d, more in %s", p.number, p.dir)
}

// contents is what is in a tree, by path.
func contents(t testing.TB, root string, modes bool) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(host string, _ fs.DirEntry, err error) error {
		if err != nil || host == root {
			return err
		}
		info, err := os.Lstat(host)
		if err != nil {
			return err
		}
		text := info.Mode().Type().String()
		if modes && info.Mode()&fs.ModeSymlink == 0 {
			text += info.Mode().Perm().String() // debugfs copies no more of it
		}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(host)
			if err != nil {
				return err
			}
			text += " " + target
		case info.Mode().IsRegular():
			text += fmt.Sprintf(" %x", sum(t, host))
		}
		out[strings.TrimPrefix(host, root)] = text
		return nil
	}))
	return out
}

func sum(t testing.TB, path string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return sha256.Sum256(b)
}

// sh runs a script with arguments.
func (b *bench) sh(script string, args ...string) string {
	b.t.Helper()
	cmd := exec.Command("sh", append([]string{"-ec", script, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	require.NoError(b.t, err, "%s %q: %s", script, args, out)
	return strings.TrimSpace(string(out))
}

// table is what sfdisk says of a disk.
type table struct {
	Label, ID  string
	Partitions []struct {
		Node        string
		Start, Size int64
		Type, UUID  string
		Name, Attrs string
		Bootable    bool
	}
}

func tableOf(b *bench, image string) table {
	b.t.Helper()
	var out struct{ PartitionTable table }
	if b.sh(`sfdisk -d "$1" >/dev/null 2>&1 && echo yes || true`, image) == "yes" {
		require.NoError(b.t, json.Unmarshal([]byte(b.sh(`sfdisk -J "$1"`, image)), &out))
	}
	for i, p := range out.PartitionTable.Partitions {
		out.PartitionTable.Partitions[i].Node = strings.TrimPrefix(p.Node, image)
	}
	return out.PartitionTable
}

// extent is where a partition is, in sectors; 0 is the whole disk.
func (d table) extent(b *bench, image string, number int) (start, size int64) {
	b.t.Helper()
	if number == 0 {
		info, err := os.Stat(image)
		require.NoError(b.t, err)
		return 0, info.Size() / 512
	}
	for _, p := range d.Partitions {
		if p.Node == fmt.Sprint(number) {
			return p.Start, p.Size
		}
	}
	require.Fail(b.t, "no such partition", "%d in %v", number, d)
	return 0, 0
}

func (d table) attach(b *bench, image string, number int) string {
	b.t.Helper()
	start, size := d.extent(b, image, number)
	return b.sh(`losetup -f --show -o "$(($2 * 512))" --sizelimit "$(($3 * 512))" "$1"`, image, fmt.Sprint(start), fmt.Sprint(size))
}

// cut copies a partition to a file of its own.
func (d table) cut(b *bench, image string, number int) string {
	b.t.Helper()
	start, size := d.extent(b, image, number)
	part := filepath.Join(b.t.TempDir(), "part")
	b.sh(`dd if="$1" of="$2" bs=1M iflag=skip_bytes,count_bytes skip="$(($3 * 512))" count="$(($4 * 512))" conv=sparse 2>/dev/null; truncate -s "$(($4 * 512))" "$2"`,
		image, part, fmt.Sprint(start), fmt.Sprint(size))
	return part
}

// outside is the digest of all that lies outside of partitions: boot code, the
// table, the links between logical partitions.
func outside(b *bench, image string, d table) [32]byte {
	b.t.Helper()
	if len(d.Partitions) == 0 {
		return [32]byte{}
	}
	content, err := os.ReadFile(image)
	require.NoError(b.t, err)
	for _, p := range d.Partitions {
		if p.Type != "5" && p.Type != "f" {
			clear(content[p.Start*512 : (p.Start+p.Size)*512])
		}
	}
	return sha256.Sum256(content)
}
