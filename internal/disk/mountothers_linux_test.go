package disk

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// opened mounts the chosen partition of an image with all that belongs to it.
func opened(t testing.TB, image, choice string, access Access) (*Mounted, []Hidden, error) {
	t.Helper()
	layout, err := ReadLayout(image)
	require.NoError(t, err)
	p, err := layout.Choose(choice)
	require.NoError(t, err)
	dir := filepath.Join(filepath.Dir(image), "root")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	m, err := Mount(t.Context(), image, p, dir, access)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Unmount()) })
	hidden, err := m.MountOthers(t.Context(), layout)
	return m, hidden, err
}

// tool runs a program that is no part of the plugin.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	path, err := Tool{Name: name}.Find()
	if err != nil {
		t.Skipf("needs %s", name)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	require.NoError(t, err, "%s %q: %s", name, args, out)
	return string(out)
}

// attached counts the loop devices of an image.
func attached(t testing.TB, image string) (n int) {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	require.NoError(t, err)
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && string(bytes.TrimSpace(text)) == image {
			n++
		}
	}
	return n
}

// Two devices of one partition are two file systems that know nothing of each
// other: what the one writes the other overwrites.
func TestSubvolumesShareOneDevice(t *testing.T) {
	needLoop(t)
	needTools(t, makers["btrfs"], Btrfs)
	top := t.TempDir()
	noLeaks(t, top)
	image := newImage(t, top, largeEnough)
	format(t, image, whole(largeEnough).Partitions[0], "btrfs", "suse", `
		for s in @ @home @var @nested; do btrfs -q subvolume create $s >/dev/null; done
		mkdir -p @/etc @/usr @/home @/var @nested/below
		cat > @/etc/fstab <<-E
		LABEL=suse / btrfs subvol=/@ 0 0
		LABEL=suse /home btrfs subvol=@home 0 0
		LABEL=suse /var btrfs subvolid=258 0 0
		LABEL=suse /var/lib btrfs subvol=@nested,compress=zstd:1 0 0
		LABEL=suse /gone btrfs subvol=@gone,nofail 0 0
		/var/lib/below /srv/shown none bind 0 0
		E`)
	m, hidden, err := opened(t, image, "", Access{})
	require.NoError(t, err)
	require.Len(t, hidden, 1)
	assert.Contains(t, hidden[0].String(), "/gone is to show LABEL=suse, which fails: mounting partition 0 (btrfs, label \"suse\"): it has no subvolume subvol=@gone")
	assert.Equal(t, 1, attached(t, image))
	content := bytes.Repeat([]byte("content "), 20<<17)
	for _, name := range []string{"usr/file", "home/file", "var/file", "var/lib/file", "srv/shown/file"} {
		require.NoError(t, os.WriteFile(filepath.Join(m.Root, name), content, 0o600), name)
	}
	require.NoError(t, m.Unmount())
	tool(t, "btrfs", "check", "--readonly", image)
	out := t.TempDir()
	tool(t, "btrfs", "restore", "--snapshots", image, out)
	for _, name := range []string{"@/usr/file", "@home/file", "@var/file", "@nested/file", "@nested/below/file"} {
		got, err := os.ReadFile(filepath.Join(out, name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(content, got), name)
	}
}

func TestMissingSubvolumeIsAnError(t *testing.T) {
	needLoop(t)
	needTools(t, makers["btrfs"])
	top := t.TempDir()
	noLeaks(t, top)
	image := newImage(t, top, largeEnough)
	format(t, image, whole(largeEnough).Partitions[0], "btrfs", "x",
		`mkdir -p etc usr; echo "LABEL=x /home btrfs subvol=@home 0 0" > etc/fstab`)
	_, _, err := opened(t, image, "", Access{})
	require.ErrorContains(t, err, "the image's /etc/fstab:1: /home on LABEL=x: mounting partition 0 (btrfs, label \"x\"): it has no subvolume subvol=@home")
}

// Of several subvolumes that look like a root, such as snapshots, the one that
// its own fstab names is it.
func TestRootAmongSnapshots(t *testing.T) {
	needLoop(t)
	needTools(t, makers["btrfs"], Btrfs)
	top := t.TempDir()
	noLeaks(t, top)
	image := newImage(t, top, largeEnough)
	format(t, image, whole(largeEnough).Partitions[0], "btrfs", "x", `
		btrfs -q subvolume create @ >/dev/null; mkdir -p @/etc @/usr; echo "LABEL=x / btrfs noatime,subvol=@ 0 0" > @/etc/fstab
		btrfs -q subvolume snapshot @ @before >/dev/null; touch @/etc/now`)
	m, _, err := opened(t, image, "", Access{})
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(m.Root, "etc/now"))
}

