package disk

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sparse makes a file of size bytes with data at some places.
func sparse(t testing.TB, path string, size int64, data ...Extent) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	random := rand.NewChaCha8([32]byte{byte(size)})
	for _, e := range data {
		p := make([]byte, e.Size)
		_, _ = random.Read(p)
		_, err := f.WriteAt(p, e.Start)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
}

// layouts of files, of which no part is treated like another.
var sparseFiles = map[string]struct {
	size int64
	data []Extent
}{
	"empty":                 {0, nil},
	"one byte":              {1, []Extent{{0, 1}}},
	"less than a block":     {511, []Extent{{0, 511}}},
	"one block":             {4096, []Extent{{0, 4096}}},
	"one hole":              {4096, nil},
	"two blocks":            {8192, []Extent{{0, 8192}}},
	"a tree block":          {128 * 4096, []Extent{{0, 128 * 4096}}},
	"a tree block of holes": {128 * 4096, nil},
	"and a block":           {129 * 4096, []Extent{{128 * 4096, 4096}}},
	"and a hole":            {129 * 4096, []Extent{{0, 128 * 4096}}},
	"ragged end":            {3<<20 + 513, []Extent{{3 << 20, 513}}},
	"ragged hole":           {3<<20 + 513, []Extent{{1 << 20, 4097}}},
	"data beyond a chunk":   {9 << 20, []Extent{{3 << 20, 3<<20 + 5000}}},
	"scattered":             {64 << 20, []Extent{{0, 512}, {700000, 3}, {5 << 20, 1 << 20}, {33<<20 + 4096, 8192}, {64<<20 - 4096, 4096}}},
	"two levels of holes":   {130 << 20, []Extent{{65<<20 + 12345, 10}}},
	"only holes":            {300 << 20, nil},
}

// The digests are those of the programs that users verify them with.
func TestDigests(t *testing.T) {
	programs := map[Algorithm][]string{SHA256: {"sha256sum"}, FSVerity: {"fsverity", "digest"}}
	for algorithm, program := range programs {
		if _, err := exec.LookPath(program[0]); err != nil {
			t.Logf("%s is not compared: %s", algorithm, err)
			continue
		}
		for name, tt := range sparseFiles {
			t.Run(string(algorithm)+", "+name, func(t *testing.T) {
				dir := t.TempDir()
				sparse(t, filepath.Join(dir, "image"), tt.size, tt.data...)
				cmd := exec.Command(program[0], append(program[1:], "image")...)
				cmd.Dir = dir
				out, err := cmd.Output()
				require.NoError(t, err)
				finished, err := Finish(t.Context(), filepath.Join(dir, "image"), algorithm)
				require.NoError(t, err)
				p, err := finished.Publish(filepath.Join(dir, "final"))
				require.NoError(t, err)
				line, err := os.ReadFile(p.Checksum)
				require.NoError(t, err)
				assert.Equal(t, strings.Replace(string(out), "image\n", "final\n", 1), string(line))
				assert.Equal(t, tt.size, p.Size)
			})
		}
	}
}

// The program fsverity takes half a minute for a file of three levels.
func TestDigestOfThreeLevels(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	sparse(t, image, 9<<30, Extent{8<<30 + 4096, 4096})
	got, err := Finish(t.Context(), image, FSVerity)
	require.NoError(t, err)
	assert.Equal(t, "fsverity-sha256:3dfc9a4f8993db2ce4c66ce25482cca1ff471470729578139f822f73a1f30b42", got.Digest.String())
}

// Holes and blocks of zeros are the same file.
func TestDigestOfZeros(t *testing.T) {
	dir := t.TempDir()
	written, hole := filepath.Join(dir, "written"), filepath.Join(dir, "hole")
	require.NoError(t, os.WriteFile(written, make([]byte, 3<<20), 0o600))
	sparse(t, hole, 3<<20)
	for algorithm := range algorithms {
		a, err := Finish(t.Context(), written, algorithm)
		require.NoError(t, err)
		b, err := Finish(t.Context(), hole, algorithm)
		require.NoError(t, err)
		assert.Equal(t, a.Digest, b.Digest)
		changed := filepath.Join(dir, "changed")
		sparse(t, changed, 3<<20, Extent{2<<20 + 77, 1})
		c, err := Finish(t.Context(), changed, algorithm)
		require.NoError(t, err)
		assert.NotEqual(t, a.Digest, c.Digest)
	}
}

// What a disk costs hangs on what it holds and not on how large it is.
func TestHolesCostNothing(t *testing.T) {
	dir := t.TempDir()
	image, copied := filepath.Join(dir, "image"), filepath.Join(dir, "copied")
	sparse(t, image, 1<<40, Extent{1 << 39, 1 << 20})
	started := time.Now()
	require.NoError(t, CopyDisk(t.Context(), image, Kind{Format: Raw}, copied, dir, nil))
	finished, err := Finish(t.Context(), copied, FSVerity)
	require.NoError(t, err)
	assert.EqualValues(t, 1<<40, finished.Size)
	assert.Less(t, time.Since(started), time.Minute, "a tebibyte was read")
}

func TestCopyDiskIsExact(t *testing.T) {
	for name, tt := range sparseFiles {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
			sparse(t, from, tt.size, tt.data...)
			require.NoError(t, os.WriteFile(to, []byte("something else"), 0o600))
			require.NoError(t, CopyDisk(t.Context(), from, Kind{Format: Raw}, to, dir, nil))
			require.NoError(t, exec.Command("cmp", from, to).Run())
		})
	}
}
