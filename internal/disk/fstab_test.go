package disk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseFstab(t *testing.T) {
	got, err := parseFstab(strings.NewReader("# x\n\nUUID=a /var/lib ext4 noatime,ro 0 2\nLABEL=my\\040disk /a\\040b xfs\nbad\nUUID=b none swap sw\nUUID=c /swap swap sw\n/dev/sda1 / ext4 defaults\n"))
	require.NoError(t, err)
	assert.Equal(t, []mountLine{
		{source: "UUID=a", dir: "/var/lib", kind: "ext4", options: []string{"noatime", "ro"}, from: "/etc/fstab:3"},
		{source: "LABEL=my disk", dir: "/a b", kind: "xfs", from: "/etc/fstab:4"},
		{source: "/dev/sda1", dir: "/", kind: "ext4", options: []string{"defaults"}, from: "/etc/fstab:8"},
	}, got)
}

// A device's name means this disk only where the root's line uses it too.
func TestFind(t *testing.T) {
	layout := &Layout{Table: "gpt", Partitions: []Partition{
		{Number: 1, UUID: "aaaa", FileSystem: FileSystem{Type: "ext4", Label: "one", UUID: "1111"}},
		{Number: 15, Label: "fifteen", FileSystem: FileSystem{Type: "vfat"}},
		{Number: 16, FileSystem: FileSystem{Type: "ext4", Label: "a b", UUID: "twin"}},
		{Number: 17, FileSystem: FileSystem{Type: "ext4", UUID: "twin"}},
	}}
	tests := []struct {
		root, source string
		want         []int
	}{
		{"UUID=1111", "UUID=1111", []int{1}},
		{"UUID=1111", `UUID="1111"`, []int{1}},
		{"UUID=1111", "LABEL=one", []int{1}},
		{"UUID=1111", "PARTUUID=AAAA", []int{1}},
		{"UUID=1111", "PARTLABEL=fifteen", []int{15}},
		{"UUID=1111", "/dev/disk/by-uuid/1111", []int{1}},
		{"UUID=1111", `/dev/disk/by-label/a\x20b`, []int{16}},
		{"UUID=1111", "UUID=twin", []int{16, 17}},
		{"UUID=1111", "UUID=2222", nil},
		{"UUID=1111", "/dev/sda15", nil},
		{"UUID=1111", "/dev/mapper/vg-root", nil},
		{"UUID=1111", "tmpfs", nil},
		{"UUID=1111", "nas:/x", nil},
		{"UUID=1111", "1", nil},
		{"/dev/sda1", "/dev/sda15", []int{15}},
		{"/dev/sda1", "/dev/sda1", []int{1}},
		{"/dev/sda1", "/dev/sda2", nil},
		{"/dev/sda1", "/dev/sdb15", nil},
		{"/dev/sda1", "/dev/sdaa15", nil},
		{"/dev/sda1", "/dev/vda15", nil},
		{"/dev/vda1", "/dev/vda15", []int{15}},
		{"/dev/nvme0n1p1", "/dev/nvme0n1p15", []int{15}},
		{"/dev/nvme0n1p1", "/dev/nvme1n1p15", nil},
		{"/dev/mmcblk0p1", "/dev/mmcblk0p15", []int{15}},
		{"/dev/disk/by-id/scsi-x-part1", "/dev/disk/by-id/scsi-x-part15", []int{15}},
		{"/dev/disk/by-id/scsi-x-part1", "/dev/disk/by-id/scsi-y-part15", nil},
		// The root is not where its line says: then no name is known to be right.
		{"/dev/sda15", "/dev/sda15", nil},
	}
	for _, tt := range tests {
		name := named([]mountLine{{source: "/dev/sdz1", dir: "/data"}, {source: tt.root, dir: "/"}}, layout.Partitions[0])
		var got []int
		for _, p := range layout.find(tt.source, name) {
			got = append(got, p.Number)
		}
		assert.Equal(t, tt.want, got, "%s with / on %s", tt.source, tt.root)
	}
	assert.Empty(t, (*Layout)(nil).find("UUID=1111", ""))
}

func TestInOrder(t *testing.T) {
	lines := []mountLine{
		{source: "/mnt/data/rancher", dir: "/var/lib/rancher", options: []string{"bind"}},
		{source: "UUID=2", dir: "/var/lib"},
		{source: "/var/lib/x", dir: "/a", options: []string{"bind"}},
		{source: "UUID=1", dir: "/var"},
		{source: "UUID=3", dir: "/mnt/data"},
	}
	var got []string
	for _, l := range inOrder(lines) {
		got = append(got, l.dir)
	}
	assert.Equal(t, []string{"/mnt/data", "/var", "/var/lib", "/a", "/var/lib/rancher"}, got)
	circle := []mountLine{{source: "/b", dir: "/a", options: []string{"bind"}}, {source: "/a", dir: "/b", options: []string{"bind"}}}
	assert.Len(t, inOrder(circle), 2)
}

