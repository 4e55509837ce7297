package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMountOthersOfTheSameDisk(t *testing.T) {
	needLoop(t)
	top := t.TempDir()
	noLeaks(t, top)
	image := newImage(t, top, 256*mib)
	layout := partitioned(t, image, "label: gpt\nsize=64MiB, name=boot\nsize=64MiB, name=root\nname=var\n")
	format(t, image, layout.Partitions[0], "ext4", "BOOT", "echo kernel > vmlinuz")
	format(t, image, layout.Partitions[1], "ext4", "ROOT", plainRoot+`; mkdir boot srv; cat > etc/fstab <<-E
		# a comment
		LABEL=ROOT      /         ext4  errors=remount-ro 0 1
		PARTLABEL=boot  /boot     ext4  ro      0 2
		/dev/sdz3       /var      ext4  defaults 0 2
		UUID=0000-0000  /srv      ext4  defaults 0 2
		nas:/export     /var/nfs  nfs   defaults 0 0
		tmpfs           /tmp      tmpfs defaults 0 0
		LABEL=BOOT      /never    ext4  noauto  0 0
		UUID=1234       none      swap  sw      0 0
	E`)
	format(t, image, layout.Partitions[2], "ext4", "VAR", "mkdir lib; echo var > lib/here")
	layout, err := ReadLayout(image)
	require.NoError(t, err)
	p, err := layout.Choose("LABEL=ROOT")
	require.NoError(t, err)
	dir := filepath.Join(top, "root")
	require.NoError(t, os.Mkdir(dir, 0o755))
	m, err := Mount(t.Context(), image, p, dir, Access{})
	require.NoError(t, err)
	elsewhere, err := m.MountOthers(t.Context(), layout)
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(dir, "var/lib/here"))
	assert.FileExists(t, filepath.Join(dir, "boot/vmlinuz"))
	assert.Equal(t, []string{"/srv on UUID=0000-0000", "/var/nfs on nas:/export"}, elsewhere)
	require.NoError(t, m.Unmount())
	assert.NoDirExists(t, filepath.Join(dir, "var"))
}

func TestMountOthersWithoutDirectory(t *testing.T) {
	needLoop(t)
	top := t.TempDir()
	noLeaks(t, top)
	image := newImage(t, top, 128*mib)
	layout := partitioned(t, image, "label: gpt\nsize=64MiB\ntype=L\n")
	format(t, image, layout.Partitions[0], "ext4", "ROOT", "mkdir etc; echo LABEL=DATA /data ext4 defaults 0 0 > etc/fstab")
	format(t, image, layout.Partitions[1], "ext4", "DATA", "true")
	layout, err := ReadLayout(image)
	require.NoError(t, err)
	dir := filepath.Join(top, "root")
	require.NoError(t, os.Mkdir(dir, 0o755))
	m, err := Mount(t.Context(), image, layout.Partitions[0], dir, Access{})
	require.NoError(t, err)
	_, err = m.MountOthers(t.Context(), layout)
	require.ErrorContains(t, err, "the image's fstab: /data on LABEL=DATA")
	require.NoError(t, m.Unmount())
}

func TestMountRootSubvolume(t *testing.T) {
	needLoop(t)
	needTools(t, makers["btrfs"])
	top := t.TempDir()
	noLeaks(t, top)
	image := newImage(t, top, largeEnough)
	format(t, image, whole(largeEnough).Partitions[0], "btrfs", "fedora",
		`btrfs -q subvolume create @ >/dev/null; btrfs -q subvolume create @home >/dev/null; mkdir -p @/etc @/home; touch @home/user
		echo "LABEL=fedora /home btrfs subvol=@home 0 0" > @/etc/fstab`)
	layout, err := ReadLayout(image)
	require.NoError(t, err)
	dir := filepath.Join(top, "root")
	require.NoError(t, os.Mkdir(dir, 0o755))
	m, err := Mount(t.Context(), image, layout.Partitions[0], dir, Access{})
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(dir, "etc/fstab"))
	elsewhere, err := m.MountOthers(t.Context(), layout)
	require.NoError(t, err)
	assert.Empty(t, elsewhere)
	assert.FileExists(t, filepath.Join(dir, "home/user"))
	require.NoError(t, m.Unmount())
}

func TestParseFstab(t *testing.T) {
	got := parseFstab(strings.NewReader("# x\n\nUUID=a /var/lib ext4 noatime,ro 0 2\nLABEL=my\\040disk /a\\040b xfs\nbad\nUUID=b none swap sw\n/dev/sda1 / ext4 defaults\n"))
	assert.Equal(t, []fstabEntry{
		{source: "/dev/sda1", dir: "/", kind: "ext4", options: []string{"defaults"}},
		{source: "LABEL=my disk", dir: "/a b", kind: "xfs"},
		{source: "UUID=a", dir: "/var/lib", kind: "ext4", options: []string{"noatime", "ro"}},
	}, got)
}

func TestSourcePartition(t *testing.T) {
	layout := &Layout{Table: "gpt", Partitions: []Partition{
		{Number: 1, UUID: "aaaa", FileSystem: FileSystem{Type: "ext4", Label: "one", UUID: "1111"}},
		{Number: 15, Label: "fifteen", FileSystem: FileSystem{Type: "vfat"}},
	}}
	for source, want := range map[string]int{
		"UUID=1111": 1, "LABEL=one": 1, "PARTUUID=AAAA": 1, "PARTLABEL=fifteen": 15, "/dev/sda1": 1, "/dev/vda15": 15,
		"/dev/nvme0n1p1": 1, "/dev/mmcblk0p15": 15, "/dev/disk/by-uuid/1111": 1, "/dev/disk/by-label/one": 1,
		"/dev/mapper/vg-root": 0, "/dev/sda2": 0, "UUID=2222": 0, "tmpfs": 0, "nas:/x": 0, "1": 1,
	} {
		p, ok := layout.sourcePartition(source)
		assert.Equal(t, want != 0, ok, source)
		assert.Equal(t, want, p.Number, source)
	}
}

func FuzzParseFstab(f *testing.F) {
	f.Add("UUID=a / ext4 defaults 0 1\n\\040 \\134 x")
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range parseFstab(strings.NewReader(text)) {
			assert.True(t, strings.HasPrefix(e.dir, "/"), "%q", e.dir)
		}
	})
}
