//go:build unix

package nodetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// The tests in this file say what reading and changing a node means. They run
// against every kind of target.

// MakeTarget makes the tree at dir of this host the root of a target.
type MakeTarget func(t *testing.T, dir string) node.Target

// NeedRoot skips the test where files cannot be given owners.
func NeedRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: files get owners")
	}
}

// Lay makes a tree from lines such as "file /etc/a 0644 text",
// "dir /etc/b 0700", "link /etc/c target", "fifo /etc/d".
func Lay(t *testing.T, dir string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		f := strings.SplitN(line, " ", 4)
		p := filepath.Join(dir, f[1])
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		switch f[0] {
		case "file":
			text := ""
			if len(f) == 4 {
				text = f[3]
			}
			require.NoError(t, os.WriteFile(p, []byte(text), 0o600))
			require.NoError(t, os.Chmod(p, parseMode(t, f[2])))
		case "dir":
			require.NoError(t, os.MkdirAll(p, 0o755))
			require.NoError(t, os.Chmod(p, parseMode(t, f[2])))
		case "owner":
			uid, gid, _ := strings.Cut(f[2], ":")
			require.NoError(t, exec.Command("chown", "-h", uid+":"+gid, p).Run())
		case "link":
			require.NoError(t, os.Symlink(f[2], p))
		case "fifo":
			require.NoError(t, syscall.Mkfifo(p, 0o600))
		default:
			t.Fatalf("bad line %q", line)
		}
	}
}

func parseMode(t *testing.T, s string) fs.FileMode {
	t.Helper()
	var m uint32
	_, err := fmt.Sscanf(s, "%o", &m)
	require.NoError(t, err)
	mode := fs.FileMode(m & 0o777)
	for bit, special := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= special
		}
	}
	return mode
}

// Snapshot describes a whole tree, one line a path, links not followed; the
// times of files count, those of directories do not.
func Snapshot(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Lstat(p)
		if err != nil {
			return err
		}
		uid, gid := owner(fi)
		line := fmt.Sprintf("%s %v %d:%d", strings.TrimPrefix(p, dir), fi.Mode(), uid, gid)
		switch {
		case fi.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			st := fi.Sys().(*syscall.Stat_t)
			line += fmt.Sprintf(" %x inode=%d mtime=%d", sha256.Sum256(data), st.Ino, fi.ModTime().UnixNano())
		case fi.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		out = append(out, line)
		return nil
	}))
	sort.Strings(out)
	return strings.Join(out, "\n")
}

func owner(fi fs.FileInfo) (uid, gid int) {
	st := fi.Sys().(*syscall.Stat_t)
	return int(st.Uid), int(st.Gid)
}

