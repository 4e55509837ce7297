package image

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// The disks that machines are started from. What is in a partition is as in
// diskLayouts; that of the kind "code" has GRUB for BIOS in it.
var bootLayouts = map[string]diskLayout{
	"DOS": {"label: dos\n1: type=83, bootable\n", []place{{1, "root", "/", ""}}, ""},
	"GPT": {
		"label: gpt\n1: size=124MiB, type=" + espType + "\n2: type=" + rootType + "\n",
		[]place{{1, "vfat", "/boot/efi", "umask=0077"}, {2, "root", "/", ""}},
		"",
	},
	// As Debian's cloud images are.
	"Debian cloud": {
		"label: gpt\n14: start=2048, size=3MiB, type=" + biosType + "\n15: size=124MiB, type=" + espType + "\n1: type=" + rootType + "\n",
		[]place{{14, "code", "", ""}, {15, "vfat", "/boot/efi", "umask=0077"}, {1, "root", "/", ""}},
		"",
	},
}

// firmware is where Debian has UEFI for virtual machines.
const firmware = "/usr/share/OVMF"

// grubModules are what GRUB needs to find its configuration and the kernel.
const grubModules = "part_gpt part_msdos fat ext2 xfs btrfs search search_label normal configfile linux"

// Boot loaders by the scripts that put them into the tree $1 and the directory
// $2, which becomes the EFI system partition. The kernel's arguments are $3, and
// $4 is what the boot loader sees before the path of a file of the root.
const (
	grub = `
		mkdir -p "$1/boot/grub" "$2/EFI/BOOT" "$2/EFI/debian"
		printf 'timeout=0\nmenuentry Debian {\n\tsearch --no-floppy --label ROOT --set=root\n\tlinux %s/boot/vmlinuz %s\n\tinitrd %s/boot/initrd.img\n}\n' \
			"$4" "$3" "$4" >"$1/boot/grub/grub.cfg"
		printf 'search --no-floppy --label ROOT --set=root\nset prefix=($root)%s/boot/grub\nconfigfile $prefix/grub.cfg\n' "$4" >"$2/EFI/debian/grub.cfg"
		grub-mkimage -O x86_64-efi -p /EFI/debian -o "$2/EFI/BOOT/BOOTX64.EFI" $5`
	systemdBoot = `
		mkdir -p "$2/EFI/BOOT" "$2/loader/entries"
		cp /usr/lib/systemd/boot/efi/systemd-bootx64.efi "$2/EFI/BOOT/BOOTX64.EFI"
		cp "$1/boot/vmlinuz" "$1/boot/initrd.img" "$2"
		printf 'timeout 0\n' >"$2/loader/loader.conf"
		printf 'title Debian\nlinux /vmlinuz\ninitrd /initrd.img\noptions %s\n' "$3" >"$2/loader/entries/debian.conf"`
)

// grubBIOS writes GRUB's two parts for BIOS to the disk $1, as grub-bios-setup
// does: the first sector, which loads the other part from sector $2. $3 is where
// its configuration is.
const grubBIOS = `
	grub-mkimage -O i386-pc -p "$3" -o "$1.core" biosdisk $4
	dd if=/usr/lib/grub/i386-pc/boot.img of="$1" bs=440 count=1 conv=notrunc 2>/dev/null
	number() { printf "\\$(printf %03o $(($1 & 255)))\\$(printf %03o $(($1 >> 8 & 255)))\\0\\0\\0\\0\\0\\0"; }
	number "$2" | dd of="$1" bs=1 seek=92 conv=notrunc 2>/dev/null
	number "$(($2 + 1))" | dd of="$1.core" bs=1 seek=500 conv=notrunc 2>/dev/null
	dd if="$1.core" of="$1" bs=512 seek="$2" conv=notrunc 2>/dev/null
	rm "$1.core"`

