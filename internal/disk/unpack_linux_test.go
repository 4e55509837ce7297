package disk

import (
	"archive/tar"
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var past = time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)

// capability is a real security.capability value: cap_net_raw=ep.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func directory(name string, mode int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode, ModTime: past}
}

func file(name string, mode int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, ModTime: past}
}

func link(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, ModTime: past}
}

func hardLink(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target, ModTime: past}
}

func device(name string, major, minor int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: major, Devminor: minor, ModTime: past}
}

func owned(h tar.Header, uid, gid int) tar.Header {
	h.Uid, h.Gid = uid, gid
	return h
}

func withAttribute(h tar.Header, name, value string) tar.Header {
	h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{xattrRecord + name: value}
	return h
}

// wholeTree has one of everything that a root file system has.
func wholeTree() []tar.Header {
	return []tar.Header{
		directory("./", 0o755),
		directory("./etc/", 0o755),
		owned(file("./etc/shadow", 0o640), 0, 42),
		directory("./usr/bin/", 0o755),
		owned(file("./usr/bin/passwd", 0o4755), 0, 0),
		owned(file("./usr/bin/wall", 0o2755), 0, 5),
		withAttribute(file("./usr/bin/ping", 0o755), "security.capability", capability),
		hardLink("./usr/bin/ping6", "./usr/bin/ping"),
		link("./bin", "usr/bin"),
		file("./bin/sh", 0o755), // through the link
		link("./etc/absolute", "/usr/bin"),
		directory("./tmp/", 0o1777),
		owned(directory("./home/user/", 0o700), 1000, 1000),
		owned(link("./home/user/link", "nowhere"), 1000, 1001),
		device("./dev/null", 1, 3),
		{Name: "./dev/disk", Typeflag: tar.TypeBlock, Mode: 0o660, Gid: 6, Devmajor: 8, Devminor: 1, ModTime: past},
		{Name: "./run/pipe", Typeflag: tar.TypeFifo, Mode: 0o600, ModTime: past},
	}
}

// listing describes a tree, one line a path: mode, owner, links, device
// numbers, time, name, target, content and attributes.
func listing(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(dir, func(host string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		out = append(out, describe(t, dir, host))
		return nil
	}))
	sort.Strings(out)
	return out
}

func describe(t testing.TB, dir, host string) string {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(host, &st))
	info, err := os.Lstat(host)
	require.NoError(t, err)
	parts := []string{
		"/" + strings.TrimPrefix(strings.TrimPrefix(host, dir), "/"),
		info.Mode().String(), num(st.Uid) + ":" + num(st.Gid),
	}
	if !info.IsDir() {
		parts = append(parts, "links "+num(st.Nlink))
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(host)
		require.NoError(t, err)
		parts = append(parts, "-> "+target)
	case info.Mode()&fs.ModeDevice != 0:
		parts = append(parts, num(unix.Major(st.Rdev))+","+num(unix.Minor(st.Rdev)))
	case info.Mode().IsRegular():
		b, err := os.ReadFile(host)
		require.NoError(t, err)
		parts = append(parts, "="+string(b))
	}
	attributes, err := attributesOf(host)
	require.NoError(t, err)
	for name := range attributes {
		parts = append(parts, "with "+name)
	}
	return strings.Join(append(parts, info.ModTime().UTC().Format(time.DateTime)), " ")
}

func num[N uint32 | uint64](n N) string { return octalless(uint64(n)) }

func octalless(n uint64) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return octalless(n/10) + octalless(n%10)
}

func unpackInto(t testing.TB, archive []byte) (string, *Held, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	require.NoError(t, os.Mkdir(dir, 0o755))
	held, err := Unpack(t.Context(), bytes.NewReader(archive), dir)
	return dir, held, err
}