// Sum is the SHA-256 of s in hexadecimal digits.
func Sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// Reading runs what reading means against one kind of target.
func Reading(t *testing.T, target MakeTarget) {
	NeedRoot(t)
	cases := []struct {
		name  string
		tree  []string
		query node.Query
		want  []node.Entry
		err   string
	}{
		{
			name:  "file with and without content",
			tree:  []string{"file /etc/a 0640 hello", "file /etc/b 0600 secret"},
			query: node.Query{{Path: "/etc/a", Content: true}, {Path: "/etc/b"}, {Path: "/etc/none"}},
			want:  []node.Entry{File("/etc/a", 0o640, "hello"), {Path: "/etc/b", Kind: node.KindFile, Mode: 0o600, Size: 6}},
		},
		{
			name:  "empty file has empty data",
			tree:  []string{"file /etc/a 0600"},
			query: node.Query{{Path: "/etc/a", Content: true}},
			want:  []node.Entry{File("/etc/a", 0o600, "")},
		},
		{
			name:  "special mode bits",
			tree:  []string{"dir /d 0755", "file /d/f 0755 x"},
			query: node.Query{{Path: "/d"}, {Path: "/d/f"}},
			want:  []node.Entry{{Path: "/d", Kind: node.KindDirectory, Mode: 0o755}, {Path: "/d/f", Kind: node.KindFile, Mode: 0o755, Size: 1}},
		},
		{
			name:  "depth",
			tree:  []string{"file /d/a 0644 1", "file /d/s/b 0644 2", "file /d/s/t/c 0644 3"},
			query: node.Query{{Path: "/d", Depth: 2}},
			want: []node.Entry{
				Dir("/d", 0o755),
				{Path: "/d/a", Kind: node.KindFile, Mode: 0o644, Size: 1},
				Dir("/d/s", 0o755),
				{Path: "/d/s/b", Kind: node.KindFile, Mode: 0o644, Size: 1},
				Dir("/d/s/t", 0o755),
			},
		},
		{
			name:  "deep with hidden and odd names",
			tree:  []string{`file /d/.hidden 0644 1`, `file /d/dev-x2d\x2da.swap 0644 2`, "file /d/-n 0644 3", "file /d/s/é.yaml 0644 4", "file /d/s/[*].yaml 0644 5", `file /d/s/"'$HOME.yaml 0644 6`, "file /d/s/..more 0644 7"},
			query: node.Query{{Path: "/d", Depth: node.Deep, Content: true}},
			want: []node.Entry{
				Dir("/d", 0o755), File("/d/-n", 0o644, "3"), File("/d/.hidden", 0o644, "1"), File(`/d/dev-x2d\x2da.swap`, 0o644, "2"),
				Dir("/d/s", 0o755), File("/d/s/\"'$HOME.yaml", 0o644, "6"), File("/d/s/..more", 0o644, "7"), File("/d/s/[*].yaml", 0o644, "5"), File("/d/s/é.yaml", 0o644, "4"),
			},
		},
		{
			name:  "links inside the root",
			tree:  []string{"file /opt/real 0640 data", "link /etc/abs /opt/real", "link /etc/up ../../../../opt/real", "link /etc/dead /nowhere", "link /etc/loop loop"},
			query: node.Query{{Path: "/etc/abs", Content: true}, {Path: "/etc/up", Content: true}, {Path: "/etc/dead", Content: true}, {Path: "/etc/loop"}},
			want: []node.Entry{
				{Path: "/etc/abs", Kind: node.KindFile, Mode: 0o640, Size: 4, Data: []byte("data"), Target: "/opt/real"},
				{Path: "/etc/dead", Kind: node.KindLink, Target: "/nowhere"},
				{Path: "/etc/loop", Kind: node.KindLink, Target: "loop"},
				{Path: "/etc/up", Kind: node.KindFile, Mode: 0o640, Size: 4, Data: []byte("data"), Target: "../../../../opt/real"},
			},
		},
		{
			name:  "links found in a directory, one of them dead",
			tree:  []string{"file /c/a 0640 data", "link /c/dead /nowhere", "link /c/dir /c/sub", "link /c/live a", "file /c/sub/b 0600 b", "link /d/only /nowhere", "link /e/live /c/a"},
			query: node.Query{{Path: "/c", Depth: 1, Content: true}, {Path: "/d", Depth: node.Deep, Content: true}, {Path: "/e", Depth: 2}},
			want: []node.Entry{
				Dir("/c", 0o755), File("/c/a", 0o640, "data"),
				{Path: "/c/dead", Kind: node.KindLink, Target: "/nowhere"},
				{Path: "/c/dir", Kind: node.KindDirectory, Mode: 0o755, Target: "/c/sub"},
				{Path: "/c/live", Kind: node.KindFile, Mode: 0o640, Size: 4, Data: []byte("data"), Target: "a"},
				Dir("/c/sub", 0o755),
				Dir("/d", 0o755),
				{Path: "/d/only", Kind: node.KindLink, Target: "/nowhere"},
				Dir("/e", 0o755),
				{Path: "/e/live", Kind: node.KindFile, Mode: 0o640, Size: 4, Target: "/c/a"},
			},
		},
		{
			name:  "one directory under two names",
			tree:  []string{"file /opt/r/d/a 0640 data", "link /opt/r/d/dead /nowhere", "link /opt/r/d/live a", "dir /opt/r/d/sub 0755", "link /r opt/r"},
			query: node.Query{{Path: "/opt/r/d", Depth: 1}, {Path: "/r/d", Depth: 1}, {Path: "/r/d/a", Content: true}},
			want: []node.Entry{
				Dir("/opt/r/d", 0o755),
				{Path: "/opt/r/d/a", Kind: node.KindFile, Mode: 0o640, Size: 4},
				{Path: "/opt/r/d/dead", Kind: node.KindLink, Target: "/nowhere"},
				{Path: "/opt/r/d/live", Kind: node.KindFile, Mode: 0o640, Size: 4, Target: "a"},
				Dir("/opt/r/d/sub", 0o755),
				Dir("/r/d", 0o755), File("/r/d/a", 0o640, "data"),
				{Path: "/r/d/dead", Kind: node.KindLink, Target: "/nowhere"},
				{Path: "/r/d/live", Kind: node.KindFile, Mode: 0o640, Size: 4, Target: "a"},
				Dir("/r/d/sub", 0o755),
			},
		},
		{
			name: "one tree under two names, with what its files hold",
			tree: []string{"file /opt/lib/u/a.service 0644 A", "file /opt/lib/u/a.service.d/x.conf 0600 X", "file /opt/lib/u/a.service.d/deep/y 0600 Y", "link /opt/lib/u/b.service a.service", "link /opt/lib/u/dead /none", "link /two opt/lib"},
			query: node.Query{
				{Path: "/opt/lib/u", Depth: 2, Content: true},
				{Path: "/two/u", Depth: 2, Content: true},
				{Path: "/two/u/a.service"},
				{Path: "/opt/lib/u/a.service.d", Depth: node.Deep, Content: true},
				{Path: "/two/u/a.service.d", Depth: node.Deep},
			},
			want: []node.Entry{
				Dir("/opt/lib/u", 0o755), File("/opt/lib/u/a.service", 0o644, "A"), Dir("/opt/lib/u/a.service.d", 0o755), Dir("/opt/lib/u/a.service.d/deep", 0o755),
				File("/opt/lib/u/a.service.d/deep/y", 0o600, "Y"), File("/opt/lib/u/a.service.d/x.conf", 0o600, "X"),
				{Path: "/opt/lib/u/b.service", Kind: node.KindFile, Mode: 0o644, Size: 1, Data: []byte("A"), Target: "a.service"},
				{Path: "/opt/lib/u/dead", Kind: node.KindLink, Target: "/none"},
				Dir("/two/u", 0o755), File("/two/u/a.service", 0o644, "A"), Dir("/two/u/a.service.d", 0o755), Dir("/two/u/a.service.d/deep", 0o755),
				{Path: "/two/u/a.service.d/deep/y", Kind: node.KindFile, Mode: 0o600, Size: 1},
				File("/two/u/a.service.d/x.conf", 0o600, "X"),
				{Path: "/two/u/b.service", Kind: node.KindFile, Mode: 0o644, Size: 1, Data: []byte("A"), Target: "a.service"},
				{Path: "/two/u/dead", Kind: node.KindLink, Target: "/none"},
			},
		},
		{
			name:  "one whole tree under two names",
			tree:  []string{"file /opt/r/a 0640 A", "file /opt/r/s/t/b 0600 B", "link /r opt/r"},
			query: node.Query{{Path: "/opt/r", Depth: node.Deep, Content: true}, {Path: "/r/s", Depth: node.Deep, Content: true}, {Path: "/opt/r/s", Depth: node.Deep, Content: true}},
			want: []node.Entry{
				Dir("/opt/r", 0o755), File("/opt/r/a", 0o640, "A"), Dir("/opt/r/s", 0o755), Dir("/opt/r/s/t", 0o755), File("/opt/r/s/t/b", 0o600, "B"),
				Dir("/r/s", 0o755), Dir("/r/s/t", 0o755), File("/r/s/t/b", 0o600, "B"),
			},
		},
		{
			name:  "directory behind links",
			tree:  []string{"file /opt/conf/a.conf 0644 1", "link /etc/conf.d /opt/conf", "link /libs usrlib/lib", "file /usrlib/lib/x/y 0644 2"},
			query: node.Query{{Path: "/etc/conf.d", Depth: 1, Content: true}, {Path: "/libs/x", Depth: node.Deep}},
			want: []node.Entry{
				{Path: "/etc/conf.d", Kind: node.KindDirectory, Mode: 0o755, Target: "/opt/conf"},
				File("/etc/conf.d/a.conf", 0o644, "1"),
				Dir("/libs/x", 0o755),
				{Path: "/libs/x/y", Kind: node.KindFile, Mode: 0o644, Size: 1},
			},
		},
		{
			name:  "a linked directory that a walk meets and another pick follows",
			tree:  []string{"file /c/a 0600 a", "link /c/d ../opt/d", "link /c/e ../opt/d", "file /opt/d/s/b 0600 b"},
			query: node.Query{{Path: "/c", Depth: node.Deep, Content: true}, {Path: "/c/d", Depth: node.Deep, Content: true}, {Path: "/c/e", Depth: 1, Content: true}},
			want: []node.Entry{
				Dir("/c", 0o755), File("/c/a", 0o600, "a"),
				{Path: "/c/d", Kind: node.KindDirectory, Mode: 0o755, Target: "../opt/d"},
				Dir("/c/d/s", 0o755), File("/c/d/s/b", 0o600, "b"),
				{Path: "/c/e", Kind: node.KindDirectory, Mode: 0o755, Target: "../opt/d", Unread: node.UnreadLink},
				Dir("/c/e/s", 0o755),
			},
		},
		{
			name:  "linked directories are not walked into",
			tree:  []string{"link /d/up ..", "dir /d/s 0755", "link /d/s/self .", "link /d/s/file ../../f", "file /f 0644 x"},
			query: node.Query{{Path: "/d", Depth: node.Deep}},
			want: []node.Entry{
				Dir("/d", 0o755), Dir("/d/s", 0o755),
				{Path: "/d/s/file", Kind: node.KindFile, Mode: 0o644, Size: 1, Target: "../../f"},
				{Path: "/d/s/self", Kind: node.KindDirectory, Mode: 0o755, Target: ".", Unread: node.UnreadLink},
				{Path: "/d/up", Kind: node.KindDirectory, Mode: 0o755, Target: "..", Unread: node.UnreadLink},
			},
		},
		{
			name:  "several paths below a link that leads nowhere",
			tree:  []string{"link /etc/rancher /mnt/data", "dir /etc/no 0755"},
			query: node.Query{{Path: "/etc/no/a/b"}, {Path: "/etc/rancher/k3s/a"}, {Path: "/etc/rancher/k3s/b"}, {Path: "/etc/no/a/c"}},
			want: []node.Entry{
				{Path: "/etc/rancher/k3s/a", Kind: node.KindLink, Target: "/mnt/data", Unread: node.UnreadDead("/etc/rancher")},
				{Path: "/etc/rancher/k3s/b", Kind: node.KindLink, Target: "/mnt/data", Unread: node.UnreadDead("/etc/rancher")},
			},
		},
		{
			name:  "a parent that leads nowhere is no absence",
			tree:  []string{"link /etc/rancher /mnt/data"},
			query: node.Query{{Path: "/etc/rancher/k3s/config.yaml", Content: true}},
			want:  []node.Entry{{Path: "/etc/rancher/k3s/config.yaml", Kind: node.KindLink, Target: "/mnt/data", Unread: node.UnreadDead("/etc/rancher")}},
		},
		{
			name:  "a parent that is a file",
			tree:  []string{"file /etc/rancher 0644 x"},
			query: node.Query{{Path: "/etc/rancher/k3s", Depth: node.Deep}},
		},
		{
			name:  "pipes are not opened",
			tree:  []string{"fifo /d/p", "link /d/l p"},
			query: node.Query{{Path: "/d", Depth: 1, Content: true}},
			want: []node.Entry{
				Dir("/d", 0o755), {Path: "/d/l", Kind: node.KindOther, Mode: 0o600, Target: "p"}, {Path: "/d/p", Kind: node.KindOther, Mode: 0o600},
			},
		},
		{
			name:  "names that no report can show",
			tree:  []string{"file /d/a\nb 0644 1", "file /d/c\xff 0644 2", "file /d/ok 0644 3", "file /d/t\tx 0644 4"},
			query: node.Query{{Path: "/d", Depth: node.Deep, Content: true}},
			want:  []node.Entry{{Path: "/d", Kind: node.KindDirectory, Mode: 0o755, Unread: node.UnreadName}, File("/d/ok", 0o644, "3")},
		},
		{
			name:  "one path asked twice",
			tree:  []string{"file /d/a 0644 1"},
			query: node.Query{{Path: "/d/a", Content: true}, {Path: "/d", Depth: 1}},
			want:  []node.Entry{Dir("/d", 0o755), File("/d/a", 0o644, "1")},
		},
		{
			name:  "hard links",
			tree:  []string{"file /d/a 0644 same"},
			query: node.Query{{Path: "/d", Depth: 1, Content: true}},
			want:  []node.Entry{Dir("/d", 0o755), File("/d/a", 0o644, "same"), File("/d/b", 0o644, "same")},
		},
		{name: "path that is not clean", query: node.Query{{Path: "/etc/../a"}, {Path: "b"}}, err: `path "b" is not absolute`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			at := target(t, dir)
			Lay(t, dir, c.tree...)
			if c.name == "hard links" {
				require.NoError(t, os.Link(filepath.Join(dir, "d/a"), filepath.Join(dir, "d/b")))
			}
			before := Snapshot(t, dir)
			n, err := at.Read(context.Background(), c.query)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			if c.want == nil {
				c.want = []node.Entry{}
			}
			assert.Equal(t, c.want, n.Entries())
			assert.Nil(t, n.Kernel)
			assert.Equal(t, before, Snapshot(t, dir), "reading changes nothing")
		})
	}
}

