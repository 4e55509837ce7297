package report

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWriteMakesParentsAndEveryFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	require.NoError(t, Write(dir, fixture()))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		info, err := e.Info()
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			assert.Equal(t, os.FileMode(0o644), info.Mode(), e.Name())
		}
		assert.Positive(t, info.Size(), e.Name())
	}
	assert.ElementsMatch(t, Files(), names, "no temporary file is left")
}

func TestWriteIsDeterministicAndReplaces(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, name := range Files() {
		require.NoError(t, os.WriteFile(filepath.Join(b, name), []byte("an older report"), 0o600))
	}
	require.NoError(t, Write(a, fixture()))
	require.NoError(t, Write(b, fixture()))
	entries, err := os.ReadDir(b)
	require.NoError(t, err)
	assert.Len(t, entries, len(Files()), "neither a temporary file nor an older one is left")
	for _, name := range Files() {
		first, err := os.ReadFile(filepath.Join(a, name))
		require.NoError(t, err)
		second, err := os.ReadFile(filepath.Join(b, name))
		require.NoError(t, err)
		assert.Equal(t, string(first), string(second), name)
	}
}

func TestWriteErrorNamesTheOption(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		err := Write(dir, fixture())
		require.ErrorContains(t, err, "report_dir")
		require.ErrorContains(t, err, dir)
	}
}

func TestWriteFaultLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	// A directory in a file's place cannot be renamed over.
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "report.json", "x"), 0o755))
	err := Write(dir, fixture())
	require.ErrorContains(t, err, "report_dir")
	require.ErrorContains(t, err, "report.json")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	assert.ElementsMatch(t, Files(), names, "the temporary file is gone, and the other formats are there")
}

// TestWriteReplacesOnlyWhatIsAtThePlace: neither what a link leads to nor a
// directory is taken for an older report.
func TestWriteReplacesOnlyWhatIsAtThePlace(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "mine")
	require.NoError(t, os.WriteFile(elsewhere, []byte("mine"), 0o600))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(dir, "report.md")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "report.json"), 0o755))
	err := Write(dir, fixture())
	require.ErrorContains(t, err, "report.json")
	info, err := os.Lstat(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	assert.True(t, info.IsDir(), "an empty directory stays too")
	info, err = os.Lstat(filepath.Join(dir, "report.md"))
	require.NoError(t, err)
	assert.True(t, info.Mode().IsRegular())
	kept, err := os.ReadFile(elsewhere)
	require.NoError(t, err)
	assert.Equal(t, "mine", string(kept))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, len(Files()), "no temporary file is left")
}

func TestDocumentationNamesEveryFile(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reports.md"))
	require.NoError(t, err)
	for _, name := range Files() {
		assert.Contains(t, string(page), "`"+name+"`")
	}
}
