package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The root is the partition that its own fstab names, by whatever name, and
// else the only one that looks like a root.
func TestFindRoot(t *testing.T) {
	needLoop(t)
	const boot = "mkdir grub; touch vmlinuz"
	root := func(lines ...string) string {
		return plainRoot + "; mkdir usr/bin; printf '%s\\n' '" + strings.Join(lines, "' '") + "' > etc/fstab"
	}
	gpt := "label: gpt\nsize=24MiB, uuid=11111111-2222-3333-4444-555555555501\nsize=24MiB, uuid=11111111-2222-3333-4444-555555555502\n"
	tests := map[string]struct {
		table string
		parts map[int]string // partition number: what is in it
		want  int
		err   string
	}{
		"boot first":         {gpt, map[int]string{1: boot, 2: root("LABEL=P2 / ext4 defaults 0 1", "LABEL=P1 /boot ext4 defaults 0 2")}, 2, ""},
		"boot last":          {gpt, map[int]string{2: boot, 1: root("/dev/sda1 / ext4 defaults 0 1")}, 1, ""},
		"by PARTUUID":        {gpt, map[int]string{1: root("LABEL=else / ext4 defaults 0 1"), 2: root("PARTUUID=11111111-2222-3333-4444-555555555502 / ext4 defaults 0 1")}, 2, ""},
		"by a link":          {gpt, map[int]string{1: root("LABEL=else / ext4 defaults 0 1"), 2: root("/dev/disk/by-label/P2 / ext4 defaults 0 1")}, 2, ""},
		"no line":            {gpt, map[int]string{1: boot, 2: root("# nothing")}, 2, ""},
		"a separate /usr":    {gpt, map[int]string{1: "mkdir bin lib share", 2: root("LABEL=P2 / ext4", "LABEL=P1 /usr ext4")}, 2, ""},
		"a backup of /etc":   {gpt, map[int]string{1: "mkdir etc; echo LABEL=P1 / ext4 > etc/fstab", 2: root("LABEL=P2 / ext4")}, 2, ""},
		"two that say so":    {gpt, map[int]string{1: root("LABEL=P1 / ext4"), 2: root("LABEL=P2 / ext4")}, 0, `2 Linux file systems are on the disk; say which holds the root file system, such as partition = "1"`},
		"two that do not":    {gpt, map[int]string{1: root("#"), 2: root("#")}, 0, "2 Linux file systems are on the disk"},
		"none":               {gpt, map[int]string{1: boot, 2: boot}, 0, "2 Linux file systems are on the disk"},
		"a copy of the root": {gpt, map[int]string{1: root("LABEL=P2 / ext4"), 2: root("LABEL=P2 / ext4")}, 2, ""},
		"logical": {
			"label: dos\nlabel-id: 0x12345678\n1: size=16MiB\n2: type=5\n5: size=16MiB\n6: size=16MiB\n",
			map[int]string{1: boot, 5: "touch data", 6: root("PARTUUID=12345678-06 / ext4", "/dev/disk/by-partuuid/12345678-05 /srv ext4")},
			6, "",
		},
		"beside logical ones": {
			"label: dos\n1: type=f, size=40MiB\n2: size=20MiB\n5: size=16MiB\n6: size=16MiB\n",
			map[int]string{5: boot, 6: "touch data", 2: root("/dev/vda2 / ext4", "/dev/vda5 /boot ext4")},
			2, "",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			noLeaks(t, top)
			image := newImage(t, top, 64*mib)
			layout := partitioned(t, image, tt.table)
			for _, p := range layout.Partitions {
				if commands, ok := tt.parts[p.Number]; ok {
					format(t, image, p, "ext4", fmt.Sprintf("P%d", p.Number), commands)
					delete(tt.parts, p.Number)
				}
			}
			require.Empty(t, tt.parts, "partitions that are not there:\n%s", layout)
			layout, err := ReadLayout(image)
			require.NoError(t, err)
			dir := filepath.Join(top, "root")
			require.NoError(t, os.Mkdir(dir, 0o755))
			before := sum(t, image)
			p, err := FindRoot(t.Context(), image, layout, "", dir, Access{Image: true})
			assert.Equal(t, before, sum(t, image))
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, p.Number)
			m, hidden, err := opened(t, image, fmt.Sprint(p.Number), Access{})
			require.NoError(t, err)
			assert.Empty(t, hidden)
			require.NoError(t, m.Unmount())
		})
	}
}

// Logical partitions are where sfdisk says.
func TestLogicalPartitions(t *testing.T) {
	image := newImage(t, t.TempDir(), 64*mib)
	layout := partitioned(t, image, "label: dos\nlabel-id: 0x12345678\nsize=8MiB\ntype=5\nsize=8MiB\nsize=4MiB, type=82\nsize=4MiB, type=ef\n")
	dump := tool(t, "sfdisk", "-d", image)
	require.Len(t, layout.Partitions, 5)
	for i, p := range layout.Partitions {
		assert.Contains(t, dump, fmt.Sprintf("%s%d : start=%12d, size=%12d", image, p.Number, p.Start/512, p.Size/512))
		assert.Equal(t, []int{1, 2, 5, 6, 7}[i], p.Number)
		assert.Equal(t, fmt.Sprintf("12345678-%02x", p.Number), p.UUID)
	}
	assert.Equal(t, roleESP, layout.Partitions[4].role)
}

// A chain of logical partitions may lead anywhere.
func TestDamagedLogicalPartitions(t *testing.T) {
	top := t.TempDir()
	write := func(at int64, b ...byte) string {
		image := newImage(t, top, 64*mib)
		layout := partitioned(t, image, "label: dos\nsize=8MiB\ntype=5\nsize=8MiB\nsize=8MiB\n")
		f, err := os.OpenFile(image, os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteAt(b, layout.Partitions[1].Start+at)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		return image
	}
	_, err := ReadLayout(write(462+8, 0, 0, 0, 0)) // the link leads to the record that it is in
	require.ErrorContains(t, err, "the extended partition 2 has more than 100 links, or they go round in a circle")
	_, err = ReadLayout(write(446+12, 0, 0, 0, 0x7f))
	require.ErrorContains(t, err, "partition 5 reaches beyond the end of the disk")
	layout, err := ReadLayout(write(510, 0, 0))
	require.NoError(t, err)
	assert.Len(t, layout.Partitions, 2)
}
