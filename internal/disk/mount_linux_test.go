package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// needLoop skips a test where loop devices or mounts are not allowed.
func needLoop(t testing.TB) {
	t.Helper()
	needRoot(t)
	image := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(image, make([]byte, 1<<20), 0o600))
	l, err := attachLoop(t.Context(), image, Extent{0, 1 << 20}, true)
	if err != nil {
		t.Skipf("no loop devices here: %s", err)
	}
	require.NoError(t, l.close())
	require.NoError(t, l.gone(image))
}

// noLeaks fails the test if it leaves a mount below top or a loop device of a
// file below it.
func noLeaks(t testing.TB, top string) {
	t.Helper()
	t.Cleanup(func() {
		mounts, err := mountsBelow(top)
		require.NoError(t, err)
		assert.Empty(t, mounts, "left mounted")
		backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
		require.NoError(t, err)
		for _, b := range backing {
			if content, err := os.ReadFile(b); err == nil {
				assert.NotContains(t, string(content), top, "left attached: %s", b)
			}
		}
	})
}

// makers make file systems with a tree in them, on a device or file.
var makers = map[string]Tool{
	"ext4": Mke2fs, "xfs": {"mkfs.xfs", "xfsprogs"}, "btrfs": {"mkfs.btrfs", "btrfs-progs"},
}

// format makes a file system of kind on partition p of the image and puts
// files into it, which commands of a shell make in the current directory.
func format(t testing.TB, image string, p Partition, kind, label, commands string) {
	t.Helper()
	needTools(t, makers[kind])
	mkfs, err := makers[kind].Find()
	require.NoError(t, err)
	l, err := attachLoop(t.Context(), image, p.Extent, false)
	require.NoError(t, err)
	args := map[string][]string{
		"ext4": {"-q", "-F", "-t", "ext4", "-L", label}, "xfs": {"-q", "-f", "-L", label}, "btrfs": {"-q", "-f", "-L", label},
	}[kind]
	out, err := exec.Command(mkfs, append(args, l.path)...).CombinedOutput()
	require.NoError(t, err, string(out))
	dir := t.TempDir()
	require.NoError(t, unix.Mount(l.path, dir, kind, 0, ""))
	sh := exec.Command("/bin/sh", "-ec", commands)
	sh.Dir = dir
	out, err = sh.CombinedOutput()
	require.NoError(t, unmountDir(dir))
	require.NoError(t, err, string(out))
	require.NoError(t, l.close())
	require.NoError(t, l.gone(image))
}

const plainRoot = "mkdir -p etc usr var/lib home; echo hello > etc/greeting"

func newImage(t testing.TB, dir string, size int64) string {
	t.Helper()
	image := filepath.Join(dir, "disk.raw")
	f, err := os.Create(image)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	require.NoError(t, f.Close())
	return image
}

func partitioned(t testing.TB, image, script string) *Layout {
	t.Helper()
	needTools(t, Sfdisk)
	_, err := run(t.Context(), Sfdisk, script, nil, "-q", image)
	require.NoError(t, err)
	layout, err := ReadLayout(image)
	require.NoError(t, err)
	return layout
}

func sum(t testing.TB, path string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return sha256.Sum256(b)
}

const largeEnough = 320 * mib // xfs wants 300

// tables are the partition tables that a file system is tried on: all of them
// with ext4, one with the others, which behave alike and need large disks.
var tables = map[string][]string{"ext4": {"", "gpt", "dos"}, "xfs": {"gpt"}, "btrfs": {""}}

