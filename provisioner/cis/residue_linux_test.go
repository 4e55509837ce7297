package cis

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// everything is all that a file system holds, by path: kind, mode, owner, and what is
// in it or where it leads.
func everything(t *testing.T, tree string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.Walk(tree, func(p string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d", info.Mode(), owner.Uid, owner.Gid)
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %x", sha256.Sum256(data))
		case info.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			text += " -> " + to
		}
		out["/"+strings.TrimPrefix(strings.TrimPrefix(p, tree), "/")] = text
		return nil
	}))
	return out
}

// changedPaths are those that a run says it has changed.
func changedPaths(t *testing.T, log string) []string {
	t.Helper()
	_, list, found := strings.Cut(log, "\nChanged (")
	require.True(t, found, log)
	_, list, _ = strings.Cut(list, "\n")
	var out []string
	for line := range strings.Lines(list) {
		if !strings.HasPrefix(line, "  /") {
			break
		}
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

// Installing, hardening and sealing an image that was built on and ran K3s changes what
// the run says that it changes, and nothing else of the whole file system is another;
// what was removed is gone with all below it.
func TestNoResidue(t *testing.T) {
	tree := built(t, slices.Sorted(maps.Keys(residue))...)
	write(t, tree, "usr/lib/systemd/systemd", string(k3sBinary(t, "amd64")))
	write(t, tree, "usr/bin/find", "find")
	write(t, tree, "etc/hostname", "builder\n")
	write(t, tree, "srv/data/mine", "mine")
	write(t, tree, "usr/local/bin/k3s", string(k3sBinary(t, "amd64"))+"older")
	require.NoError(t, os.Symlink("mine", filepath.Join(tree, "srv/data/link")))
	options := map[string]any{
		"install": map[string]any{
			"binary":        localFile(t, "k3s", k3sBinary(t, "amd64")),
			"airgap_images": []string{localFile(t, "images.tar", imageArchive(t, "amd64", 1<<20, "rancher/mirrored-pause:3.6"))},
		},
		"seal": map[string]any{},
	}
	before := everything(t, tree)
	x := try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	after := everything(t, tree)
	listed := changedPaths(t, x.log)
	gone := func(p string) bool {
		for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
			if _, there := after[dir]; !there && slices.Contains(listed, dir) {
				return true
			}
		}
		return false
	}
	paths := slices.Sorted(maps.Keys(after))
	for p := range before {
		if _, there := after[p]; !there {
			paths = append(paths, p)
		}
	}
	different := 0
	for _, p := range paths {
		if before[p] == after[p] {
			assert.NotContains(t, listed, p, "it is as before")
			continue
		}
		different++
		assert.True(t, slices.Contains(listed, p) || gone(p), "%s is another, and nothing says so: %q, now %q", p, before[p], after[p])
	}
	assert.Greater(t, different, 50)
	assert.Subset(t, paths, listed, "what is listed is there or was")

	x = try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	assert.Contains(t, x.log, "Nothing changed")
	assert.Equal(t, after, everything(t, tree))
}