// say is the first program of the machine: it mounts what fstab says, as
// systemd would, tells what it sees, and ends the machine.
const say = `#!/bin/sh
mount -t proc proc /proc
modprobe vfat; modprobe nls_cp437; modprobe nls_ascii; modprobe nls_iso8859-1; modprobe nls_utf8
mount -a
echo "SAYS command line: $(cat /proc/cmdline)"
echo SAYS root: $(findmnt -no FSTYPE /) $(cat /etc/made /home/made /var/lib/made)
echo "SAYS boot: $(findmnt -no FSTYPE /boot/efi) $(stat -c %a /boot/efi/EFI/BOOT) $(cat /boot/efi/a\ long\ name.txt)"
sync
umount /boot/efi
mount -o remount,ro /
echo o > /proc/sysrq-trigger
# A program could not be loaded from a disk that goes away, and the end of this one is a panic.
while :; do :; done
`

// startedDisk is a disk of which machines are made that start from it.
type startedDisk struct {
	layout, kind, format string
	loader               string
	// firmware are those that each start a machine.
	firmware []string
}

// A change of the kernel command line, where boot loaders have it, and of what
// is on every partition: firmware, a boot loader and the kernel of virtual
// machines read it. This host need not be able to mount an EFI system partition.
func TestAccBoot(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("acceptance test: set PACKER_ACC=1 to run it")
	}
	from := packertest.Base(t)
	for _, d := range []startedDisk{
		{"DOS", "ext4", "raw", grub, []string{"BIOS"}},
		{"DOS", "btrfs", "qcow2", grub, []string{"BIOS"}},
		{"GPT", "xfs", "qcow2", grub, []string{"UEFI"}},
		{"GPT", "btrfs", "raw", grub, []string{"UEFI"}},
		{"Debian cloud", "ext4", "qcow2", grub, []string{"BIOS", "UEFI"}},
		{"Debian cloud", "xfs", "raw", systemdBoot, []string{"UEFI"}},
	} {
		name := "GRUB"
		if d.loader == systemdBoot {
			name = "systemd-boot"
		}
		// It is the name of a directory, too, and QEMU splits its options at commas.
		t.Run(strings.Join([]string{d.layout, d.kind, d.format, name}, " "), func(t *testing.T) { d.start(t, from) })
	}
}

// start makes a base that starts, an image of it, and starts that.
func (d startedDisk) start(t *testing.T, from string) {
	b := newBench(t)
	b.needLoop()
	l, base := bootLayouts[d.layout], filepath.Join(b.dir, "base.raw")
	d.base(b, l, from, base)
	before := tableOf(b, base)
	code := outside(b, base, before)

	configuration := "/boot/grub/grub.cfg"
	if d.loader == systemdBoot {
		configuration = "/boot/efi/loader/entries/debian.conf"
	}
	_, err := b.run(t.Context(), b.options(base, map[string]any{"format": d.format}),
		provision(func(_ context.Context, c packersdk.Communicator, _ map[string]any) error {
			own, ok := c.(*communicator)
			require.True(t, ok)
			got := runIn(t, own, `set -e
				sed -i 's/ init=.*/& written=by-the-build/' `+configuration+`
				echo one >/etc/made; echo two >/home/made; echo three >/var/lib/made
				if [ -d /boot/efi ]; then echo four >'/boot/efi/a long name.txt'; fi`, nil)
			require.Zero(t, got.status, got.errOut)
			return nil
		}))
	require.NoError(t, err)
	image := filepath.Join(b.out, "node."+d.format)
	raw := image
	if d.format == "qcow2" {
		raw = filepath.Join(b.dir, "made.raw")
		b.sh(`qemu-img convert -f qcow2 -O raw "$1" "$2"`, image, raw)
	}
	after := tableOf(b, raw)
	assert.Equal(t, before, after)
	assert.Equal(t, code, outside(b, raw, after), "what is outside of partitions")
	for _, p := range l.places {
		if p.kind == "code" {
			assert.Equal(t, sum(t, before.cut(b, base, p.number)), sum(t, after.cut(b, raw, p.number)))
		}
	}
	for _, by := range d.firmware {
		said := b.started(image, d.format, by)
		assert.Contains(t, said, "written=by-the-build")
		assert.Contains(t, said, "SAYS root: "+d.kind+" one two three")
		if l.has("/boot/efi") {
			assert.Contains(t, said, "SAYS boot: vfat 700 four")
		}
	}
}