func TestMountEveryFileSystem(t *testing.T) {
	needLoop(t)
	for kind, tables := range tables {
		for _, table := range tables {
			t.Run(kind+" "+table, func(t *testing.T) {
				top := t.TempDir()
				noLeaks(t, top)
				image := newImage(t, top, largeEnough)
				layout := whole(largeEnough)
				if table != "" {
					layout = partitioned(t, image, "label: "+table+"\nsize=2MiB\ntype=L\n")
				}
				format(t, image, layout.Partitions[len(layout.Partitions)-1], kind, "root", plainRoot)
				layout, err := ReadLayout(image)
				require.NoError(t, err)
				p, err := layout.Choose("")
				require.NoError(t, err)
				require.Equal(t, kind, p.FileSystem.Type)
				require.Equal(t, "root", p.FileSystem.Label)
				dir := filepath.Join(top, "root")
				require.NoError(t, os.Mkdir(dir, 0o755))

				before := sum(t, image)
				m, err := Mount(t.Context(), image, p, dir, Access{Image: true})
				require.NoError(t, err)
				assert.FileExists(t, filepath.Join(dir, "etc/greeting"))
				require.ErrorIs(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o600), unix.EROFS)
				require.NoError(t, m.Unmount())
				assert.Equal(t, before, sum(t, image), "looking changed the image")

				m, err = Mount(t.Context(), image, p, dir, Access{})
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "new"), []byte("written"), 0o600))
				require.NoError(t, m.Unmount())
				require.NoError(t, m.Unmount(), "a second time")
				assert.NoFileExists(t, filepath.Join(dir, "new"))

				m, err = Mount(t.Context(), image, p, dir, Access{Image: true})
				require.NoError(t, err)
				got, err := os.ReadFile(filepath.Join(dir, "new"))
				require.NoError(t, err)
				assert.Equal(t, "written", string(got))
				require.NoError(t, m.Unmount())
			})
		}
	}
}

// What is in a journal belongs to the evidence: an image that cannot be read
// without replaying it is refused, and a copy of it shows what was written.
func TestMountDirtyFileSystem(t *testing.T) {
	needLoop(t)
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			top := t.TempDir()
			noLeaks(t, top)
			image := newImage(t, top, largeEnough)
			format(t, image, whole(largeEnough).Partitions[0], kind, "", plainRoot)
			layout, err := ReadLayout(image)
			require.NoError(t, err)
			dir, dirty := filepath.Join(top, "root"), filepath.Join(top, "dirty.raw")
			require.NoError(t, os.Mkdir(dir, 0o755))
			m, err := Mount(t.Context(), image, layout.Partitions[0], dir, Access{})
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "etc/late"), []byte("late"), 0o600))
			f, err := os.Open(filepath.Join(dir, "etc/late"))
			require.NoError(t, err)
			require.NoError(t, f.Sync())
			require.NoError(t, f.Close())
			out, err := exec.Command("cp", "--sparse=always", image, dirty).CombinedOutput() // as a snapshot of a running machine
			require.NoError(t, err, string(out))
			require.NoError(t, m.Unmount())

			before := sum(t, dirty)
			_, err = Mount(t.Context(), dirty, layout.Partitions[0], dir, Access{Image: true})
			require.ErrorIs(t, err, ErrJournal)
			assert.Equal(t, before, sum(t, dirty))

			m, err = Mount(t.Context(), dirty, layout.Partitions[0], dir, Access{ReadOnly: true})
			require.NoError(t, err)
			assert.FileExists(t, filepath.Join(dir, "etc/late"))
			require.ErrorIs(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o600), unix.EROFS)
			require.NoError(t, m.Unmount())
		})
	}
}

func TestGrow(t *testing.T) {
	needLoop(t)
	needTools(t, Sfdisk, Resize2fs, XFSGrowfs, Btrfs)
	for kind, tables := range tables {
		for _, table := range tables {
			t.Run(kind+" "+table, func(t *testing.T) {
				top := t.TempDir()
				noLeaks(t, top)
				image := newImage(t, top, largeEnough)
				layout := whole(largeEnough)
				if table != "" {
					layout = partitioned(t, image, "label: "+table+"\nsize=2MiB\ntype=L\n")
					boot, err := os.OpenFile(image, os.O_WRONLY, 0)
					require.NoError(t, err)
					_, err = boot.WriteAt([]byte("boot loader"), 0)
					require.NoError(t, err)
					require.NoError(t, boot.Close())
				}
				format(t, image, layout.Partitions[len(layout.Partitions)-1], kind, "", plainRoot)
				layout, err := ReadLayout(image)
				require.NoError(t, err)
				p, err := layout.Choose("")
				require.NoError(t, err)
				_, err = Grow(t.Context(), image, layout, p, largeEnough-mib)
				require.ErrorContains(t, err, "disk_size: 319MiB is smaller than the base's disk, 320MiB")
				grown, err := Grow(t.Context(), image, layout, p, 2*largeEnough)
				require.NoError(t, err)
				assert.Greater(t, grown.Size, p.Size+largeEnough-mib)

				dir := filepath.Join(top, "root")
				require.NoError(t, os.Mkdir(dir, 0o755))
				m, err := Mount(t.Context(), image, grown, dir, Access{})
				require.NoError(t, err)
				require.NoError(t, m.GrowFileSystem(t.Context(), grown))
				var fs unix.Statfs_t
				require.NoError(t, unix.Statfs(dir, &fs))
				assert.Greater(t, int64(fs.Blocks)*fs.Bsize, int64(largeEnough*3/2))
				require.NoError(t, m.Unmount())
				if table != "" {
					b, err := os.ReadFile(image)
					require.NoError(t, err)
					assert.True(t, bytes.HasPrefix(b, []byte("boot loader")), "the boot loader is gone")
				}
			})
		}
	}
}

