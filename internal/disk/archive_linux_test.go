package disk

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// membersOf reads the headers of an archive by name.
func membersOf(t testing.TB, archive []byte) map[string]tar.Header {
	t.Helper()
	out := map[string]tar.Header{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		require.NotContains(t, out, h.Name, "twice in the archive")
		out[h.Name] = *h
	}
}

func TestArchiveRoundTrip(t *testing.T) {
	needRoot(t)
	first, held, err := unpackInto(t, tarOf(t, wholeTree()...))
	require.NoError(t, err)
	var archive bytes.Buffer
	sockets, err := Archive(t.Context(), &archive, first, held)
	require.NoError(t, err)
	assert.Zero(t, sockets)
	second, _, err := unpackInto(t, archive.Bytes())
	require.NoError(t, err)
	assert.Equal(t, listing(t, first), listing(t, second))

	var again bytes.Buffer
	_, err = Archive(t.Context(), &again, second, nil)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(archive.Bytes(), again.Bytes()), "the same tree gives another archive")
}

func TestArchiveHasNoNames(t *testing.T) {
	needRoot(t)
	dir, _, err := unpackInto(t, tarOf(t, wholeTree()...))
	require.NoError(t, err)
	var archive bytes.Buffer
	_, err = Archive(t.Context(), &archive, dir, nil)
	require.NoError(t, err)
	var names []string
	for name, h := range membersOf(t, archive.Bytes()) {
		assert.Empty(t, h.Uname+h.Gname, name)
		names = append(names, name)
	}
	slices.Sort(names)
	assert.Equal(t, "./", names[0])
}

func TestArchiveLeavesSocketsOut(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	require.NoError(t, err)
	defer l.Close()
	var archive bytes.Buffer
	sockets, err := Archive(t.Context(), &archive, dir, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, sockets)
	assert.NotContains(t, membersOf(t, archive.Bytes()), "./socket")
}

func TestArchiveFileReportsWriteErrors(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), make([]byte, 1<<20), 0o600))
	_, err := ArchiveFile(t.Context(), dir, "/dev/full", nil)
	require.ErrorContains(t, err, "no space left")
}

func TestExtractFileKeepsHolesAndContent(t *testing.T) {
	content := make([]byte, 3*chunkSize+777)
	copy(content[chunkSize+5000:], "middle")
	copy(content[len(content)-3:], "end")
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		t.Run(string(c), func(t *testing.T) {
			dir := t.TempDir()
			packed := pack(t, c, content)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "in"), packed, 0o600))
			require.NoError(t, ExtractFile(t.Context(), filepath.Join(dir, "in"), filepath.Join(dir, "out"), nil))
			got, err := os.ReadFile(filepath.Join(dir, "out"))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(content, got))
			usage := blocksOf(t, filepath.Join(dir, "out"))
			assert.Less(t, usage, int64(len(content)/4), "zeros take room")
			if c != None {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "in"), packed[:len(packed)/2], 0o600))
				require.Error(t, ExtractFile(t.Context(), filepath.Join(dir, "in"), filepath.Join(dir, "cut"), nil))
				assert.NoFileExists(t, filepath.Join(dir, "cut"))
			}
		})
	}
}