func TestOnePartitionMountedTwice(t *testing.T) {
	needLoop(t)
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			top := t.TempDir()
			noLeaks(t, top)
			image := newImage(t, top, 2*largeEnough+8*mib)
			layout := partitioned(t, image, fmt.Sprintf("label: gpt\nsize=%dMiB\ntype=L\n", largeEnough/mib))
			format(t, image, layout.Partitions[0], kind, "ROOT", plainRoot+`; echo "LABEL=DATA /srv auto" > etc/fstab; echo "LABEL=DATA /home auto" >> etc/fstab`)
			format(t, image, layout.Partitions[1], kind, "DATA", "true")
			m, _, err := opened(t, image, "1", Access{})
			require.NoError(t, err)
			assert.DirExists(t, filepath.Join(m.Root, "srv"), "made as systemd makes it")
			require.NoError(t, os.WriteFile(filepath.Join(m.Root, "srv/a"), []byte("a"), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(m.Root, "home/b"), []byte("b"), 0o600))
			assert.FileExists(t, filepath.Join(m.Root, "home/a"))
			assert.Equal(t, 2, attached(t, image))
			require.NoError(t, m.Unmount())
			part := filepath.Join(top, "part")
			p := layout.Partitions[1]
			tool(t, "dd", "if="+image, "of="+part, "bs=1M", "iflag=skip_bytes,count_bytes", fmt.Sprintf("skip=%d", p.Start), fmt.Sprintf("count=%d", p.Size))
			if kind == "ext4" {
				tool(t, "e2fsck", "-fn", part)
			} else {
				tool(t, "xfs_repair", "-n", part)
			}
		})
	}
}

// What is on a disk with another name is not on this one, whatever its number.
func TestAnotherDisk(t *testing.T) {
	needLoop(t)
	lines := map[string]struct {
		root, line string
		want       string // why /var/lib/rancher is hidden
	}{
		"another disk":      {"/dev/sda1", "/dev/sdb1 /var/lib/rancher ext4 defaults 0 2", "is on /dev/sdb1, which is not on this disk"},
		"root by UUID":      {"LABEL=ROOT", "/dev/sda2 /var/lib/rancher ext4 defaults 0 2", "is on /dev/sda2, which is not on this disk as far as its name tells; for partition 2 of this disk write UUID="},
		"the same disk":     {"/dev/vda1", "/dev/vda2 /var/lib/rancher ext4 defaults 0 2", ""},
		"a logical volume":  {"LABEL=ROOT", "/dev/mapper/vg-data /var/lib/rancher xfs defaults 0 2", "is on /dev/mapper/vg-data, which is not on this disk"},
		"another label":     {"LABEL=ROOT", "LABEL=ELSE /var/lib/rancher ext4 nofail,x-systemd.device-timeout=5 0 2", "is on LABEL=ELSE, which is not on this disk"},
		"the same label":    {"LABEL=ROOT", "PARTLABEL=data /var/lib/rancher ext4 nofail,x-systemd.growfs 0 2", ""},
		"memory":            {"LABEL=ROOT", "none /var/lib/rancher tmpfs size=1g 0 0", "gets a tmpfs mounted over it at boot"},
		"by hand":           {"LABEL=ROOT", "LABEL=DATA /var/lib/rancher ext4 noauto 0 0", "may be mounted over with LABEL=DATA, by hand or by what needs it"},
		"a directory above": {"LABEL=ROOT", "LABEL=ELSE /var ext4 defaults 0 0", ""},
	}
	for name, tt := range lines {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			noLeaks(t, top)
			image := newImage(t, top, 64*mib)
			layout := partitioned(t, image, "label: gpt\nsize=24MiB\ntype=L, name=data\n")
			format(t, image, layout.Partitions[0], "ext4", "ROOT", plainRoot+fmt.Sprintf("; printf '%%s\\n' '%s / ext4 defaults 0 1' '%s' > etc/fstab", tt.root, tt.line))
			format(t, image, layout.Partitions[1], "ext4", "DATA", "touch on-data")
			m, hidden, err := opened(t, image, "1", Access{})
			require.NoError(t, err)
			switch {
			case tt.want != "":
				require.Len(t, hidden, 1)
				assert.Equal(t, "/var/lib/rancher", hidden[0].Dir)
				assert.Contains(t, hidden[0].Why, tt.want)
				assert.Contains(t, hidden[0].Why, "(/etc/fstab:2)")
				assert.NoFileExists(t, filepath.Join(m.Root, "var/lib/rancher/on-data"))
			case name == "a directory above":
				assert.Equal(t, []Hidden{{"/var", "is on LABEL=ELSE, which is not on this disk (/etc/fstab:2)"}}, hidden)
			default:
				assert.Empty(t, hidden)
				assert.FileExists(t, filepath.Join(m.Root, "var/lib/rancher/on-data"))
			}
			require.NoError(t, m.Unmount())
			tool(t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", image, layout.Partitions[0].Start))
		})
	}
}

