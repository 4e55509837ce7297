package perf

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

const (
	release    = "v1.36.3+k3s1"
	cisRelease = "cis-2.1"
)

// work is what every way has to do: the plan of a server without options,
// parents included, in an order in which it can be done.
type work struct{ files, dirs []node.Entry }

func newWork(t testing.TB) work {
	t.Helper()
	r, err := k3s.ParseRelease(release)
	require.NoError(t, err)
	plan, err := harden.Make(harden.Options{Release: r, Role: k3s.Server, Benchmark: cisRelease}, nil)
	require.NoError(t, err)
	var w work
	dirs := map[string]node.Entry{}
	for _, e := range plan.Change.Write {
		if e.Kind == node.KindDirectory {
			dirs[e.Path] = e
		} else {
			w.files = append(w.files, e)
		}
	}
	for _, e := range plan.Change.Write {
		for dir := path.Dir(e.Path); len(dir) > len("/var/lib"); dir = path.Dir(dir) {
			if _, ok := dirs[dir]; !ok {
				dirs[dir] = node.Entry{Path: dir, Kind: node.KindDirectory, Mode: 0o755}
			}
		}
	}
	for _, dir := range dirs {
		w.dirs = append(w.dirs, dir)
	}
	slices.SortFunc(w.dirs, func(a, b node.Entry) int { return cmp.Compare(a.Path, b.Path) })
	return w
}

// source is where file number i lies on this host.
func source(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("file-%d", i)) }

// write puts the files into a directory of this host.
func (w work) write(t testing.TB, dir string) {
	t.Helper()
	for i, e := range w.files {
		require.NoError(t, os.WriteFile(source(dir, i), e.Data, 0o600))
	}
}

// done compares a machine with the work.
func (w work) done(m *sshtest.Machine) error {
	for _, e := range append(slices.Clone(w.dirs), w.files...) {
		info, err := os.Stat(m.Path(e.Path))
		if err != nil {
			return err
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok || info.Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != e.Mode || int(owner.Uid) != e.UID || int(owner.Gid) != e.GID {
			return fmt.Errorf("%s is %s, not %s of %d:%d", e.Path, info.Mode(), e.Mode, e.UID, e.GID)
		}
		if e.Kind != node.KindFile {
			continue
		}
		data, err := os.ReadFile(m.Path(e.Path))
		if err != nil {
			return err
		}
		if !bytes.Equal(data, e.Data) {
			return fmt.Errorf("%s does not hold what it should", e.Path)
		}
	}
	return nil
}
