package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testDisk = 64 << 20

// diskWith makes a raw disk in which change has been at work.
func diskWith(t testing.TB, change ...func(f *os.File)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(testDisk))
	for _, c := range change {
		c(f)
	}
	return path
}

func withGPT(t testing.TB, sector int, parts ...*gpt.Partition) func(*os.File) {
	return func(f *os.File) {
		t.Helper()
		for i, p := range parts {
			p.Index = i + 1
		}
		table := &gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true, Partitions: parts}
		require.NoError(t, table.Write(f, testDisk))
	}
}

func withMBR(t testing.TB, parts ...*mbr.Partition) func(*os.File) {
	return func(f *os.File) {
		table := &mbr.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, Partitions: parts}
		require.NoError(t, table.Write(f, testDisk))
		_, err := f.WriteAt([]byte{0x78, 0x56, 0x34, 0x12}, 440)
		require.NoError(t, err)
	}
}

// with puts a superblock of a file system at start, as far as it is looked at.
func with(t testing.TB, kind, label string, start int64) func(*os.File) {
	return func(f *os.File) {
		for _, s := range superblocks {
			if s.kind != kind {
				continue
			}
			write := func(at int64, b []byte) {
				_, err := f.WriteAt(b, start+at)
				require.NoError(t, err)
			}
			write(s.at, []byte(s.magic))
			if s.label > 0 {
				write(s.label, []byte(label))
				write(s.uuid, []byte("0123456789abcdef"))
			}
			if kind == "ext4" {
				write(0x400, []byte{1, 0, 0, 0, 1, 0, 0, 0})
				write(0x418, []byte{2, 0, 0, 0})
				write(0x420, []byte{0, 0x80, 0, 0})
			}
			return
		}
		require.Fail(t, "no such file system", kind)
	}
}

func gptPart(start, end uint64, name string) *gpt.Partition {
	return &gpt.Partition{Start: start, End: end, Type: gpt.LinuxFilesystem, Name: name, GUID: "5CA3360B-5DE6-4FCF-B4CE-419CEE433B5" + name[:1]}
}

const testUUID = "30313233-3435-3637-3839-616263646566" // "0123456789abcdef"