// Limits runs what happens to a tree that is too large.
func Limits(t *testing.T, target MakeTarget) {
	NeedRoot(t)
	t.Run("large file", func(t *testing.T) {
		dir := t.TempDir()
		Lay(t, dir, "file /a 0644", "file /b 0644")
		require.NoError(t, os.Truncate(filepath.Join(dir, "a"), 1<<30))
		require.NoError(t, os.Truncate(filepath.Join(dir, "b"), node.MaxFileSize))
		n, err := target(t, dir).Read(context.Background(), node.Query{{Path: "/a", Content: true}, {Path: "/b", Content: true}})
		require.NoError(t, err)
		a, _ := n.Lookup("/a")
		assert.Equal(t, node.Entry{Path: "/a", Kind: node.KindFile, Mode: 0o644, Size: 1 << 30, Unread: node.UnreadLarge}, a)
		b, _ := n.Lookup("/b")
		assert.Empty(t, b.Unread)
		assert.Len(t, b.Data, node.MaxFileSize)
	})
	t.Run("too many entries", func(t *testing.T) {
		dir := t.TempDir()
		Lay(t, dir, "dir /t 0755")
		for i := range node.MaxEntries + 1 {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "t", fmt.Sprint(i)), nil, 0o600))
		}
		_, err := target(t, dir).Read(context.Background(), node.Query{{Path: "/t", Depth: node.Deep, Content: true}})
		require.ErrorContains(t, err, "more than 20000 entries")
	})
	t.Run("too many levels", func(t *testing.T) {
		dir := t.TempDir()
		last := strings.Repeat("/d", node.MaxDepth)
		Lay(t, dir, "file /t"+last+"/f 0600", "link /t"+last[2:]+"/link /", "dir /t"+last+last+" 0755")
		n, err := target(t, dir).Read(context.Background(), node.Query{{Path: "/t", Depth: node.Deep, Content: true}})
		require.NoError(t, err)
		above, _ := n.Lookup("/t" + last[2:])
		assert.Empty(t, above.Unread)
		deep, _ := n.Lookup("/t" + last)
		assert.Equal(t, node.UnreadDeep, deep.Unread)
		link, _ := n.Lookup("/t" + last[2:] + "/link")
		assert.Equal(t, node.UnreadLink, link.Unread)
		_, presence := n.Lookup("/t" + last + "/f")
		assert.Equal(t, node.Unknown, presence)
		assert.Len(t, n.Entries(), node.MaxDepth+2)
	})
	t.Run("too much content", func(t *testing.T) {
		dir := t.TempDir()
		Lay(t, dir, "dir /t 0755")
		for i := range node.MaxTotalSize/node.MaxFileSize + 1 {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "t", fmt.Sprint(i)), bytes.Repeat([]byte("x"), node.MaxFileSize), 0o600))
		}
		_, err := target(t, dir).Read(context.Background(), node.Query{{Path: "/t", Depth: node.Deep, Content: true}})
		require.ErrorContains(t, err, "more than 64 MiB of content")
	})
}
