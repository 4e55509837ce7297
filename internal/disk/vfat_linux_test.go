package disk

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// esp makes a disk with a vfat partition, of FAT with bits, and a root whose
// fstab has the lines; commands of a shell make what is on the vfat one.
func esp(t testing.TB, top, bits, commands string, fstab ...string) (image string, layout *Layout) {
	t.Helper()
	image = newImage(t, top, 96*mib)
	layout = partitioned(t, image, "label: gpt\nsize=48MiB, name=esp, type=U\ntype=L\n")
	p := layout.Partitions[0]
	tool(t, "mkfs.vfat", "-F", bits, "-i", "ABCD1234", "-n", "UEFI", "--offset", fmt.Sprint(p.Start/512), image, fmt.Sprint(p.Size/1024))
	dir := t.TempDir()
	shell(t, dir, commands)
	entries, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	if len(entries) > 0 {
		mtool(t, image, p, "mcopy", append(append([]string{"-s", "-m"}, entries...), "::/")...)
	}
	format(t, image, layout.Partitions[1], "ext4", "ROOT", plainRoot+"; printf '%s\\n' '"+strings.Join(fstab, "' '")+"' > etc/fstab")
	return image, layout
}

// mtool runs one of the mtools on a partition, as an independent reader.
func mtool(t testing.TB, image string, p Partition, name string, args ...string) string {
	t.Helper()
	t.Setenv("MTOOLS_SKIP_CHECK", "1")
	return tool(t, name, append([]string{"-i", fmt.Sprintf("%s@@%d", image, p.Start)}, args...)...)
}

// cleanVfat fails unless fsck finds nothing at the file system of a partition.
func cleanVfat(t testing.TB, image string, p Partition) {
	t.Helper()
	part := filepath.Join(t.TempDir(), "part")
	tool(t, "dd", "if="+image, "of="+part, "bs=1M", "iflag=skip_bytes,count_bytes", fmt.Sprintf("skip=%d", p.Start), fmt.Sprintf("count=%d", p.Size))
	tool(t, "fsck.vfat", "-n", part)
}

// sumOf is the digest of a partition.
func sumOf(t testing.TB, image string, p Partition) [32]byte {
	t.Helper()
	f, err := os.Open(image)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, p.Size)
	_, err = f.ReadAt(b, p.Start)
	require.NoError(t, err)
	return sha256.Sum256(b)
}

// kernelHasVfat says whether this host mounts vfat by itself.
func kernelHasVfat(t testing.TB) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/filesystems")
	require.NoError(t, err)
	return exec.Command("modprobe", "vfat").Run() == nil || bytes.Contains(b, []byte("\tvfat\n"))
}

