package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A build that was killed is found by its entry, and one that is alive, or that
// has taken a dead one's place, is left alone.
func TestLedger(t *testing.T) {
	needRoot(t)
	ledger := Ledger(filepath.Join(t.TempDir(), "lib", "ledger"))
	elsewhere := t.TempDir()
	// begin makes what a build makes, and returns what ends it as a kill does.
	begin := func(name string) (work, out, image string, kill func()) {
		t.Helper()
		entry, err := ledger.Begin()
		require.NoError(t, err)
		work, workLock, err := NewWorkDirectory(elsewhere, "work-", entry)
		require.NoError(t, err)
		out = filepath.Join(elsewhere, name+" \"out\"\n")
		require.NoError(t, entry.Directory(out))
		if err := os.Mkdir(out, 0o755); err != nil {
			require.ErrorIs(t, err, os.ErrExist)
		}
		image = filepath.Join(out, ".node.partial")
		imageLock, err := NewImage(image, entry)
		require.NoError(t, err)
		return work, out, image, func() {
			for _, f := range []*os.File{workLock, imageLock, entry.file} {
				require.NoError(t, f.Close())
			}
		}
	}
	exists := func(paths ...string) {
		t.Helper()
		for _, path := range paths {
			_, err := os.Lstat(path)
			require.NoError(t, err)
		}
	}

	aliveWork, aliveOut, aliveImage, endAlive := begin("alive")
	deadWork, deadOut, deadImage, kill := begin("dead")
	require.NoError(t, os.WriteFile(ChecksumFiles(deadImage)[0], nil, 0o600))
	kill()
	replacedWork, replacedOut, _, kill := begin("replaced")
	kill()
	newWork, _, newImage, endNew := begin("replaced")
	publishedWork, publishedOut, publishedImage, kill := begin("published")
	published := filepath.Join(publishedOut, "node.raw")
	require.NoError(t, os.Rename(publishedImage, published))
	require.NoError(t, os.WriteFile(ChecksumFiles(publishedImage)[0], nil, 0o600))
	kill()

	removed, err := ledger.Reclaim()
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{deadWork, deadOut, deadImage, replacedWork, publishedWork, publishedImage}, removed)
	exists(aliveWork, aliveOut, aliveImage, newWork, replacedOut, newImage, published)
	for _, dir := range []string{publishedOut, replacedOut, aliveOut} {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Len(t, entries, 1, dir)
	}
	left, err := os.ReadDir(string(ledger))
	require.NoError(t, err)
	assert.Len(t, left, 2, "an entry for each of the living")

	endAlive()
	endNew()
	removed, err = ledger.Reclaim()
	require.NoError(t, err)
	assert.Len(t, removed, 6)
	left, err = os.ReadDir(string(ledger))
	require.NoError(t, err)
	assert.Empty(t, left)
	left, err = os.ReadDir(elsewhere)
	require.NoError(t, err)
	require.Len(t, left, 1, "the published image's directory")
}

// What was listed but never made, or listed in half, is no obstacle.
func TestLedgerOfLittle(t *testing.T) {
	needRoot(t)
	ledger := Ledger(t.TempDir())
	dir := t.TempDir()
	work := filepath.Join(dir, "work-x")
	require.NoError(t, os.Mkdir(work, 0o700), "killed before it had a lock")
	entry, err := ledger.Begin()
	require.NoError(t, err)
	for what, path := range map[string]string{listedWork: work, listedImage: filepath.Join(dir, "none"), listedDirectory: filepath.Join(dir, "no"), "more": dir} {
		require.NoError(t, entry.list(what, path))
	}
	_, err = entry.file.WriteString(`work "` + dir)
	require.NoError(t, err)
	require.NoError(t, entry.file.Close())
	removed, err := ledger.Reclaim()
	require.NoError(t, err)
	assert.Equal(t, []string{work}, removed)
	left, err := os.ReadDir(string(ledger))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// An entry outlives its build while something of that is left.
func TestEntryClose(t *testing.T) {
	needRoot(t)
	ledger := Ledger(t.TempDir())
	for _, left := range []bool{true, false} {
		entry, err := ledger.Begin()
		require.NoError(t, err)
		work, lock, err := NewWorkDirectory(t.TempDir(), "work-", entry)
		require.NoError(t, err)
		require.NoError(t, lock.Close())
		if !left {
			require.NoError(t, os.RemoveAll(work))
		}
		require.NoError(t, entry.Close())
		removed, err := ledger.Reclaim()
		require.NoError(t, err)
		assert.Equal(t, left, len(removed) == 1, removed)
	}
	var none *Entry
	require.NoError(t, none.Directory("/x"))
	require.NoError(t, none.Close())
}

// A ledger that others can write to would have root remove what they like.
func TestLedgerIsRoots(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err := Ledger(dir).Begin()
	require.ErrorContains(t, err, "only root can write to")
	_, err = Ledger(dir).Reclaim()
	require.ErrorContains(t, err, "only root can write to")
}

// The kernel lists mounts by their real paths; see mountsBelow.
func TestWorkDirectoryThroughLink(t *testing.T) {
	needRoot(t)
	place, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(place, link))
	dir, lock, err := NewWorkDirectory(link, "work-", nil)
	require.NoError(t, err)
	assert.Equal(t, place, filepath.Dir(dir))
	require.NoError(t, lock.Close())
	removed, err := Reclaim(link, "work-")
	require.NoError(t, err)
	assert.Equal(t, []string{dir}, removed)
}
