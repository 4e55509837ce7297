package disk

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// inGuest are the tests that run in another kernel, and guestPrograms what they
// start.
var (
	inGuest       = []string{"TestBootPartition", "TestBootPartitionByType", "TestVfatOptions"}
	guestPrograms = []string{
		"mkfs.vfat", "fsck.vfat", "mcopy", "mdeltree", "mdel", "mdir", "mtype", "mattrib", "sfdisk", "mke2fs", "e2fsck", "debugfs",
	}
)

// guestTree makes the tree $1 of the system in $2, with the program $3 at /tests
// and the others, and what they are linked with.
const guestTree = `
	mkdir "$1"
	tar --zstd -xpf "$2/rootfs.tar.zst" -C "$1" --numeric-owner
	cp "$3" "$1/tests"
	tree=$1
	shift 3
	PATH=$PATH:/usr/sbin:/sbin
	for name do
		cp -L "$(command -v "$name")" "$tree/usr/local/bin/$name"
		for library in $(ldd "$(command -v "$name")" | grep -o '/[^ ]*'); do
			[ -e "$tree$library" ] || cp -L "$library" "$tree$library"
		done
	done`

// guestInit is the first program of the machine.
const guestInit = `#!/bin/sh
mount -t proc proc /proc
mount -t tmpfs -o size=2g tmpfs /tmp
for module in loop vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8; do modprobe $module; done
cd /tmp
PATH=/usr/local/bin:$PATH TMPDIR=/tmp LC_ALL=C.UTF-8 /tests -test.v -test.run '^(TESTS)$'
echo "SAYS exit status $?"
mount -o remount,ro /
echo o > /proc/sysrq-trigger
# A program could not be loaded from a disk that goes away, and the end of this one is a panic.
while :; do :; done
`

// TestAccKernelWithVfat runs what is tested of vfat in a virtual machine, whose
// kernel mounts vfat by itself; that of this host may not.
func TestAccKernelWithVfat(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("acceptance test: set PACKER_ACC=1 to run it in a virtual machine")
	}
	from, dir := packertest.Base(t), t.TempDir()
	program, err := os.Executable()
	require.NoError(t, err)
	tree, disk, console := filepath.Join(dir, "tree"), filepath.Join(dir, "disk.raw"), filepath.Join(dir, "console")
	out, err := exec.Command("sh", append([]string{"-ec", guestTree, "sh", tree, from, program}, guestPrograms...)...).CombinedOutput()
	require.NoError(t, err, string(out))
	init := strings.ReplaceAll(guestInit, "TESTS", strings.Join(inGuest, "|"))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "guest"), []byte(init), 0o755))
	require.NoError(t, MakeExt4(t.Context(), tree, disk, 2<<30, nil, dir))

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	out, err = exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-m", "3072", "-smp", "2",
		"-display", "none", "-no-reboot", "-net", "none", "-serial", "file:"+console,
		"-kernel", filepath.Join(from, "vmlinuz"), "-initrd", filepath.Join(from, "initrd.img"),
		"-append", "root=/dev/vda rw loglevel=1 console=ttyS0 init=/guest",
		"-drive", "if=virtio,format=raw,file="+disk).CombinedOutput()
	said, readErr := os.ReadFile(console)
	require.NoError(t, readErr)
	require.NoError(t, err, "%s\n%s", out, said)
	t.Log(string(said))
	var results strings.Builder
	for line := range strings.Lines(string(said)) {
		if strings.Contains(line, "--- ") || strings.HasPrefix(line, "SAYS") {
			results.WriteString(line)
		}
	}
	for _, name := range inGuest {
		assert.Contains(t, results.String(), "--- PASS: "+name+" ")
	}
	assert.NotContains(t, results.String(), "--- SKIP")
	assert.Contains(t, results.String(), "SAYS exit status 0")
}
