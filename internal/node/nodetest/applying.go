//go:build unix

package nodetest

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// applyCase is one change and what comes of it.
type applyCase struct {
	name    string
	tree    []string
	change  node.Change
	changed []string
	// want maps paths of the tree to content afterwards.
	want  map[string]string
	modes map[string]fs.FileMode
	stale bool
	err   string
}

func applyCases() []applyCase {
	hardened := []node.Entry{
		File("/etc/sysctl.d/90-kubelet.conf", 0o600, "vm.overcommit_memory=1\n"),
		File("/etc/rancher/k3s/config.yaml", 0o600, "protect-kernel-defaults: true\n"),
		Dir("/var/lib/rancher/k3s/server", 0o700),
		Dir("/var/lib/rancher/k3s/server/logs", 0o700),
	}
	return []applyCase{
		{
			name:   "from nothing",
			tree:   []string{"dir /etc 0755", "dir /var 0755"},
			change: node.Change{Write: hardened},
			changed: []string{
				"/etc/rancher", "/etc/rancher/k3s", "/etc/rancher/k3s/config.yaml", "/etc/sysctl.d", "/etc/sysctl.d/90-kubelet.conf",
				"/var/lib", "/var/lib/rancher", "/var/lib/rancher/k3s", "/var/lib/rancher/k3s/server", "/var/lib/rancher/k3s/server/logs",
			},
			want:  map[string]string{"/etc/rancher/k3s/config.yaml": "protect-kernel-defaults: true\n", "/etc/sysctl.d/90-kubelet.conf": "vm.overcommit_memory=1\n"},
			modes: map[string]fs.FileMode{"/etc/rancher": 0o755, "/etc/rancher/k3s/config.yaml": 0o600, "/var/lib/rancher/k3s/server/logs": 0o700},
		},
		{
			name:    "replaces and keeps a copy",
			tree:    []string{"file /etc/rancher/k3s/config.yaml 0640 token: x"},
			change:  node.Change{Write: hardened[1:2], Keep: map[string]string{"/etc/rancher/k3s/config.yaml": "/etc/rancher/k3s/config.yaml.orig"}},
			changed: []string{"/etc/rancher/k3s/config.yaml", "/etc/rancher/k3s/config.yaml.orig"},
			want:    map[string]string{"/etc/rancher/k3s/config.yaml": "protect-kernel-defaults: true\n", "/etc/rancher/k3s/config.yaml.orig": "token: x"},
			modes:   map[string]fs.FileMode{"/etc/rancher/k3s/config.yaml": 0o600, "/etc/rancher/k3s/config.yaml.orig": 0o600},
		},
		{
			name:    "a copy that exists stays",
			tree:    []string{"file /c/a 0640 new", "file /c/a.orig 0600 first"},
			change:  node.Change{Write: []node.Entry{File("/c/a", 0o600, "x")}, Keep: map[string]string{"/c/a": "/c/a.orig"}},
			changed: []string{"/c/a"},
			want:    map[string]string{"/c/a": "x", "/c/a.orig": "first"},
		},
		{
			name:    "a copy is nothing to run",
			tree:    []string{"file /c/a 0755 new", "file /c/b 0500 old"},
			change:  node.Change{Write: []node.Entry{File("/c/a", 0o600, "x"), File("/c/b", 0o600, "x")}, Keep: map[string]string{"/c/a": "/c/a.orig", "/c/b": "/c/b.orig"}},
			changed: []string{"/c/a", "/c/a.orig", "/c/b", "/c/b.orig"},
			want:    map[string]string{"/c/a": "x", "/c/a.orig": "new", "/c/b.orig": "old"},
			modes:   map[string]fs.FileMode{"/c/a.orig": 0o600, "/c/b.orig": 0o400},
		},
		{
			name:    "a copy is root's",
			tree:    []string{"file /c/a 0640 new", "owner /c/a 12:34"},
			change:  node.Change{Write: []node.Entry{File("/c/a", 0o600, "x")}, Keep: map[string]string{"/c/a": "/c/a.orig"}},
			changed: []string{"/c/a", "/c/a.orig"},
			want:    map[string]string{"/c/a": "x", "/c/a.orig": "new"},
			modes:   map[string]fs.FileMode{"/c/a.orig": 0o600},
		},
		{
			name:    "below a directory that passes its group on",
			tree:    []string{"dir /c/g 02775", "owner /c/g 12:34"},
			change:  node.Change{Write: []node.Entry{File("/c/g/new/sub/a", 0o600, "x"), Dir("/c/g/d", 0o700)}},
			changed: []string{"/c/g/d", "/c/g/new", "/c/g/new/sub", "/c/g/new/sub/a"},
			modes:   map[string]fs.FileMode{"/c/g/new": 0o755, "/c/g/new/sub": 0o755, "/c/g/d": 0o700},
		},
		{
			name:    "mode alone",
			tree:    []string{"file /c/a 0644 x", "dir /c/d 0755"},
			change:  node.Change{Write: []node.Entry{File("/c/a", 0o600, "x"), Dir("/c/d", 0o700|fs.ModeSticky)}, Keep: map[string]string{"/c/a": "/c/a.orig"}},
			changed: []string{"/c/a", "/c/d"},
			want:    map[string]string{"/c/a": "x"},
			modes:   map[string]fs.FileMode{"/c/a": 0o600, "/c/d": 0o700 | fs.ModeSticky},
		},
		{
			name: "modes of files whose content stays",
			tree: []string{"file /c/a 0644 x", "file /c/it's$x 0644 y", "file /c/narrow 0400 z", "dir /d 0755", "link /e d", "file /d/b 2755 b"},
			change: node.Change{Write: []node.Entry{File("/c/new", 0o644, "n")}, Modes: map[string]fs.FileMode{
				"/c/a": 0o600, "/c/it's$x": 0o600, "/c/narrow": 0o400, "/c/none": 0o600, "/none/at/all": 0o600, "/e/b": 0o600,
			}},
			changed: []string{"/c/a", "/c/it's$x", "/c/new", "/e/b"},
			want:    map[string]string{"/c/a": "x", "/c/it's$x": "y", "/c/narrow": "z", "/d/b": "b"},
			modes:   map[string]fs.FileMode{"/c/a": 0o600, "/c/it's$x": 0o600, "/c/narrow": 0o400, "/c/new": 0o644, "/d/b": 0o600},
		},
		{
			name:    "modes alone",
			tree:    []string{"file /c/a 0644 x", "file /c/b 0640 y"},
			change:  node.Change{Modes: map[string]fs.FileMode{"/c/a": 0o600, "/c/b": 0o640}},
			changed: []string{"/c/a"},
			want:    map[string]string{"/c/a": "x"},
			modes:   map[string]fs.FileMode{"/c/a": 0o600, "/c/b": 0o640},
		},
		{
			name:   "the mode of a link",
			tree:   []string{"file /c/a 0644 x", "link /c/l a", "dir /etc 0755"},
			change: node.Change{Write: []node.Entry{File("/etc/x", 0o644, "x")}, Modes: map[string]fs.FileMode{"/c/l": 0o600}},
			err:    "/c/l: it is there already and is not a regular file",
		},
		{
			name:   "a mode of what is written, through a link",
			tree:   []string{"file /c/a 0644 x", "link /d c"},
			change: node.Change{Write: []node.Entry{File("/c/a", 0o644, "y")}, Modes: map[string]fs.FileMode{"/d/a": 0o600}},
			err:    "through a symbolic link",
		},
		{
			name:   "a mode and another",
			tree:   []string{"file /c/a 0644 x"},
			change: node.Change{Write: []node.Entry{File("/c/a", 0o644, "y")}, Modes: map[string]fs.FileMode{"/c/a": 0o600}},
			err:    `path "/c/a" is to be a file and given a mode`,
		},
		{
			name: "owner and special bits",
			tree: []string{"file /c/a 0644 x"},
			change: node.Change{Write: []node.Entry{
				{Path: "/c/a", Kind: node.KindFile, Mode: 0o755 | fs.ModeSetuid, UID: 12, GID: 34, Data: []byte("x")},
				{Path: "/c/g", Kind: node.KindDirectory, Mode: 0o775 | fs.ModeSetgid, UID: 1, GID: 2},
			}},
			changed: []string{"/c/a", "/c/g"},
			want:    map[string]string{"/c/a": "x"},
			modes:   map[string]fs.FileMode{"/c/a": 0o755 | fs.ModeSetuid, "/c/g": 0o775 | fs.ModeSetgid},
		},
		{
			name:    "removes files and links",
			tree:    []string{"file /c/a 0644 x", "link /c/l a", "link /c/dead gone", "file /c/stays 0644 y"},
			change:  node.Change{Remove: []string{"/c/a", "/c/l", "/c/dead", "/c/none", "/none/at/all"}, Keep: map[string]string{"/c/a": "/c/a.orig"}},
			changed: []string{"/c/a", "/c/a.orig", "/c/dead", "/c/l"},
			want:    map[string]string{"/c/stays": "y", "/c/a.orig": "x"},
		},
		{
			name: "removes all below",
			tree: []string{
				"file /c/k/a 0644 x", "file /c/k/sub/deep/b 0000 y", "dir /c/k/none 0000", "link /c/k/out /c/stays", "fifo /c/k/p", "owner /c/k/sub 12:34",
				"file /c/f 0400 x", "link /c/l stays", "link /c/dead gone", "file /c/stays/a 0644 y", "file /c/kk 0644 z",
			},
			change:  node.Change{RemoveAll: []string{"/c/k", "/c/f", "/c/l", "/c/dead", "/c/none", "/none/at/all", "/c/kk/not/a/directory"}, Write: []node.Entry{File("/c/new", 0o600, "n")}},
			changed: []string{"/c/dead", "/c/f", "/c/k", "/c/l", "/c/new"},
			want:    map[string]string{"/c/stays/a": "y", "/c/kk": "z", "/c/new": "n"},
		},
		{
			name: "removes all below odd names",
			tree: []string{
				"file /c/a\\b'c\"d$e*/-x 0644 x", "file /c/a\\b'c\"d$e*/é/\n 0644 x", "file /c/stays 0644 y",
			},
			change:  node.Change{RemoveAll: []string{"/c/a\\b'c\"d$e*"}},
			changed: []string{"/c/a\\b'c\"d$e*"},
			want:    map[string]string{"/c/stays": "y"},
		},
		{
			name:    "removes all below two names of one directory, through a link to its parent",
			tree:    []string{"file /data/k3s/db/a 0644 x", "file /data/k3s/stays 0644 y", "link /c/k3s ../data/k3s"},
			change:  node.Change{RemoveAll: []string{"/c/k3s/db", "/data/k3s/db"}},
			changed: []string{"/c/k3s/db"},
			want:    map[string]string{"/data/k3s/stays": "y"},
		},
		{
			name:   "what is written lies in what is removed, through a link",
			tree:   []string{"dir /data/db 0755", "link /c/db ../data/db", "dir /etc 0755"},
			change: node.Change{RemoveAll: []string{"/data/db"}, Write: []node.Entry{File("/c/db/a", 0o600, "x")}},
			err:    "/data/db",
		},
		{
			name: "makes links",
			tree: []string{"file /c/bin/k3s 0755 k", "link /c/bin/there k3s", "dir /c/g 02775", "owner /c/g 12:34"},
			change: node.Change{
				Write: []node.Entry{File("/c/unit/k3s.service", 0o644, "u")},
				Links: map[string]string{
					"/c/bin/kubectl": "k3s", "/c/bin/there": "k3s", "/c/unit/wants/k3s.service": "../k3s.service", "/c/g/dead": "/no where/'$x'", `/c/a b'c"d$e\f*/-x`: "é",
				},
			},
			changed: []string{`/c/a b'c"d$e\f*`, `/c/a b'c"d$e\f*/-x`, "/c/bin/kubectl", "/c/g/dead", "/c/unit", "/c/unit/k3s.service", "/c/unit/wants", "/c/unit/wants/k3s.service"},
			want:    map[string]string{"/c/bin/kubectl": "k", "/c/unit/wants/k3s.service": "u"},
		},
		{
			name:   "a link in the place of another",
			tree:   []string{"file /c/bin/k3s 0755 k", "link /c/bin/kubectl kubectl-1.2"},
			change: node.Change{Write: []node.Entry{File("/c/a", 0o600, "x")}, Links: map[string]string{"/c/bin/kubectl": "k3s", "/c/bin/ctr": "k3s"}},
			err:    "/c/bin/kubectl: it is there already and is not a symbolic link to k3s",
		},
		{
			name:   "a link in the place of a file",
			tree:   []string{"file /c/bin/kubectl 0755 k"},
			change: node.Change{Links: map[string]string{"/c/bin/kubectl": "k3s"}},
			err:    "/c/bin/kubectl: it is there already and is not a symbolic link to k3s",
		},
		{
			name:   "a link in a directory that is none",
			tree:   []string{"file /c/bin 0755 k"},
			change: node.Change{Links: map[string]string{"/c/bin/kubectl": "k3s"}},
			err:    "/c/bin",
		},
		{
			name:    "through links inside the root",
			tree:    []string{"dir /data/k3s 0755", "link /etc/rancher /data", "file /data/real 0644 old", "link /etc/f ../../../data/real"},
			change:  node.Change{Write: []node.Entry{File("/etc/rancher/k3s/sub/config.yaml", 0o600, "a"), File("/etc/f", 0o600, "b")}},
			changed: []string{"/etc/f", "/etc/rancher/k3s/sub", "/etc/rancher/k3s/sub/config.yaml"},
			want:    map[string]string{"/data/k3s/sub/config.yaml": "a", "/data/real": "b"},
		},
		{
			name:    "odd names and bytes",
			tree:    []string{"dir /c 0755"},
			change:  node.Change{Write: []node.Entry{File(`/c/a b'c"d$e\f*`, 0o600, "a\x00b\nc"), File("/c/é", 0o600, ""), File("/c/-x", 0o640, "\n")}},
			changed: []string{"/c/-x", `/c/a b'c"d$e\f*`, "/c/é"},
			want:    map[string]string{`/c/a b'c"d$e\f*`: "a\x00b\nc", "/c/é": "", "/c/-x": "\n"},
		},
		{
			name: "odd names of new directories",
			tree: []string{"dir /c 0755"},
			change: node.Change{Write: []node.Entry{
				File(`/c/a b'c"d$e\f*/-x/é`, 0o600, "x"), {Path: `/c/a b'c"d$e\f*/g`, Kind: node.KindDirectory, Mode: 0o775 | fs.ModeSetgid, UID: 1, GID: 2},
			}},
			changed: []string{`/c/a b'c"d$e\f*`, `/c/a b'c"d$e\f*/-x`, `/c/a b'c"d$e\f*/-x/é`, `/c/a b'c"d$e\f*/g`},
			want:    map[string]string{`/c/a b'c"d$e\f*/-x/é`: "x"},
			modes:   map[string]fs.FileMode{`/c/a b'c"d$e\f*`: 0o755, `/c/a b'c"d$e\f*/-x`: 0o755, `/c/a b'c"d$e\f*/g`: 0o775 | fs.ModeSetgid},
		},
		{
			name: "copies in new directories",
			tree: []string{"file /c/a 0644 one", "file /c/b 0644 two"},
			change: node.Change{
				Write: []node.Entry{File("/c/a", 0o600, "A"), File("/c/b", 0o600, "B"), File("/c/new/sub/d", 0o640, "D")},
				Keep:  map[string]string{"/c/a": "/c/new/a.orig", "/c/b": "/c/kept/deep/b.orig"},
			},
			changed: []string{"/c/a", "/c/b", "/c/kept", "/c/kept/deep", "/c/kept/deep/b.orig", "/c/new", "/c/new/a.orig", "/c/new/sub", "/c/new/sub/d"},
			want:    map[string]string{"/c/a": "A", "/c/b": "B", "/c/new/sub/d": "D", "/c/new/a.orig": "one", "/c/kept/deep/b.orig": "two"},
			modes:   map[string]fs.FileMode{"/c/kept": 0o755, "/c/kept/deep": 0o755, "/c/new": 0o755, "/c/new/a.orig": 0o600, "/c/kept/deep/b.orig": 0o600},
		},
		{
			name: "a copy in a directory that is new with its files",
			tree: []string{"file /c/a 0644 one"},
			change: node.Change{
				Write: []node.Entry{File("/c/a", 0o600, "A"), File("/c/new/sub/d", 0o640, "D")},
				Keep:  map[string]string{"/c/a": "/c/new/sub/a.orig"},
			},
			changed: []string{"/c/a", "/c/new", "/c/new/sub", "/c/new/sub/a.orig", "/c/new/sub/d"},
			want:    map[string]string{"/c/a": "A", "/c/new/sub/d": "D", "/c/new/sub/a.orig": "one"},
			modes:   map[string]fs.FileMode{"/c/new/sub": 0o755, "/c/new/sub/a.orig": 0o600},
		},
		{
			name:    "nothing to do",
			tree:    []string{"file /c/a 0600 x", "dir /c/d 0700", "file /c/b 0600 y"},
			change:  node.Change{Write: []node.Entry{File("/c/a", 0o600, "x"), Dir("/c/d", 0o700)}, Keep: map[string]string{"/c/a": "/c/a.orig"}, Remove: []string{"/c/z"}},
			changed: nil,
			want:    map[string]string{"/c/a": "x"},
		},
		{
			name: "assumptions hold",
			tree: []string{"file /c/a 0644 one", "file /c/d/x.yaml 0644 two", "file /c/d/readme 0644 -", "dir /c/d/dir.yaml 0755"},
			change: node.Change{Write: []node.Entry{File("/c/new", 0o600, "n")}, Preconditions: []node.Precondition{
				{Path: "/c/a", Either: []string{Sum("other"), Sum("one")}},
				{Path: "/c/none", Either: []string{""}},
				{Path: "/c/d", Children: true, Suffixes: []string{".yaml", ".yml"}},
				{Path: "/c/d/x.yaml", Either: []string{Sum("two")}},
				{Path: "/no/dir", Children: true, Suffixes: []string{".yaml"}},
			}},
			changed: []string{"/c/new"},
			want:    map[string]string{"/c/new": "n"},
		},
		{
			name:   "assumed bytes differ",
			tree:   []string{"file /c/a 0644 one"},
			change: node.Change{Write: []node.Entry{File("/c/new", 0o600, "n")}, Preconditions: []node.Precondition{{Path: "/c/a", Either: []string{"", Sum("two")}}}},
			stale:  true,
		},
		{
			name:   "assumed absent and there",
			tree:   []string{"file /c/a 0644 one"},
			change: node.Change{Write: []node.Entry{File("/c/new", 0o600, "n")}, Preconditions: []node.Precondition{{Path: "/c/a", Either: []string{""}}}},
			stale:  true,
		},
		{
			name:   "assumed there and absent",
			tree:   []string{"dir /c 0755"},
			change: node.Change{Write: []node.Entry{File("/c/new", 0o600, "n")}, Preconditions: []node.Precondition{{Path: "/c/a", Either: []string{Sum("one")}}}},
			stale:  true,
		},
		{
			name:   "a child that nobody planned for",
			tree:   []string{"file /c/d/x.yaml 0644 two", "file /c/d/y.yml 0644 three"},
			change: node.Change{Write: []node.Entry{File("/c/new", 0o600, "n")}, Preconditions: []node.Precondition{{Path: "/c/d", Children: true, Suffixes: []string{".yaml", ".yml"}}, {Path: "/c/d/x.yaml", Either: []string{Sum("two")}}}},
			stale:  true,
		},
		{
			name:   "a dead link in the way",
			tree:   []string{"link /etc/rancher /mnt/data", "dir /c 0755"},
			change: node.Change{Write: []node.Entry{File("/c/a", 0o600, "x"), File("/etc/rancher/k3s/config.yaml", 0o600, "x")}},
			err:    "/etc/rancher is a symbolic link to /mnt/data, which leads nowhere",
		},
		{
			name:   "a masked file",
			tree:   []string{"fifo /null", "link /etc/sysctl.d/90-kubelet.conf /null"},
			change: node.Change{Write: hardened},
			err:    "/etc/sysctl.d/90-kubelet.conf: it is there already and is not a regular file",
		},
		{
			name:   "a directory in the way",
			tree:   []string{"dir /etc/rancher/k3s/config.yaml 0755"},
			change: node.Change{Write: hardened},
			err:    "/etc/rancher/k3s/config.yaml: it is there already and is not a regular file",
		},
		{
			name:   "a file in the way",
			tree:   []string{"file /var/lib/rancher 0644 x", "dir /etc 0755"},
			change: node.Change{Write: hardened},
			err:    "/var/lib/rancher",
		},
		{
			name:   "two names of one file",
			tree:   []string{"file /c/a 0644 x", "link /c/b a"},
			change: node.Change{Write: []node.Entry{File("/c/a", 0o600, "1"), File("/c/b", 0o600, "2")}},
			err:    "through a symbolic link",
		},
		{
			name:   "a directory to be removed",
			tree:   []string{"dir /c/a 0755", "dir /d 0755"},
			change: node.Change{Write: []node.Entry{File("/d/a", 0o600, "1")}, Remove: []string{"/c/a"}},
			err:    "/c/a: it is a directory, and only files are removed",
		},
		{
			name:   "a change that contradicts itself",
			tree:   []string{"dir /c 0755"},
			change: node.Change{Write: []node.Entry{File("/c/a", 0o600, "1"), File("/c/a/b", 0o600, "1")}, Remove: []string{"/c/a"}, Kernel: map[string]string{"vm/../x": "1"}},
			err:    `path "/c/a" is to be a file and removed`,
		},
	}
}

