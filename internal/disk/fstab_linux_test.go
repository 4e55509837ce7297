package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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
		PARTLABEL=var   /var      ext4  defaults 0 2
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
	hidden, err := m.MountOthers(t.Context(), layout)
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(dir, "var/lib/here"))
	assert.FileExists(t, filepath.Join(dir, "boot/vmlinuz"))
	assert.Equal(t, []Hidden{
		{"/never", "may be mounted over with LABEL=BOOT, by hand or by what needs it (/etc/fstab:8)"},
		{"/srv", "is on UUID=0000-0000, which is not on this disk (/etc/fstab:5)"},
		{"/var/nfs", "is on nas:/export, which is not on this disk (/etc/fstab:6)"},
	}, hidden)
	require.ErrorIs(t, os.WriteFile(filepath.Join(dir, "srv/lost"), nil, 0o600), unix.EROFS)
	require.NoError(t, m.Uncover())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "srv/kept"), nil, 0o600))
	require.NoError(t, m.Unmount())
	assert.NoDirExists(t, filepath.Join(dir, "var"))
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
	hidden, err := m.MountOthers(t.Context(), layout)
	require.NoError(t, err)
	assert.Empty(t, hidden)
	assert.FileExists(t, filepath.Join(dir, "home/user"))
	require.NoError(t, m.Unmount())
}
