package remote

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

// strictMove stands before mv in the search path and refuses to move from one
// mount to another, which mv would do by copying: there can be no link.
const strictMove = `#!/usr/bin/dash
for to do :; done
[ -d "$to" ] || to=${to%/*}
for f do
	case $f in -f) continue ;; esac
	[ -d "$f" ] && probe=$f/.probe && : >"$probe" || probe=$f
	[ "$f" -ef "$to" ] || { ln "$probe" "$to/.probe" && rm "$to/.probe"; } || exit 9
	[ "$probe" = "$f" ] || rm "$probe"
done
echo "$*" >>/kill/moved
exec /usr/bin/mv "$@"
`

// TestOtherFileSystems changes files on mounts of several kinds: each is
// staged on its own file system, so that it is renamed and never copied.
func TestOtherFileSystems(t *testing.T) {
	for name, c := range map[string]struct {
		enter string
		here  bool // files can be renamed from the request's own directory
	}{
		"one file system":       {"", true},
		"another one":           {"mount -t tmpfs tmpfs c; mkdir c/d; printf old >c/a", false},
		"a part of the same":    {"mount --bind tmp/part c/d", false},
		"the request elsewhere": {"mkdir -p run; mount -t tmpfs tmpfs var/lib", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			comm := newChroot(t, dir, "dash")
			nodetest.Lay(t, dir, "file /kill/mv 0755 "+strictMove, "file /c/a 0644 old", "dir /c/d 0755",
				"dir /tmp/part 0755", "dir /var/lib 0755")
			comm.enter = "PATH=/kill:$PATH; export PATH; " + c.enter
			q := node.Query{{Path: "/c", Depth: node.Deep, Content: true}}
			out, err := New(comm, Options{}).Apply(context.Background(), node.Change{
				Write: []node.Entry{nodetest.File("/c/a", 0o600, "A"), nodetest.File("/c/d/b", 0o640, "B"), nodetest.File("/c/d/new/sub/e", 0o644, "E")},
				Keep:  map[string]string{"/c/a": "/c/a.orig"},
			}, q)
			require.NoError(t, err)
			for at, want := range map[string]string{"/c/a": "A", "/c/a.orig": "old", "/c/d/b": "B", "/c/d/new/sub/e": "E"} {
				e, presence := out.Node.Lookup(at)
				require.Equal(t, node.Present, presence, at)
				assert.Equal(t, want, string(e.Data), at)
			}
			for _, e := range out.Node.Entries() {
				assert.NotContains(t, e.Path, node.StagingPrefix)
			}
			moved, err := os.ReadFile(filepath.Join(dir, "kill", "moved"))
			require.NoError(t, err, "files were moved")
			if c.here {
				assert.Contains(t, string(moved), "/w/c/d/new /c/d/", "a new directory from the request's own, with all that it holds")
				assert.NotContains(t, string(moved), "/w/c/d/new/sub/e")
			} else {
				assert.Contains(t, string(moved), "/e /c/d/new/sub/")
			}
		})
	}
}

// slowTools stand before the real ones in the search path: files are moved late,
// one cannot be removed, and what is staged goes last of all.
var slowTools = []string{
	"file /kill/mv 0755 #!/bin/sh\nsleep 0.5\nexec /usr/bin/mv \"$@\"\n",
	"file /kill/rm 0755 #!/bin/sh\ncase \"$*\" in\n*/z/gone*) echo refused >&2; exit 1 ;;\n*-rf*) sleep 1 ;;\nesac\nexec /usr/bin/rm \"$@\"\n",
}

// TestSlowMove has a removal refused while files are being moved to other
// directories: nothing is put back before they have come to rest.
func TestSlowMove(t *testing.T) {
	for _, flavor := range []string{"dash", "bash"} { // busybox has tools of its own
		t.Run(flavor, func(t *testing.T) {
			dir := t.TempDir()
			comm := newChroot(t, dir, flavor)
			nodetest.Lay(t, dir, nodetest.FaultTree...)
			nodetest.Lay(t, dir, slowTools...)
			comm.enter = "PATH=/kill:$PATH; export PATH"
			before := nodetest.Snapshot(t, dir)
			_, err := New(comm, Options{}).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
			require.ErrorContains(t, err, "cannot change /z: refused")
			assert.Equal(t, before, nodetest.Snapshot(t, dir))
		})
	}
}

// What a caller's shell has of its own reads the questions: a pattern in one of
// them would end it where failglob is set.
func TestQuestionsHoldNoPattern(t *testing.T) {
	before, _, _ := strings.Cut((&job{dirs: []jobDir{{Entry: node.Entry{Path: "/etc"}}}}).questions(), "set -f")
	assert.NotRegexp(t, `[*?[]`, before)
}
