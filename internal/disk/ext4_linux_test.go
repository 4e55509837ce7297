package disk

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func needTools(t testing.TB, tools ...Tool) {
	t.Helper()
	if err := Missing(tools...); err != nil {
		t.Skip(err)
	}
}

// inspect asks debugfs about an ext4 image.
func inspect(t testing.TB, image, question string) string {
	t.Helper()
	debugfs, err := Debugfs.Find()
	require.NoError(t, err)
	out, err := exec.Command(debugfs, "-R", question, image).Output()
	require.NoError(t, err)
	return string(out)
}

func blocksOf(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Stat(path, &st))
	return st.Blocks * 512
}

func TestMakeExt4(t *testing.T) {
	needRoot(t)
	needTools(t, Mke2fs, Debugfs, E2fsck)
	dir, held, err := unpackInto(t, tarOf(t, wholeTree()...))
	require.NoError(t, err)
	require.NoError(t, os.Chown(dir, 7, 8))
	require.NoError(t, os.Chmod(dir, 0o711))
	odd := filepath.Join(dir, `a "quoted" name`)
	require.NoError(t, os.WriteFile(odd, []byte("x"), 0o600))
	image := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, MakeExt4(t.Context(), dir, image, 200*mib, held, t.TempDir()))

	info, err := os.Stat(image)
	require.NoError(t, err)
	assert.EqualValues(t, 200*mib, info.Size())
	assert.Less(t, blocksOf(t, image), int64(50*mib), "the image is not sparse")
	for question, want := range map[string][]string{
		"stat /":                  {"Mode:  0711", "User:     7   Group:     8"},
		"stat /usr/bin/passwd":    {"Mode:  04755"},
		"stat /usr/bin/wall":      {"Mode:  02755", "Group:     5"},
		"stat /usr/bin/ping6":     {"Links: 2"},
		"stat /tmp":               {"Mode:  01777"},
		"stat /home/user/link":    {"Type: symlink", "User:  1000   Group:  1001", `Fast link dest: "nowhere"`},
		"stat /dev/null":          {"Type: character special    Mode:  0666", "01:03"},
		"stat /run/pipe":          {"Type: FIFO"},
		"cat /etc/shadow":         {"./etc/shadow"},
		"ea_list /usr/bin/ping":   {"security.capability (20)"},
		`ls -p /`:                 {`/100600/0/0/a "quoted" name/1/`},
		"stats -h":                {"has_journal", "metadata_csum"},
		"stat /usr/bin/../../etc": {"mtime: 0x5e379bf2"},
	} {
		got := inspect(t, image, question)
		for _, w := range want {
			assert.Contains(t, got, w, question)
		}
	}
	assert.NotContains(t, inspect(t, image, "stats -h"), "orphan_file", "a feature that old kernels do not know")
}

// A host that has no device nodes in the tree, but in held, with odd names.
func TestMakeExt4QuotesHeld(t *testing.T) {
	needRoot(t)
	needTools(t, Mke2fs, Debugfs, E2fsck)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "my dev"), 0o755))
	held := &Held{Devices: []Device{{Path: `/my dev/a "b"`, Mode: os.ModeDevice | os.ModeCharDevice | 0o600, Major: 5, Minor: 1, ModTime: past}}}
	image := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, MakeExt4(t.Context(), dir, image, 64*mib, held, t.TempDir()))
	assert.Contains(t, inspect(t, image, `ls -p "/my dev"`), `/020600/0/0/a "b"/`)

	held.Devices[0].Path = "/my dev/a\nrm"
	err := MakeExt4(t.Context(), dir, image, 64*mib, held, t.TempDir())
	require.ErrorContains(t, err, "control characters")
}

func TestMakeExt4TooSmall(t *testing.T) {
	needTools(t, Mke2fs, Debugfs, E2fsck)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "big"), bytes.Repeat([]byte("x"), 40*mib), 0o600))
	err := MakeExt4(t.Context(), dir, filepath.Join(t.TempDir(), "disk.raw"), 24*mib, nil, t.TempDir())
	require.ErrorContains(t, err, "mke2fs")
}

// Least must be enough for trees of all shapes, or an image that should have
// fitted fails, and no more than a fifth too much where it matters.
func TestLeastIsEnough(t *testing.T) {
	needTools(t, Mke2fs, Debugfs, E2fsck)
	shapes := map[string]func(dir string){
		"empty": func(string) {},
		"many small files": func(dir string) {
			for i := range 20_000 {
				if i%500 == 0 {
					require.NoError(t, os.Mkdir(filepath.Join(dir, "d"+num(uint64(i/500))), 0o755))
				}
				require.NoError(t, os.WriteFile(filepath.Join(dir, "d"+num(uint64(i/500)), num(uint64(i))), []byte("x"), 0o644))
			}
		},
		"one large file": func(dir string) {
			b := make([]byte, 300*mib)
			for i := range b {
				b[i] = byte(i * 7)
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, "big"), b, 0o644))
		},
	}
	for name, fill := range shapes {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(dir)
			usage, err := Measure(dir)
			require.NoError(t, err)
			image := filepath.Join(t.TempDir(), "disk.raw")
			require.NoError(t, MakeExt4(t.Context(), dir, image, usage.Least(), nil, t.TempDir()))
			assert.Greater(t, usage.Comfortable(), usage.Least()+minimumMargin-mib)
		})
	}
}