// A file system in an image can name things that hang or lead astray.
func TestStrangeFstab(t *testing.T) {
	needLoop(t)
	for name, tt := range map[string]struct{ commands, want string }{
		"a pipe":      {"mkfifo etc/fstab", "the image's /etc/fstab: is no regular file but p"},
		"a directory": {"mkdir etc/fstab", "the image's /etc/fstab: is no regular file but d"},
		"a link out":  {"ln -s ../../../../../../etc/hostname etc/fstab", ""},
		"on a file":   {"touch data; echo 'LABEL=R /data ext4' > etc/fstab", "/etc/fstab:1: /data on LABEL=R: is no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			noLeaks(t, top)
			image := newImage(t, top, 32*mib)
			format(t, image, whole(32 * mib).Partitions[0], "ext4", "R", plainRoot+"; "+tt.commands)
			_, _, err := opened(t, image, "", Access{})
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// What people and installers write into fstab is followed where systemd
// follows it, and never stops a build that the node would boot from.
func TestUsualFstab(t *testing.T) {
	needLoop(t)
	top := t.TempDir()
	noLeaks(t, top)
	image := newImage(t, top, 64*mib)
	layout := partitioned(t, image, "label: gpt\nsize=24MiB\ntype=L, name=data\n")
	format(t, image, layout.Partitions[0], "ext4", "ROOT", plainRoot+`; mkdir -p srv/from; echo shown > srv/from/file
		cat > etc/fstab <<-'E'
		# /dev/sdz1 /usr ext4 defaults 0 2
		   # LABEL=DATA /etc ext4 defaults 0 2

		LABEL=ROOT / ext4 x-systemd.growfs,errors=remount-ro 0 1
		LABEL=DATA /made/with\040a\011blank ext4 x-systemd.makefs,x-systemd.requires=a.service 0 2
		/srv/from /made/bound none bind,x-systemd.requires-mounts-for=/srv 0 0
		/srv/gone /srv/none none bind,nofail 0 0
		LABEL=GONE /not/there ext4 nofail,x-systemd.device-timeout=5s 0 2
		LABEL=DATA /by/hand ext4 noauto 0 2
		LABEL=ELSE /on/demand ext4 noauto,x-systemd.automount 0 2
		overlay /over overlay lowerdir=/srv/from,upperdir=/u,workdir=/w 0 0
		tmpfs /tmp tmpfs nosuid,nodev 0 0
		LABEL=SWAP none swap sw 0 0
		one two
	E`)
	format(t, image, layout.Partitions[1], "ext4", "DATA", "touch on-data")
	m, hidden, err := opened(t, image, "1", Access{})
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(m.Root, "made/with a\tblank/on-data"))
	assert.FileExists(t, filepath.Join(m.Root, "made/bound/file"))
	why := map[string]string{}
	for _, h := range hidden {
		why[h.Dir] = h.Why
	}
	for dir, want := range map[string]string{
		"/srv/none":  "is to show /srv/gone, which fails",
		"/not/there": "is on LABEL=GONE, which is not on this disk",
		"/by/hand":   "may be mounted over with LABEL=DATA, by hand",
		"/on/demand": "is on LABEL=ELSE, which is not on this disk",
		"/over":      "gets a overlay mounted over it at boot",
	} {
		assert.Contains(t, why[dir], want, dir)
		delete(why, dir)
	}
	assert.Empty(t, why)
	require.NoError(t, m.Unmount())
}

// A log of a btrfs file system belongs to the evidence, as a journal does; a
// subvolume that is read-only stays so, whoever mounts it.
func TestBtrfsLog(t *testing.T) {
	needLoop(t)
	needTools(t, makers["btrfs"], Btrfs)
	top := t.TempDir()
	noLeaks(t, top)
	image, dirty := newImage(t, top, largeEnough), filepath.Join(top, "dirty.raw")
	format(t, image, whole(largeEnough).Partitions[0], "btrfs", "x", plainRoot+"; btrfs -q subvolume create fixed >/dev/null; btrfs property set fixed ro true; sync")
	m, _, err := opened(t, image, "", Access{})
	require.NoError(t, err)
	require.ErrorIs(t, os.WriteFile(filepath.Join(m.Root, "fixed/new"), nil, 0o600), unix.EROFS)
	f, err := os.Create(filepath.Join(m.Root, "etc/late"))
	require.NoError(t, err)
	_, err = f.WriteString("late")
	require.NoError(t, err)
	require.NoError(t, f.Sync()) // into the log
	require.NoError(t, f.Close())
	tool(t, "cp", "--sparse=always", image, dirty) // as a snapshot of a running machine
	require.NoError(t, m.Unmount())

	// Both have one UUID, so that the first must be gone.
	require.NoError(t, os.Remove(image))
	before := sum(t, dirty)
	layout, err := ReadLayout(dirty)
	require.NoError(t, err)
	_, err = Mount(t.Context(), dirty, layout.Partitions[0], m.Root, Access{Image: true})
	require.ErrorIs(t, err, ErrJournal)
	assert.Equal(t, before, sum(t, dirty))
	copied, err := Mount(t.Context(), dirty, layout.Partitions[0], m.Root, Access{ReadOnly: true})
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(m.Root, "etc/late"))
	require.NoError(t, copied.Unmount())
}