func TestUnpack(t *testing.T) {
	needRoot(t)
	dir, held, err := unpackInto(t, tarOf(t, wholeTree()...))
	require.NoError(t, err)
	assert.True(t, held.Empty(), held)
	when := past.Format(time.DateTime)
	got := listing(t, dir)
	want := []string{
		"/etc drwxr-xr-x 0:0 " + when,
		"/etc/absolute Lrwxrwxrwx 0:0 links 1 -> /usr/bin " + when,
		"/etc/shadow -rw-r----- 0:42 links 1 =./etc/shadow " + when,
		"/bin Lrwxrwxrwx 0:0 links 1 -> usr/bin " + when,
		"/usr/bin drwxr-xr-x 0:0 " + when,
		"/usr/bin/sh -rwxr-xr-x 0:0 links 1 =./bin/sh " + when,
		"/usr/bin/passwd urwxr-xr-x 0:0 links 1 =./usr/bin/passwd " + when,
		"/usr/bin/wall grwxr-xr-x 0:5 links 1 =./usr/bin/wall " + when,
		"/usr/bin/ping -rwxr-xr-x 0:0 links 2 =./usr/bin/ping with security.capability " + when,
		"/usr/bin/ping6 -rwxr-xr-x 0:0 links 2 =./usr/bin/ping with security.capability " + when,
		"/tmp dtrwxrwxrwx 0:0 " + when,
		"/home/user drwx------ 1000:1000 " + when,
		"/home/user/link Lrwxrwxrwx 1000:1001 links 1 -> nowhere " + when,
		"/dev/null Dcrw-rw-rw- 0:0 links 1 1,3 " + when,
		"/dev/disk Drw-rw---- 0:6 links 1 8,1 " + when,
		"/run/pipe prw------- 0:0 links 1 " + when,
	}
	for _, line := range want {
		assert.Contains(t, got, line)
	}
}

func TestUnpackLastEntryCounts(t *testing.T) {
	needRoot(t)
	dir, _, err := unpackInto(t, tarOf(t,
		link("etc", "/somewhere"), directory("etc", 0o755), file("etc/a", 0o600),
		file("b", 0o600), link("b", "etc/a"), file("etc/a", 0o644),
	))
	require.NoError(t, err)
	info, err := os.Lstat(filepath.Join(dir, "etc"))
	require.NoError(t, err)
	assert.True(t, info.IsDir())
	info, err = os.Lstat(filepath.Join(dir, "etc/a"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o644), info.Mode())
	target, err := os.Readlink(filepath.Join(dir, "b"))
	require.NoError(t, err)
	assert.Equal(t, "etc/a", target)
}

func TestUnpackRefuses(t *testing.T) {
	needRoot(t)
	whole := tarOf(t, file("a", 0o644), file("b", 0o644))
	tests := map[string]struct {
		archive []byte
		wantErr string
	}{
		"parent in a name":           {tarOf(t, file("../evil", 0o644)), `name "../evil" leads out of the tree`},
		"parent inside a name":       {tarOf(t, file("a/../../evil", 0o644)), "leads out of the tree"},
		"hard link out":              {tarOf(t, hardLink("a", "../../secret")), "leads out of the tree"},
		"hard link to nothing":       {tarOf(t, hardLink("a", "b")), `hard link to "b"`},
		"file as the root":           {tarOf(t, file(".", 0o644)), "is the root of the tree but no directory"},
		"file below a file":          {tarOf(t, file("a", 0o644), file("a/b", 0o644)), "not a directory"},
		"file in place of directory": {tarOf(t, file("a/b", 0o644), file("a", 0o644)), "directory not empty"},
		"unknown type":               {tarOf(t, tar.Header{Name: "a", Typeflag: 'M'}), "unknown type"},
		"empty":                      {tarOf(t), "archive is empty"},
		"cut off in a file":          {whole[:512+100], "archive is cut off after 1 entries"},
		"cut off between files":      {whole[:1024], "archive is cut off after 1 entries"},
		"no archive":                 {bytes.Repeat([]byte("x"), 2048), "invalid tar header"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := unpackInto(t, tt.archive)
			require.ErrorContains(t, err, tt.wantErr)
		})
	}
}