// A boot partition is found by every name that fstab gives it, seen with the
// modes that fstab gives it, and written.
func TestBootPartition(t *testing.T) {
	needLoop(t)
	needTools(t, vfatTools...)
	for _, source := range []string{"UUID=ABCD-1234", "UUID=abcd-1234", "LABEL=UEFI", "PARTLABEL=esp"} {
		for _, bits := range []string{"12", "16", "32"} {
			t.Run(source+" "+bits, func(t *testing.T) {
				top := t.TempDir()
				noLeaks(t, top)
				image, layout := esp(t, top, bits, "echo quiet > cmdline.txt; touch -d 2001-02-03T04:05:06Z cmdline.txt; mkdir -p EFI/BOOT; echo x > EFI/BOOT/BOOTX64.EFI",
					source+" /boot/efi vfat umask=0077 0 1")
				m, hidden, err := opened(t, image, "2", Access{})
				require.NoError(t, err)
				require.Empty(t, hidden)
				file := filepath.Join(m.Root, "boot/efi/cmdline.txt")
				info, err := os.Stat(file)
				require.NoError(t, err)
				assert.EqualValues(t, 0o700, info.Mode().Perm())
				assert.Equal(t, "2001-02-03 04:05:06", info.ModTime().UTC().Format("2006-01-02 15:04:05"))
				require.NoError(t, os.WriteFile(file, []byte("quiet cgroup_memory=1\n"), 0o644))
				require.NoError(t, os.MkdirAll(filepath.Join(m.Root, "boot/efi/EFI/debian"), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(m.Root, "boot/efi/EFI/debian/grub.cfg"), []byte("configfile\n"), 0o644))
				require.NoError(t, m.WriteBack(t.Context()))
				shown, err := m.List(t.Context(), allContent)
				require.NoError(t, err)
				require.NoError(t, m.Unmount())
				require.Error(t, exec.Command("mountpoint", "-q", filepath.Join(m.Root, "boot")).Run())

				p := layout.Partitions[0]
				cleanVfat(t, image, p)
				assert.Equal(t, "quiet cgroup_memory=1\n", mtool(t, image, p, "mtype", "::/cmdline.txt"))
				assert.Equal(t, "configfile\n", mtool(t, image, p, "mtype", "::/EFI/debian/grub.cfg"))
				assert.Equal(t, "x\n", mtool(t, image, p, "mtype", "::/EFI/BOOT/BOOTX64.EFI"))
				tool(t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", image, layout.Partitions[1].Start))

				// A second look, as at the finished image, sees the same.
				m, _, err = opened(t, image, "2", Access{ReadOnly: true, Image: true})
				require.NoError(t, err)
				require.NoError(t, shown.CheckMounted(t.Context(), m))
				require.ErrorIs(t, os.WriteFile(filepath.Join(m.Root, "boot/efi/x"), nil, 0o600), unix.EROFS)
			})
		}
	}
}

// Every change that can be made to files arrives, whatever their names are,
// and nothing else changes.
func TestVfatWriteBack(t *testing.T) {
	needLoop(t)
	needTools(t, vfatTools...)
	const content = `
		echo keep > keep; echo 1 > 'a[1].txt'; echo a > a1.txt; echo long > 'A long name with Ünïcödé.conf'; : > empty
		mkdir -p 'dir [x]/below' EFI/BOOT old/older; echo b > 'dir [x]/below/file'; echo o > old/older/o; echo loader > EFI/BOOT/BOOTX64.EFI
		echo 8 > LONGFI~1.TXT; echo first > longfilename1.txt; echo second > longfilename2.txt; mkdir turn; echo t > turn/t; echo f > file`
	tests := map[string]string{
		"nothing":         "true",
		"touched":         "touch keep; chmod 600 keep; chown 1:1 'a[1].txt'",
		"changed":         "echo changed > keep; echo more > empty; echo 2 > 'a[1].txt'",
		"a pattern":       "rm 'a[1].txt'",
		"emptied":         ": > keep",
		"removed":         "rm -r old; rm a1.txt longfilename1.txt",
		"all removed":     "rm -r *",
		"added below":     "echo new > 'dir [x]/below/new'; mkdir -p 'dir [x]/n[e]w/deep er'; echo d > 'dir [x]/n[e]w/deep er/d'",
		"renamed":         "mv 'A long name with Ünïcödé.conf' short.con; mv EFI/BOOT/BOOTX64.EFI EFI/BOOT/shimx64-with-a-long-name.efi",
		"renamed in case": "mv keep KEEP; mv EFI/BOOT EFI/boot",
		"turned":          "rm -r turn; echo file > turn; rm file; mkdir file; echo in > file/in",
		"short names":     "echo third > longfilename3.txt; rm LONGFI~1.TXT; echo 9 > LONGFI~4.TXT",
		"many":            "mkdir many; i=0; while [ $i -lt 150 ]; do echo $i > many/a-file-with-a-name-of-$i.dtb; i=$((i+1)); done",
		"read-only":       "rm read.me; echo x > read.you",
		"hidden":          "echo h > .hidden",
	}
	if kernelHasVfat(t) { // which has no owners and does not tell capitals from small letters
		delete(tests, "touched")
		delete(tests, "renamed in case")
	}
	for name, commands := range tests {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			noLeaks(t, top)
			image, layout := esp(t, top, "16", content+"; echo r > read.me; echo r > read.you", "UUID=ABCD-1234 /boot/efi vfat defaults 0 1")
			p := layout.Partitions[0]
			mtool(t, image, p, "mattrib", "+r", "::/read.me", "::/read.you")
			before := sumOf(t, image, p)
			m, hidden, err := opened(t, image, "2", Access{})
			require.NoError(t, err)
			require.Empty(t, hidden)
			dir := filepath.Join(m.Root, "boot/efi")
			shell(t, dir, commands)
			want, err := list(t.Context(), dir, false, allContent)
			require.NoError(t, err)
			require.NoError(t, m.WriteBack(t.Context()))
			require.NoError(t, m.WriteBack(t.Context()), "a second time")
			require.NoError(t, m.Unmount())
			unchanged := name == "nothing" || name == "touched"
			assert.Equal(t, unchanged, before == sumOf(t, image, p))
			cleanVfat(t, image, p)
			out := t.TempDir()
			t.Setenv("LC_ALL", "C.UTF-8")
			mtool(t, image, p, "mcopy", "-s", "-n", "::/", out)
			got, err := list(t.Context(), out, false, allContent)
			require.NoError(t, err)
			assert.Equal(t, digests(want), digests(got))
		})
	}
}

