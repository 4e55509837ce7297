package disk

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// everything makes a tree with every kind of file that an image can hold.
const everything = `
	mkdir -p etc usr/bin 'a b' empty; chmod 0700 'a b'; chown 3:4 empty; chmod 1777 empty
	echo secret > 'a b/x"y'; chmod 0640 'a b/x"y'; chown 7:8 'a b/x"y'
	echo su > usr/bin/su; chmod 6755 usr/bin/su; ln usr/bin/su usr/bin/sudo
	ln -s target etc/link; ln -s $(printf 'x%.0s' $(seq 200)) etc/long; ln -s /nowhere etc/dead
	touch etc/none etc/été; mkfifo etc/pipe; mknod etc/null c 1 3; mknod etc/loop b 7 0
	truncate -s 5M etc/hole; printf 'a\tb' > etc/tab`

func everyFile(string, int64, time.Time) bool { return true }

func TestListingOfEveryFormat(t *testing.T) {
	needLoop(t)
	top := t.TempDir()
	noLeaks(t, top)
	root := filepath.Join(top, "tree")
	require.NoError(t, os.Mkdir(root, 0o750))
	shell := func(dir, commands string) {
		sh := exec.Command("/bin/sh", "-ec", commands)
		sh.Dir = dir
		out, err := sh.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	shell(root, everything)
	listing, err := List(t.Context(), root, everyFile)
	require.NoError(t, err)
	assert.Len(t, listing, 19)
	held := &Held{Devices: []Device{{Path: "/etc/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Major: 5, Minor: 1}}}

	// make makes the formats from root.
	make := func(t *testing.T) (archive, image string) {
		archive, image = filepath.Join(t.TempDir(), "x.tar"), filepath.Join(t.TempDir(), "x.raw")
		_, err = ArchiveFile(t.Context(), root, archive, held)
		require.NoError(t, err)
		require.NoError(t, MakeExt4(t.Context(), root, image, 96*mib, held, t.TempDir()))
		return archive, image
	}
	check := func(t *testing.T, archive, image string) map[string]error {
		t.Helper()
		layout, err := ReadLayout(image)
		require.NoError(t, err)
		dir := t.TempDir()
		m, err := Mount(t.Context(), image, layout.Partitions[0], dir, Access{Image: true})
		require.NoError(t, err)
		want := Listing{"/lost+found": {Mode: fs.ModeDir | 0o700}, "/etc/console": {Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600}}
		for name, item := range listing {
			want[name] = item
		}
		mounted := want.CheckMounted(t.Context(), m)
		require.NoError(t, m.Unmount())
		return map[string]error{
			"tar":     listing.CheckTar(t.Context(), archive, held),
			"ext4":    listing.CheckExt4(t.Context(), image, held, t.TempDir()),
			"mounted": mounted,
		}
	}
	archive, image := make(t)
	for way, err := range check(t, archive, image) {
		require.NoError(t, err, way)
	}

	for change, tt := range map[string]struct{ undo, want string }{
		"chmod 0644 'a b/x\"y'":       {"chmod 0640 'a b/x\"y'", `/a b/x"y is -rw-r--r-- and was -rw-r-----`},
		"chown 9:9 empty":             {"chown 3:4 empty", "/empty belongs to 9:9 and did to 3:4"},
		"echo SECRET > 'a b/x\"y'":    {"echo secret > 'a b/x\"y'", `/a b/x"y has another content`},
		"echo more >> etc/none":       {": > etc/none", "/etc/none has 5 bytes and had 0"},
		"rm etc/pipe":                 {"mkfifo etc/pipe", "/etc/pipe is missing"},
		"echo x > etc/new":            {"rm etc/new", "/etc/new is there and was not"},
		"rm etc/dead; mkdir etc/dead": {"rmdir etc/dead; ln -s /nowhere etc/dead", "/etc/dead is d"},
		"chmod 0755 'a b'":            {"chmod 0700 'a b'", "/a b is drwxr-xr-x and was drwx------"},
		"ln -sf TARGET etc/link":      {"ln -sf target etc/link", `/etc/link leads to "TARGET" and did to "target"`},
		"ln -sf longtarget etc/link":  {"ln -sf target etc/link", `/etc/link leads to "longtarget"`},
		"chmod 0755 usr/bin/su":       {"chmod 6755 usr/bin/su", "/usr/bin/sudo is -rwxr-xr-x and was ugrwxr-xr-x"},
	} {
		t.Run(change, func(t *testing.T) {
			shell(root, change)
			archive, image := make(t)
			errs := check(t, archive, image)
			shell(root, tt.undo)
			for way, err := range errs {
				switch {
				case way == "ext4" && strings.Contains(change, "etc/link"):
					// Without mounting, what a link holds is not read.
				default:
					require.ErrorIs(t, err, ErrDiffers, way)
					require.ErrorContains(t, err, tt.want, way)
				}
			}
		})
	}
}

// What is written later than Changed was asked has a later change time.
func TestChanged(t *testing.T) {
	before, err := Changed()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Chtimes(file, time.Unix(0, 0), time.Unix(0, 0)))
	_, err = List(t.Context(), filepath.Dir(file), func(name string, _ int64, changed time.Time) bool {
		assert.False(t, changed.Before(before), "%s changed %s, before %s", name, changed, before)
		return false
	})
	require.NoError(t, err)
}

func TestCheckTable(t *testing.T) {
	image := newImage(t, t.TempDir(), 64*mib)
	layout := partitioned(t, image, "label: gpt\nsize=8MiB\ntype=L\n")
	require.NoError(t, CheckTable(image, layout))
	partitioned(t, image, "label: gpt\nsize=9MiB\ntype=L\n")
	require.ErrorIs(t, CheckTable(image, layout), ErrDiffers)
}

// A tar of a disk holds what lies on its further partitions and subvolumes.
func TestArchiveOfSeveralFileSystems(t *testing.T) {
	needLoop(t)
	top := t.TempDir()
	noLeaks(t, top)
	image := newImage(t, top, 64*mib)
	layout := partitioned(t, image, "label: gpt\nsize=24MiB\ntype=L\n")
	format(t, image, layout.Partitions[0], "ext4", "ROOT", plainRoot+`; echo "LABEL=VAR /var ext4" > etc/fstab`)
	format(t, image, layout.Partitions[1], "ext4", "VAR", "mkdir lib; echo var > lib/here")
	m, _, err := opened(t, image, "1", Access{})
	require.NoError(t, err)
	listing, err := m.List(t.Context(), everyFile)
	require.NoError(t, err)
	archive := filepath.Join(top, "x.tar")
	_, err = m.Archive(t.Context(), archive)
	require.NoError(t, err)
	require.NoError(t, listing.CheckTar(t.Context(), archive, nil))
	assert.Equal(t, "var\n", tool(t, "tar", "-xOf", archive, "./var/lib/here"))
	_, err = ArchiveFile(t.Context(), m.Root, archive, nil)
	require.NoError(t, err)
	require.ErrorContains(t, listing.CheckTar(t.Context(), archive, nil), "/var/lib/here is missing")
}