// Links that lead out of the tree are followed inside it, as in a chroot.
func TestUnpackStaysInside(t *testing.T) {
	needRoot(t)
	outside := t.TempDir()
	for name, entries := range map[string][]tar.Header{
		"absolute link":  {link("out", outside), file("out/file", 0o644)},
		"relative link":  {link("out", "../../../../../../../.."+outside), file("out/file", 0o644)},
		"chain of links": {link("a", outside), link("b", "a"), link("c", "../b"), file("c/file", 0o644)},
		"link in the middle of a hard link": {
			link("out", outside), file("x", 0o644), hardLink("out/file", "x"),
		},
		"file through a final link": {link("file", outside+"/file"), file("file", 0o644)},
		"absolute name":             {file(outside+"/file", 0o644)},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _, err := unpackInto(t, tarOf(t, entries...))
			require.NoError(t, err)
			left, err := os.ReadDir(outside)
			require.NoError(t, err)
			assert.Empty(t, left, "written outside of %s", dir)
		})
	}
}

func TestUnpackFileCompressed(t *testing.T) {
	needRoot(t)
	archive := tarOf(t, wholeTree()...)
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		t.Run(string(c), func(t *testing.T) {
			packed := pack(t, c, archive)
			path := filepath.Join(t.TempDir(), "base")
			require.NoError(t, os.WriteFile(path, packed, 0o600))
			dir := t.TempDir()
			_, err := UnpackFile(t.Context(), path, dir, nil)
			require.NoError(t, err)
			assert.FileExists(t, filepath.Join(dir, "etc/shadow"))
			if c == None {
				return
			}
			// The compressed stream's end is looked at, too.
			require.NoError(t, os.WriteFile(path, packed[:len(packed)-3], 0o600))
			_, err = UnpackFile(t.Context(), path, t.TempDir(), nil)
			require.Error(t, err, "cut off by three bytes")
		})
	}
}

func TestUnpackCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Unpack(ctx, bytes.NewReader(tarOf(t, file("a", 0o644))), t.TempDir())
	require.ErrorIs(t, err, context.Canceled)
}

// fuzzArchive makes an archive of a script: a line holds an entry's type, its
// name and, for links, their target.
func fuzzArchive(t testing.TB, script string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, line := range strings.Split(script, "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		name, target, _ := strings.Cut(rest, " ")
		if kind == "" || w.WriteHeader(&tar.Header{Typeflag: kind[0], Name: name, Linkname: target, Mode: 0o755}) != nil {
			return nil
		}
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// No archive writes or changes anything outside of the tree.
func FuzzUnpack(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root")
	}
	for _, script := range []string{
		"5 a\n0 a/b\n2 c a\n0 c/d\n1 e a/b",
		"2 out /outside\n0 out/x\n0 out/b",
		"2 a ../../outside\n0 x\n1 a/x x\n0 ../x\n1 y a/b",
		"2 a ..\n2 b a/..\n5 b/outside\n2 b/outside/b x",
		"6 a\n3 b\n4 c\n0 .\n5 /",
	} {
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script string) {
		archive := fuzzArchive(t, script)
		if archive == nil {
			return
		}
		top := t.TempDir()
		dir, outside := filepath.Join(top, "root"), filepath.Join(top, "outside")
		require.NoError(t, os.Mkdir(dir, 0o755))
		require.NoError(t, os.Mkdir(outside, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(outside, "b"), []byte("secret"), 0o600))
		before := listing(t, outside)
		_, err := Unpack(t.Context(), bytes.NewReader(archive), dir)
		assert.Equal(t, before, listing(t, outside), "unpacking wrote outside")
		entries, rerr := os.ReadDir(top)
		require.NoError(t, rerr)
		assert.Len(t, entries, 2, "unpacking wrote beside the tree")
		if err != nil {
			return
		}
		// What could be unpacked can be packed.
		_, err = Archive(t.Context(), &bytes.Buffer{}, dir, nil)
		assert.NoError(t, err)
	})
}