// digests are the names in a listing with what they hold.
func digests(l Listing) map[string]string {
	out := map[string]string{}
	for name, item := range l {
		out[name] = item.Mode.Type().String() + item.Digest
	}
	return out
}

// What vfat has no place for is an error, and the file system is as before.
func TestVfatRefuses(t *testing.T) {
	needLoop(t)
	needTools(t, vfatTools...)
	if kernelHasVfat(t) {
		t.Skip("the kernel refuses it by itself")
	}
	top := t.TempDir()
	noLeaks(t, top)
	image, layout := esp(t, top, "16", "echo c > config.txt", "UUID=ABCD-1234 /boot/efi vfat defaults 0 1")
	p := layout.Partitions[0]
	before := sumOf(t, image, p)
	for commands, want := range map[string]string{
		"ln -s config.txt link":             "/link is Lrwxrwxrwx, and vfat holds files and directories only",
		"mkfifo pipe":                       "/pipe is prw",
		"mkdir d; echo x > 'd/a:b'":         `"/d/a:b" cannot be a name on vfat`,
		"echo x > 'end.'":                   `"/end." cannot be a name on vfat`,
		"echo x > 'a\\b'":                   "cannot be a name on vfat",
		"echo x > '😀'":                      "cannot be a name on vfat",
		"echo x > CONFIG.TXT":               "/CONFIG.TXT and /config.txt are the same name on vfat",
		"head -c 60M /dev/zero > large.bin": "Disk full",
	} {
		m, hidden, err := opened(t, image, "2", Access{})
		require.NoError(t, err)
		require.Empty(t, hidden)
		shell(t, filepath.Join(m.Root, "boot/efi"), commands)
		err = m.WriteBack(t.Context())
		require.ErrorContains(t, err, "writing /boot/efi back to partition 1 (vfat", commands)
		require.ErrorContains(t, err, want, commands)
		require.NoError(t, m.Unmount())
		assert.Equal(t, before, sumOf(t, image, p), commands)
	}
}

// Where neither the kernel nor mtools can read it, nothing is known of it.
func TestBootPartitionThatNobodyReads(t *testing.T) {
	needLoop(t)
	if kernelHasVfat(t) {
		t.Skip("this kernel has vfat")
	}
	top := t.TempDir()
	noLeaks(t, top)
	for line, dir := range map[string]string{"UUID=ABCD-1234 /boot/efi vfat defaults 0 1": "/boot/efi", "# no line": "/efi"} {
		image, _ := esp(t, top, "16", "echo c > config.txt", line)
		have := vfatTools
		vfatTools = []Tool{{"a-tool-that-is-not-there", "mtools"}}
		t.Cleanup(func() { vfatTools = have })
		m, hidden, err := opened(t, image, "2", Access{})
		vfatTools = have
		require.NoError(t, err)
		require.Len(t, hidden, 1)
		assert.Equal(t, dir, hidden[0].Dir)
		assert.Contains(t, hidden[0].Why, "this host's kernel has no vfat")
		assert.Contains(t, hidden[0].Why, "apt-get install mtools")
		require.ErrorIs(t, os.WriteFile(filepath.Join(m.Root, dir, "x"), nil, 0o600), unix.EROFS)
		require.NoError(t, m.Unmount())
	}
}