func TestReadLayoutAndChoose(t *testing.T) {
	cloud := []func(*os.File){
		withGPT(t, 512, gptPart(2048, 4095, "0bios"), gptPart(4096, 20479, "1esp"), gptPart(20480, 131038, "2root")),
		with(t, "vfat", "", 4096*512), with(t, "ext4", "cloud", 20480*512),
	}
	two := []func(*os.File){
		withGPT(t, 512, gptPart(2048, 20479, "0boot"), gptPart(20480, 131038, "1root")),
		with(t, "ext4", "BOOT", 2048*512), with(t, "xfs", "ROOT", 20480*512),
	}
	dos := []func(*os.File){
		withMBR(t, &mbr.Partition{Type: mbr.LinuxSwap, Start: 2048, Size: 2048}, &mbr.Partition{Type: mbr.Linux, Start: 4096, Size: 100000, Bootable: true}),
		with(t, "swap", "", 2048*512), with(t, "btrfs", "deb", 4096*512),
	}
	twins := []func(*os.File){
		withGPT(t, 512, gptPart(2048, 20479, "0same"), gptPart(20480, 131038, "1same")),
		with(t, "ext4", "same", 2048*512), with(t, "ext4", "same", 20480*512),
	}
	tests := map[string]struct {
		disk    []func(*os.File)
		choice  string
		want    Partition
		wantErr []string
	}{
		"whole disk ext4":  {disk: []func(*os.File){with(t, "ext4", "root", 0)}, want: Partition{Extent: Extent{0, testDisk}, FileSystem: FileSystem{"ext4", "root", testUUID}}},
		"whole disk xfs":   {disk: []func(*os.File){with(t, "xfs", "root", 0)}, want: Partition{Extent: Extent{0, testDisk}, FileSystem: FileSystem{"xfs", "root", testUUID}}},
		"whole disk btrfs": {disk: []func(*os.File){with(t, "btrfs", "root", 0)}, want: Partition{Extent: Extent{0, testDisk}, FileSystem: FileSystem{"btrfs", "root", testUUID}}},
		"boot code without a table": {
			disk: []func(*os.File){with(t, "ext4", "root", 0), func(f *os.File) { _, _ = f.WriteAt([]byte{0x55, 0xaa}, 510) }},
			want: Partition{Extent: Extent{0, testDisk}, FileSystem: FileSystem{"ext4", "root", testUUID}},
		},
		"GPT, one Linux file system": {disk: cloud, want: Partition{
			Number: 3, Extent: Extent{20480 * 512, 110559 * 512}, Label: "2root",
			UUID: "5ca3360b-5de6-4fcf-b4ce-419cee433b52", FileSystem: FileSystem{"ext4", "cloud", testUUID},
		}},
		"GPT with large sectors": {
			disk: []func(*os.File){withGPT(t, 4096, gptPart(256, 16377, "0root")), with(t, "ext4", "big", 256*4096)},
			want: Partition{
				Number: 1, Extent: Extent{256 * 4096, 16122 * 4096}, Label: "0root",
				UUID: "5ca3360b-5de6-4fcf-b4ce-419cee433b50", FileSystem: FileSystem{"ext4", "big", testUUID},
			},
		},
		"DOS": {disk: dos, want: Partition{
			Number: 2, Extent: Extent{4096 * 512, 100000 * 512}, UUID: "12345678-02", FileSystem: FileSystem{"btrfs", "deb", testUUID},
		}},
		"two, none chosen":       {disk: two, wantErr: []string{"partition: 2 Linux file systems", `partition = "1"`, `1: 9MiB, ext4, label "BOOT", partition label "0boot"`, `2: 53.98MiB, xfs, label "ROOT"`}},
		"two, by number":         {disk: two, choice: "2", want: rootOfTwo},
		"two, by label":          {disk: two, choice: "LABEL=ROOT", want: rootOfTwo},
		"two, by quoted label":   {disk: two, choice: `LABEL="ROOT"`, want: rootOfTwo},
		"two, by PARTLABEL":      {disk: two, choice: "PARTLABEL=1root", want: rootOfTwo},
		"two, by PARTUUID":       {disk: two, choice: "PARTUUID=5CA3360B-5de6-4fcf-b4ce-419cee433b51", want: rootOfTwo},
		"label is case-aware":    {disk: two, choice: "LABEL=root", wantErr: []string{`no partition is "LABEL=root"`, "1: 9MiB"}},
		"twins by label":         {disk: twins, choice: "LABEL=same", wantErr: []string{`2 partitions are "LABEL=same"`}},
		"twins by UUID":          {disk: twins, choice: "UUID=" + testUUID, wantErr: []string{"2 partitions are"}},
		"no such number":         {disk: two, choice: "3", wantErr: []string{`partition: no partition is "3"`}},
		"number zero":            {disk: two, choice: "0", wantErr: []string{"write the partition's number"}},
		"negative":               {disk: two, choice: "-1", wantErr: []string{"write the partition's number"}},
		"unknown tag":            {disk: two, choice: "NAME=x", wantErr: []string{"write the partition's number"}},
		"tag without value":      {disk: two, choice: "LABEL=", wantErr: []string{"write the partition's number"}},
		"chosen without a root":  {disk: cloud, choice: "2", wantErr: []string{`partition: "2" holds no ext4, xfs or btrfs file system but vfat`}},
		"chosen on a whole disk": {disk: []func(*os.File){with(t, "ext4", "root", 0)}, choice: "1", wantErr: []string{"has no partition table; remove it"}},
		"nothing":                {disk: nil, wantErr: []string{"iso_url: the disk has no partition table and no ext4, xfs or btrfs file system, but nothing that is known"}},
		"encrypted": {
			disk:    []func(*os.File){withGPT(t, 512, gptPart(2048, 131038, "0root")), with(t, "LUKS (encrypted)", "", 2048*512)},
			wantErr: []string{"iso_url: no ext4, xfs or btrfs file system is on the disk", "LUKS (encrypted)"},
		},
		"LVM": {
			disk:    []func(*os.File){withMBR(t, &mbr.Partition{Type: 0x8e, Start: 2048, Size: 4096}), with(t, "LVM physical volume", "", 2048*512)},
			wantErr: []string{"LVM physical volume"},
		},
		"extended partition": {
			disk:    []func(*os.File){withMBR(t, &mbr.Partition{Type: 0x05, Start: 2048, Size: 4096})},
			wantErr: []string{"no ext4, xfs or btrfs file system is on the disk", "1: 2MiB, extended partition"},
		},
		"beside an extended partition": {
			disk: []func(*os.File){
				withMBR(t, &mbr.Partition{Type: mbr.Linux, Start: 2048, Size: 4096}, &mbr.Partition{Type: 0x0f, Start: 8192, Size: 4096}),
				with(t, "ext4", "deb", 2048*512), with(t, "ext4", "chance", 8192*512),
			},
			want: Partition{Number: 1, Extent: Extent{2048 * 512, 4096 * 512}, UUID: "12345678-01", FileSystem: FileSystem{"ext4", "deb", testUUID}},
		},
		"two, one of a root's type": {
			disk: []func(*os.File){
				withGPT(t, 512, gptPart(2048, 20479, "0boot"), &gpt.Partition{
					Start: 20480, End: 131038, Type: "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", Name: "1root", GUID: "5CA3360B-5DE6-4FCF-B4CE-419CEE433B51",
				}),
				with(t, "ext4", "BOOT", 2048*512), with(t, "xfs", "ROOT", 20480*512),
			},
			want: func() Partition { p := rootOfTwo; p.role = roleRoot; return p }(),
		},
		"partition beyond the end": {
			disk:    []func(*os.File){withMBR(t, &mbr.Partition{Type: mbr.Linux, Start: 2048, Size: 1 << 30})},
			wantErr: []string{"partition 1 reaches beyond the end of the disk", "is the image cut off?"},
		},
		"protective MBR without GPT": {
			disk:    []func(*os.File){withMBR(t, &mbr.Partition{Type: 0xee, Start: 1, Size: 100})},
			wantErr: []string{"says it has a GPT, but none can be read"},
		},
		"GPT whose table is damaged": {
			disk: append(append([]func(*os.File){}, two...), func(f *os.File) {
				_, _ = f.WriteAt([]byte{0xfe}, 1024+40)
				_, _ = f.WriteAt(make([]byte, 33*512), testDisk-33*512)
			}),
			wantErr: []string{"reading the GPT"},
		},
		"GPT that asks for much memory": {
			disk: append(append([]func(*os.File){}, two...), func(f *os.File) {
				_, _ = f.WriteAt([]byte{0xff, 0xff, 0xff, 0x7f}, 512+80)
			}),
			wantErr: []string{"not believable"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			layout, err := ReadLayout(diskWith(t, tt.disk...))
			var got Partition
			if err == nil {
				got, err = layout.Choose(tt.choice)
			}
			if tt.wantErr != nil {
				for _, want := range tt.wantErr {
					require.ErrorContains(t, err, want)
				}
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

var rootOfTwo = Partition{
	Number: 2, Extent: Extent{20480 * 512, 110559 * 512}, Label: "1root",
	UUID: "5ca3360b-5de6-4fcf-b4ce-419cee433b51", FileSystem: FileSystem{"xfs", "ROOT", testUUID},
}

// The second copy of a GPT, at the end of the disk, serves when the first one's
// list of partitions is damaged.
func TestReadLayoutFromBackupGPT(t *testing.T) {
	path := diskWith(t, withGPT(t, 512, gptPart(2048, 131038, "0root")), with(t, "ext4", "x", 2048*512),
		func(f *os.File) { _, _ = f.WriteAt([]byte{0xff}, 1024+40) })
	layout, err := ReadLayout(path)
	require.NoError(t, err)
	p, err := layout.Choose("")
	require.NoError(t, err)
	assert.Equal(t, 1, p.Number)
}

func TestReadLayoutOfTooSmallFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	_, err := ReadLayout(path)
	require.ErrorContains(t, err, "reading the first sector")
}

// Two bytes that happen to be ext's magic are no file system.
func TestProbeWantsMoreThanTwoBytes(t *testing.T) {
	f, err := os.Open(diskWith(t, func(f *os.File) { _, _ = f.WriteAt([]byte{0x53, 0xef}, 0x438) }))
	require.NoError(t, err)
	defer f.Close()
	assert.Empty(t, probe(f, 0).Type)
}

func FuzzReadLayout(f *testing.F) {
	head := func(change ...func(*os.File)) []byte {
		b, err := os.ReadFile(diskWith(f, change...))
		require.NoError(f, err)
		return b[:64<<10]
	}
	f.Add(head(withGPT(f, 512, gptPart(34, 100, "0root"))))
	f.Add(head(withMBR(f, &mbr.Partition{Type: mbr.Linux, Start: 1, Size: 100})))
	f.Add(head(with(f, "ext4", "x", 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "disk")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		layout, err := ReadLayout(path)
		if err != nil {
			return
		}
		for _, p := range layout.Partitions {
			assert.True(t, p.Start >= 0 && p.Size >= 0 && p.Start+p.Size <= int64(len(b)), "partition outside of the disk")
		}
	})
}

func TestExtentOf(t *testing.T) {
	_, err := extentOf(1, 1<<63, 1<<63, 512, 1<<20)
	require.Error(t, err)
	_, err = extentOf(1, 2048, 1, 512, 1<<20)
	require.ErrorContains(t, err, "disk has 2048")
	e, err := extentOf(1, 2047, 1, 512, 1<<20)
	require.NoError(t, err)
	assert.Equal(t, Extent{2047 * 512, 512}, e)
}

func TestLayoutListsEverything(t *testing.T) {
	l := &Layout{Table: "dos", Partitions: []Partition{{Number: 2, Extent: Extent{0, 1 << 30}}}}
	assert.Equal(t, "  2: 1GiB, nothing that is known", l.String())
	assert.Equal(t, "  (no partitions)", (&Layout{Table: "gpt"}).String())
}
