package image

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// firmware is where Debian has UEFI for virtual machines.
const firmware = "/usr/share/OVMF"

// bootDisk makes the tree $1 with the kernel of $2 the disk $3, as cloud
// images are: the root first in number, then what BIOS and UEFI start from.
const bootDisk = `
	mkdir esp
	mkdir -p "$1/boot/efi" esp/EFI/BOOT esp/loader/entries
	cp /usr/lib/systemd/boot/efi/systemd-bootx64.efi esp/EFI/BOOT/BOOTX64.EFI
	cp "$2/vmlinuz" "$2/initrd.img" esp/
	printf 'timeout 0\n' > esp/loader/loader.conf
	printf 'title Debian\nlinux /vmlinuz\ninitrd /initrd.img\noptions root=LABEL=ROOT rw console=ttyS0 init=/say\n' > esp/loader/entries/debian.conf
	printf 'LABEL=ROOT / ext4 defaults 0 1\nLABEL=UEFI /boot/efi vfat umask=0077 0 2\n' > "$1/etc/fstab"
	truncate -s 2G "$3"
	printf 'label: gpt\n14: size=3MiB, type=21686148-6449-6E6F-744E-656564454649\n15: size=124MiB, type=U\n1: type=L\n' | sfdisk -q "$3"
`

// say is the first program of the machine: it mounts what fstab says, as
// systemd would, tells what it sees, and ends the machine.
const say = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe vfat; modprobe nls_cp437; modprobe nls_ascii; modprobe nls_iso8859-1; modprobe nls_utf8
mount -a
echo "SAYS command line: $(cat /proc/cmdline)"
echo "SAYS boot: $(findmnt -no FSTYPE,OPTIONS /boot/efi)"
echo "SAYS file: $(cat /boot/efi/a\ long\ name.txt)"
echo "SAYS root: $(cat /etc/made)"
echo "SAYS modes: $(stat -c %a /boot/efi/loader/entries/debian.conf)"
sync
umount /boot/efi
mount -o remount,ro /
echo o > /proc/sysrq-trigger
sleep 60
`

// TestAccBoot changes the kernel command line on an EFI system partition,
// which this host need not be able to mount, and has firmware, a boot loader
// and the kernel of a virtual machine read it.
func TestAccBoot(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("acceptance test: set PACKER_ACC=1 to run it")
	}
	from := packertest.Base(t)
	b := newBench(t)
	b.needLoop()
	tree, base := filepath.Join(b.dir, "tree"), filepath.Join(b.dir, "base.raw")
	b.sh(`mkdir "$1"; tar --zstd -xpf "$2/rootfs.tar.zst" -C "$1" --numeric-owner`, tree, from)
	b.sh(`cd "$4"; `+bootDisk, tree, from, base, b.dir)
	require.NoError(t, os.WriteFile(filepath.Join(tree, "say"), []byte(say), 0o755))
	table, mnt := tableOf(b, base), filepath.Join(b.dir, "mnt")
	require.NoError(t, os.Mkdir(mnt, 0o755))
	for _, part := range []struct {
		number            int
		maker, dir, label string
	}{{15, layoutMakers["vfat"], filepath.Join(b.dir, "esp"), "UEFI"}, {1, rootMakers["ext4"], tree, ""}} {
		loop := table.attach(b, base, part.number)
		b.sh(part.maker, loop, part.dir, mnt, part.label)
		b.sh(`losetup -d "$1"`, loop)
	}
	b.sh(`rm -rf "$1"`, tree)

	_, err := b.run(t.Context(), b.options(base, map[string]any{"format": "qcow2"}),
		provision(func(_ context.Context, c packersdk.Communicator, _ map[string]any) error {
			own, ok := c.(*communicator)
			require.True(t, ok)
			got := runIn(t, own, `sed -i 's/^options .*/& written=by-the-build/' /boot/efi/loader/entries/debian.conf
				echo in a file > '/boot/efi/a long name.txt'; echo too > /etc/made`, nil)
			require.Zero(t, got.status, got.errOut)
			return nil
		}))
	require.NoError(t, err)

	console := filepath.Join(b.dir, "console")
	b.sh(`cp "$1/OVMF_VARS_4M.fd" "$2"`, firmware, filepath.Join(b.dir, "vars"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-m", "1024", "-smp", "2",
		"-display", "none", "-no-reboot", "-net", "none", "-serial", "file:"+console,
		"-drive", "if=pflash,format=raw,readonly=on,file="+firmware+"/OVMF_CODE_4M.fd",
		"-drive", "if=pflash,format=raw,file="+filepath.Join(b.dir, "vars"),
		"-drive", "if=virtio,format=qcow2,file="+filepath.Join(b.out, "node.qcow2")).CombinedOutput()
	said, readErr := os.ReadFile(console)
	require.NoError(t, readErr)
	require.NoError(t, err, "%s\n%s", out, said)
	for _, want := range []string{
		"written=by-the-build", "SAYS boot: vfat", "SAYS file: in a file", "SAYS root: too", "SAYS modes: 700",
	} {
		assert.Contains(t, string(said), want)
	}
}