// Names that firmware looks for in any case are shown as they are looked for,
// and written back to the file that has the name.
func TestVfatNamesInAnyCase(t *testing.T) {
	needLoop(t)
	needTools(t, vfatTools...)
	if kernelHasVfat(t) {
		t.Skip("the kernel finds them in any case")
	}
	top := t.TempDir()
	noLeaks(t, top)
	image, layout := esp(t, top, "32", "echo quiet > CMDLINE.TXT; mkdir -p LOADER/ENTRIES; echo options quiet > LOADER/ENTRIES/A.CONF; mkdir efi", "UUID=ABCD-1234 /boot/firmware vfat defaults 0 1")
	m, _, err := opened(t, image, "2", Access{})
	require.NoError(t, err)
	dir := filepath.Join(m.Root, "boot/firmware")
	assert.FileExists(t, filepath.Join(dir, "loader/entries/A.conf"))
	assert.DirExists(t, filepath.Join(dir, "EFI"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cmdline.txt"), []byte("loud\n"), 0o600))
	require.NoError(t, m.WriteBack(t.Context()))
	require.NoError(t, m.Unmount())
	p := layout.Partitions[0]
	cleanVfat(t, image, p)
	assert.Equal(t, "loud\n", mtool(t, image, p, "mtype", "::/CMDLINE.TXT"))
	files := strings.Fields(mtool(t, image, p, "mdir", "-b", "-/", "::/"))
	slices.Sort(files)
	assert.Len(t, files, 5, "%q", files)
}

// Boot loaders read their partitions whether or not fstab lists them.
func TestBootPartitionByType(t *testing.T) {
	needLoop(t)
	needTools(t, vfatTools...)
	for name, tt := range map[string]struct {
		commands string // in the root
		readOnly bool
		lines    []string
		dir      string // where the ESP is shown
		hidden   string // or why not
	}{
		"nowhere yet":          {dir: "/efi"},
		"its usual place":      {commands: "mkdir -p boot/efi", dir: "/boot/efi"},
		"systemd's place":      {commands: "mkdir -p boot/efi efi", dir: "/efi"},
		"only looked at":       {commands: "mkdir -p boot/efi", readOnly: true, dir: "/boot/efi"},
		"no place to look":     {readOnly: true, hidden: "/efi is to show EFI system partition, which fails"},
		"no place":             {commands: "mkdir -p boot/efi efi; touch boot/efi/x efi/x", hidden: "/efi is not empty, and boot loaders read partition 1"},
		"listed, not mounted":  {lines: []string{"UUID=ABCD-1234 /boot/efi vfat noauto 0 1"}, dir: "/boot/efi"},
		"listed for elsewhere": {lines: []string{"UUID=ABCD-1234 /mnt/esp vfat noauto 0 1"}, dir: "/efi", hidden: "/mnt/esp may be mounted over"},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			noLeaks(t, top)
			image, layout := esp(t, top, "16", "mkdir -p loader/entries; echo options quiet > loader/entries/a.conf", tt.lines...)
			if tt.commands != "" {
				format(t, image, layout.Partitions[1], "ext4", "ROOT", plainRoot+"; "+tt.commands)
			}
			m, hidden, err := opened(t, image, "2", Access{ReadOnly: tt.readOnly, Image: tt.readOnly})
			require.NoError(t, err)
			if tt.dir != "" {
				assert.FileExists(t, filepath.Join(m.Root, tt.dir, "loader/entries/a.conf"))
			}
			if tt.hidden == "" {
				assert.Empty(t, hidden)
				return
			}
			require.Len(t, hidden, 1)
			assert.Contains(t, hidden[0].String(), tt.hidden)
		})
	}
}

