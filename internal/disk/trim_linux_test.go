package disk

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// allocated is how much room a file takes, in bytes.
func allocated(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Stat(path, &st))
	return st.Blocks * 512
}

// What was removed is neither in a trimmed image nor part of its size.
func TestTrim(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	tests := map[string][]string{
		"ext4":        {"mkfs.ext4", "-q", "-F", "-b", "4096"},
		"ext4, 1 KiB": {"mkfs.ext4", "-q", "-F", "-b", "1024"},
		"xfs":         {"mkfs.xfs", "-q"},
		"btrfs":       {"mkfs.btrfs", "-q"},
	}
	for name, mkfs := range tests {
		t.Run(name, func(t *testing.T) {
			kind := strings.TrimPrefix(mkfs[0], "mkfs.")
			if err := Missing(Tool{mkfs[0], kind}); err != nil {
				t.Skip(err)
			}
			image, dir := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "root")
			require.NoError(t, os.Mkdir(dir, 0o755))
			require.NoError(t, os.WriteFile(image, nil, 0o600))
			require.NoError(t, os.Truncate(image, 400<<20))
			shell(t, filepath.Dir(image), strings.Join(append(mkfs, image), " "))
			if kind == "btrfs" { // whose root is looked for when it is mounted
				require.NoError(t, os.Mkdir(filepath.Join(dir, "etc"), 0o755))
				shell(t, dir, "mkfs.btrfs -q -f -r . "+image)
			}
			m, err := Mount(t.Context(), image, Partition{Extent: Extent{0, 400 << 20}, FileSystem: FileSystem{Type: kind}}, dir, Access{})
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { _ = m.Unmount() })
			// Small files of one block each between ones that stay, and large ones.
			for i := range 200 {
				require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("removed-%d", i)), fmt.Appendf(nil, "token-%s-%d", "5ecret", i), 0o600))
				require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("kept-%d", i)), fmt.Appendf(nil, "kept-%s-%d", "5afe", i), 0o600))
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, "removed-large"), bytes.Repeat([]byte("token-"+"5ecret"), 8<<20), 0o600))
			unix.Sync()
			assert.NotZero(t, occurrences(t, image, "token-5ecret"), "the test does not see what it looks for")
			before := allocated(t, image)
			shell(t, dir, "rm removed-*")

			untrimmed, err := m.Trim(t.Context())
			require.NoError(t, err)
			assert.Empty(t, untrimmed)
			require.NoError(t, m.Unmount())
			assert.Zero(t, occurrences(t, image, "token-5ecret"))
			assert.NotZero(t, occurrences(t, image, "kept-5afe"))
			assert.Less(t, allocated(t, image), before-90<<20)
			check := map[string]string{"ext4": "fsck.ext4 -fn ", "xfs": "xfs_repair -n ", "btrfs": "btrfs check -q "}[kind]
			shell(t, dir, check+image)
		})
	}
}

// occurrences counts in how many places of a file a text is.
func occurrences(t testing.TB, path, text string) int {
	t.Helper()
	out, err := exec.Command("grep", "-aoF", text, path).Output()
	if err != nil && len(out) > 0 {
		require.NoError(t, err)
	}
	return bytes.Count(out, []byte("\n"))
}

// What may not be written to is left alone.
func TestTrimReadOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if err := Missing(Mke2fs); err != nil {
		t.Skip(err)
	}
	image, dir := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "root")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(image, bytes.Repeat([]byte("old"), 16<<20), 0o600))
	require.NoError(t, os.Truncate(image, 48<<20))
	shell(t, filepath.Dir(image), "mkfs.ext4 -q -F -E nodiscard "+image)
	before, err := Finish(t.Context(), image, SHA256)
	require.NoError(t, err)
	m, err := Mount(t.Context(), image, Partition{Extent: Extent{0, 48 << 20}, FileSystem: FileSystem{Type: "ext4"}}, dir, Access{ReadOnly: true, Image: true})
	if err != nil {
		t.Skip(err)
	}
	untrimmed, err := m.Trim(t.Context())
	require.NoError(t, err)
	assert.Empty(t, untrimmed)
	require.NoError(t, m.Unmount())
	after, err := Finish(t.Context(), image, SHA256)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}