// Applying runs what changing a node means against one kind of target.
func Applying(t *testing.T, target MakeTarget) {
	NeedRoot(t)
	for _, c := range applyCases() {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			at := target(t, dir)
			Lay(t, dir, c.tree...)
			before := Snapshot(t, dir)
			q := node.Query{{Path: "/c", Depth: node.Deep, Content: true}, {Path: "/etc", Depth: node.Deep, Content: true}}
			ctx := context.Background()
			out, err := at.Apply(ctx, c.change, q)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				assert.Nil(t, out)
				assert.Equal(t, before, Snapshot(t, dir), "the tree is as before")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.stale, out.Stale)
			assert.Equal(t, c.changed, out.Changed)
			assert.Empty(t, out.KernelSet)
			assert.NotEmpty(t, out.Way)
			fresh, err := at.Read(ctx, q)
			require.NoError(t, err)
			assert.Equal(t, fresh.Entries(), out.Node.Entries(), "what was read back is what is there")
			for p, text := range c.want {
				data, err := os.ReadFile(filepath.Join(dir, p))
				require.NoError(t, err)
				assert.Equal(t, text, string(data), p)
			}
			for _, p := range slices.Concat(c.change.Remove, c.change.RemoveAll) {
				_, err := os.Lstat(filepath.Join(dir, p))
				assert.Error(t, err, p)
			}
			for p, to := range c.change.Links {
				found, err := os.Readlink(filepath.Join(dir, p))
				require.NoError(t, err)
				assert.Equal(t, to, found, p)
				fi, err := os.Lstat(filepath.Join(dir, p))
				require.NoError(t, err)
				uid, gid := owner(fi)
				assert.Equal(t, [2]int{0, 0}, [2]int{uid, gid}, p)
			}
			for p, mode := range c.modes {
				fi, err := os.Stat(filepath.Join(dir, p))
				require.NoError(t, err)
				assert.Equal(t, mode, fi.Mode()&node.ModeBits, p)
			}
			if c.stale {
				assert.Equal(t, before, Snapshot(t, dir), "the tree is as before")
				return
			}
			owned := slices.Clone(c.change.Write)
			for _, p := range c.change.Keep {
				owned = append(owned, node.Entry{Path: p}) // root's
			}
			for _, e := range owned {
				fi, err := os.Stat(filepath.Join(dir, e.Path))
				if err == nil { // a path behind an absolute link is not to be had from here
					uid, gid := owner(fi)
					assert.Equal(t, [2]int{e.UID, e.GID}, [2]int{uid, gid}, e.Path)
				}
			}
			after := Snapshot(t, dir)
			assert.NotContains(t, after, node.StagingPrefix)
			again := c.change
			again.Preconditions = nil
			out, err = at.Apply(ctx, again, q)
			require.NoError(t, err)
			assert.Empty(t, out.Changed, "the second time nothing is different")
			assert.Equal(t, after, Snapshot(t, dir), "the second time no file is touched")
		})
	}
}