func TestGrowRefusesPartitionInTheMiddle(t *testing.T) {
	image := diskWith(t, withGPT(t, 512, gptPart(2048, 20479, "0root"), gptPart(20480, 131038, "1swap")),
		with(t, "ext4", "root", 2048*512))
	layout, err := ReadLayout(image)
	require.NoError(t, err)
	before := sum(t, image)
	_, err = Grow(t.Context(), image, layout, layout.Partitions[0], 2*testDisk)
	require.ErrorContains(t, err, "disk_size: partition 1 with the root file system cannot grow, because partition 2 comes after it")
	assert.Equal(t, before, sum(t, image))
}

func TestMountFailureLeavesNothing(t *testing.T) {
	needLoop(t)
	top := t.TempDir()
	noLeaks(t, top)
	image := diskWith(t, with(t, "ext4", "x", 0)) // a superblock and nothing else
	dir := filepath.Join(top, "root")
	require.NoError(t, os.Mkdir(dir, 0o755))
	layout, err := ReadLayout(image)
	require.NoError(t, err)
	_, err = Mount(t.Context(), image, layout.Partitions[0], dir, Access{})
	require.ErrorContains(t, err, "mounting partition 0 (ext4")
	noLeaks(t, filepath.Dir(image))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Mount(ctx, image, layout.Partitions[0], dir, Access{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestUnmountBusy(t *testing.T) {
	if testing.Short() {
		t.Skip("waits")
	}
	needLoop(t)
	top := t.TempDir()
	noLeaks(t, top)
	image := newImage(t, top, 64*mib)
	format(t, image, whole(64 * mib).Partitions[0], "ext4", "", plainRoot)
	layout, err := ReadLayout(image)
	require.NoError(t, err)
	dir := filepath.Join(top, "root")
	require.NoError(t, os.Mkdir(dir, 0o755))
	m, err := Mount(t.Context(), image, layout.Partitions[0], dir, Access{})
	require.NoError(t, err)
	held, err := os.Open(filepath.Join(dir, "etc/greeting"))
	require.NoError(t, err)
	require.ErrorIs(t, m.Unmount(), unix.EBUSY)
	require.NoError(t, held.Close())
	require.NoError(t, m.Unmount())
}

// flushes is how often a block device was told to flush its cache.
func flushes(t testing.TB, device string) string {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "stat"))
	require.NoError(t, err)
	const at = 15 // Documentation/block/stat.rst of the kernel
	fields := strings.Fields(string(stat))
	if len(fields) <= at {
		t.Skip("this kernel does not count flushes")
	}
	return fields[at]
}

// A working copy is not written to the host's disk whenever its file system
// commits: it is synced once, when it is the image.
func TestMountDoesNotFlush(t *testing.T) {
	needLoop(t)
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			top := t.TempDir()
			noLeaks(t, top)
			image, dir := filepath.Join(top, "x.raw"), filepath.Join(top, "root")
			require.NoError(t, os.Mkdir(dir, 0o755))
			require.NoError(t, os.WriteFile(image, nil, 0o600))
			require.NoError(t, os.Truncate(image, 256*mib))
			whole := Partition{Extent: Extent{0, 256 * mib}, FileSystem: FileSystem{Type: kind}}
			format(t, image, whole, kind, "root", "mkdir etc")
			m, err := Mount(t.Context(), image, whole, dir, Access{})
			require.NoError(t, err)
			device, err := exec.Command("findmnt", "-no", "SOURCE", dir).Output()
			require.NoError(t, err)
			path, _, _ := strings.Cut(strings.TrimSpace(string(device)), "[")
			before := flushes(t, path)
			f, err := os.Create(filepath.Join(dir, "etc/synced"))
			require.NoError(t, err)
			_, err = f.WriteString("content")
			require.NoError(t, errors.Join(err, f.Sync(), unix.Syncfs(int(f.Fd())), f.Close()))
			assert.Equal(t, before, flushes(t, path))
			require.NoError(t, m.Unmount())
		})
	}
}