// What was removed from a boot partition is not in the image any more, and
// what was not is.
func TestVfatTrim(t *testing.T) {
	needLoop(t)
	needTools(t, vfatTools...)
	if kernelHasVfat(t) {
		t.Skip("the kernel trims it")
	}
	const token = "a-token-that-is-removed"
	for _, bits := range []string{"12", "16", "32"} {
		t.Run(bits, func(t *testing.T) {
			top := t.TempDir()
			noLeaks(t, top)
			image, layout := esp(t, top, bits, "i=0; while [ $i -lt 60 ]; do echo kept-$i > kept$i; seq -s "+token+" 3000 > secret$i; i=$((i+1)); done", "UUID=ABCD-1234 /boot/efi vfat defaults 0 1")
			p := layout.Partitions[0]
			count := func() int {
				b, err := os.ReadFile(image)
				require.NoError(t, err)
				return bytes.Count(b, []byte(token))
			}
			before := count()
			mtool(t, image, p, "mdel", "::/secret7", "::/secret40") // gone in the base already
			require.NotZero(t, before)
			require.Equal(t, before, count())
			m, hidden, err := opened(t, image, "2", Access{})
			require.NoError(t, err)
			require.Empty(t, hidden)
			shell(t, filepath.Join(m.Root, "boot/efi"), "rm secret[0-5]*; for f in secret*; do echo short > $f; done; echo new > new")
			require.NoError(t, m.WriteBack(t.Context()))
			untrimmed, err := m.Trim(t.Context())
			require.NoError(t, err)
			assert.Empty(t, untrimmed)
			assert.Zero(t, count())
			require.NoError(t, m.Unmount())
			cleanVfat(t, image, p)
			for i := range 60 {
				assert.Equal(t, fmt.Sprintf("kept-%d\n", i), mtool(t, image, p, "mtype", fmt.Sprintf("::/kept%d", i)))
			}
			assert.Equal(t, "new\n", mtool(t, image, p, "mtype", "::/new"))
		})
	}
}

func FuzzShapeOf(f *testing.F) {
	f.Add(make([]byte, 512), int64(1<<20))
	for _, bits := range []string{"12", "16", "32"} {
		image := newImage(f, f.TempDir(), 40*mib)
		tool(f, "mkfs.vfat", "-F", bits, image)
		b, err := os.ReadFile(image)
		require.NoError(f, err)
		f.Add(b[:512], int64(40*mib))
	}
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if len(b) < 512 {
			return
		}
		s, err := shapeOf(b, size)
		if err != nil {
			return
		}
		assert.LessOrEqual(t, s.data+s.clusters*s.clusterSize, size, "%+v", s)
		assert.LessOrEqual(t, s.table+s.tableSize, size, "%+v", s)
	})
}

// The kernel, too, gives vfat's files the owner and modes that fstab says.
func TestVfatOptions(t *testing.T) {
	for options, want := range map[string]string{
		"defaults":                       "uid=0,gid=0,dmask=0022,fmask=0022",
		"umask=0077,shortname=winnt":     "uid=0,gid=0,dmask=0077,fmask=0077",
		"fmask=0133,uid=1000,gid=5":      "uid=1000,gid=5,dmask=0022,fmask=0133",
		"umask=002,dmask=027,utf8,flush": "uid=0,gid=0,dmask=0027,fmask=0002",
	} {
		d, err := dressOf(mountLine{options: strings.Split(options, ",")})
		require.NoError(t, err)
		assert.Equal(t, want, d.forKernel)
	}
	_, err := dressOf(mountLine{options: []string{"umask=9"}})
	require.ErrorContains(t, err, "option umask=9")
}