// base makes the disk from the system in the directory from.
func (d startedDisk) base(b *bench, l diskLayout, from, base string) {
	t := b.t
	t.Helper()
	tree, esp, mnt := filepath.Join(b.dir, "tree"), filepath.Join(b.dir, "esp"), filepath.Join(b.dir, "mnt")
	b.sh(`mkdir "$1" "$3" "$4"; tar --zstd -xpf "$2/rootfs.tar.zst" -C "$1" --numeric-owner
		rm -f "$1"/boot/*; cp "$2/vmlinuz" "$2/initrd.img" "$1/boot"`, tree, from, esp, mnt)
	arguments, top := "root=LABEL=ROOT rw console=ttyS0", ""
	if d.kind == "btrfs" {
		arguments, top = arguments+" rootflags=subvol=@", "/@"
	}
	b.sh(d.loader, tree, esp, arguments+" init=/say", top, grubModules)
	if l.has("/boot/efi") {
		require.NoError(t, os.MkdirAll(filepath.Join(tree, "boot/efi"), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(tree, "say"), []byte(say), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "etc/fstab"), []byte(l.fstab(d.kind)), 0o644))

	require.NoError(t, os.WriteFile(base, nil, 0o600))
	require.NoError(t, os.Truncate(base, 2<<30))
	b.sh(`printf "%s" "$2" | sfdisk -q "$1"`, base, l.table)
	table := tableOf(b, base)
	for _, p := range l.places {
		if p.kind == "code" {
			continue
		}
		loop := table.attach(b, base, p.number)
		if p.kind == "root" {
			b.sh(rootMakers[d.kind], loop, tree, mnt)
			b.startsByBIOS(base, table, l, fmt.Sprintf("(hd0,%s%d)%s/boot/grub", map[string]string{"dos": "msdos", "gpt": "gpt"}[table.Label], p.number, top))
		} else {
			b.sh(layoutMakers[p.kind], loop, esp, mnt, fmt.Sprintf("PART%d", p.number))
		}
		b.sh(`losetup -d "$1"`, loop)
	}
	b.sh(`rm -rf "$1"`, tree)
}

// startsByBIOS puts GRUB to where BIOS finds it: before the first partition of a
// DOS table, or in the partition for it of a GPT, if there is one.
func (b *bench) startsByBIOS(base string, table table, l diskLayout, configuration string) {
	b.t.Helper()
	sector := int64(0)
	if table.Label == "dos" {
		sector = 1
	}
	for _, p := range l.places {
		if p.kind == "code" {
			sector, _ = table.extent(b, base, p.number)
		}
	}
	if sector > 0 {
		b.sh(grubBIOS, base, fmt.Sprint(sector), configuration, grubModules)
	}
}

// started starts a machine from an image and returns what it says on its
// console until it ends itself.
func (b *bench) started(image, format, by string) string {
	b.t.Helper()
	console, vars := filepath.Join(b.dir, "console-"+by), filepath.Join(b.dir, "vars")
	args := []string{
		"-machine", "q35,accel=tcg", "-cpu", "max", "-m", "1024", "-smp", "2", "-display", "none", "-no-reboot", "-net", "none",
		"-serial", "file:" + console, "-snapshot", "-drive", "if=virtio,format=" + format + ",file=" + image,
	}
	if by == "UEFI" {
		b.sh(`cp "$1/OVMF_VARS_4M.fd" "$2"`, firmware, vars)
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file="+firmware+"/OVMF_CODE_4M.fd", "-drive", "if=pflash,format=raw,file="+vars)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Minute)
	defer cancel()
	began := time.Now()
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", args...).CombinedOutput()
	said, readErr := os.ReadFile(console)
	require.NoError(b.t, readErr)
	require.NoError(b.t, err, "%s\n%s", out, said)
	b.t.Logf("%s started it in %s", by, time.Since(began).Round(time.Second))
	return strings.ReplaceAll(string(said), "\r", "")
}