// treeOf makes a tree of files on this host; a text that begins with "-> " is
// a link.
func treeOf(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		host := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(host), 0o755))
		if target, link := strings.CutPrefix(text, "-> "); link {
			require.NoError(t, os.Symlink(target, host))
			continue
		}
		require.NoError(t, os.WriteFile(host, []byte(text), 0o644))
	}
	return root
}

func TestMountLines(t *testing.T) {
	const unit = "[Unit]\nWhat=wrong\n[Mount]\n# Where=/wrong\nWhat=LABEL=data\nWhere=/var/lib/rancher\nType=ext4\nOptions=noatime,\\\n  nofail\n[Install]\nWantedBy=local-fs.target\n"
	const name = "var-lib-rancher.mount"
	tests := map[string]struct {
		files map[string]string
		want  []string // source, directory, whether only by hand
	}{
		"nothing":            {},
		"a unit by itself":   {map[string]string{"etc/systemd/system/" + name: unit}, []string{"LABEL=data /var/lib/rancher manual"}},
		"a vendor's":         {map[string]string{"usr/lib/systemd/system/" + name: unit}, nil},
		"a vendor's, wanted": {map[string]string{"usr/lib/systemd/system/" + name: unit, "etc/systemd/system/local-fs.target.wants/" + name: "-> /usr/lib/systemd/system/" + name}, []string{"LABEL=data /var/lib/rancher"}},
		"wanted":             {map[string]string{"etc/systemd/system/" + name: unit, "etc/systemd/system/local-fs.target.wants/" + name: "-> /etc/systemd/system/" + name}, []string{"LABEL=data /var/lib/rancher"}},
		"required by k3s":    {map[string]string{"etc/systemd/system/" + name: unit, "etc/systemd/system/k3s.service.requires/" + name: "-> ../" + name}, []string{"LABEL=data /var/lib/rancher"}},
		"automounted":        {map[string]string{"etc/systemd/system/" + name: unit, "etc/systemd/system/local-fs.target.wants/var-lib-rancher.automount": "-> x"}, []string{"LABEL=data /var/lib/rancher"}},
		"before fstab":       {map[string]string{"etc/systemd/system/" + name: unit, "etc/fstab": "LABEL=x /var/lib/rancher ext4\n"}, []string{"LABEL=data /var/lib/rancher"}},
		"fstab before a vendor's": {map[string]string{
			"lib/systemd/system/" + name: unit, "etc/systemd/system/x.target.wants/" + name: "-> x", "etc/fstab": "LABEL=x /var/lib/rancher ext4\n",
		}, []string{"LABEL=x /var/lib/rancher"}},
		"masked":           {map[string]string{"etc/systemd/system/" + name: "-> /dev/null", "etc/fstab": "LABEL=x /var/lib/rancher ext4\n"}, nil},
		"a drop-in":        {map[string]string{"etc/systemd/system/" + name: unit, "etc/systemd/system/" + name + ".d/10.conf": "[Mount]\nWhat=LABEL=other\n"}, []string{"LABEL=other /var/lib/rancher manual"}},
		"listed twice":     {map[string]string{"etc/fstab": "LABEL=x /a ext4\nLABEL=y /a ext4\n"}, []string{"LABEL=x /a"}},
		"noauto":           {map[string]string{"etc/fstab": "LABEL=x /a ext4 noauto\nLABEL=y /b ext4 noauto,x-systemd.automount\n"}, []string{"LABEL=x /a manual", "LABEL=y /b"}},
		"refused by Where": {map[string]string{"etc/systemd/system/" + name: "[Mount]\nWhat=x\n"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			lines, err := mountLines(treeOf(t, tt.files))
			require.NoError(t, err)
			var got []string
			for _, l := range lines {
				text := l.source + " " + l.dir
				if l.manual() {
					text += " manual"
				}
				got = append(got, text)
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestUnitDirectory(t *testing.T) {
	assert.Equal(t, "/var/lib/rancher", unitDirectory("var-lib-rancher.mount"))
	assert.Equal(t, "/a-b/c d", unitDirectory(`a\x2db-c\x20d.mount`))
}

func FuzzParseFstab(f *testing.F) {
	f.Add("UUID=a / ext4 defaults 0 1\n\\040 \\134 x")
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := parseFstab(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, l := range inOrder(lines) {
			assert.True(t, strings.HasPrefix(l.dir, "/"), "%q", l.dir)
		}
	})
}
