package image

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// What the digest of a base is: the one that the download was held against, or one
// that is computed, for which an empty disk of any size takes no time.
func TestBaseDigest(t *testing.T) {
	small, large := filepath.Join(t.TempDir(), "small"), filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(small, []byte("base\n"), 0o600))
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, 8<<40))
	const sum = "sha256:9b89d8c2b1c75b4dd0eb9d52a8c5d80e5a1d7c39bb9e1b6a5d6b8a1f6d4e7c11"
	for name, c := range map[string]struct {
		checksum, file string
		format         disk.Format
		want           string
	}{
		"as it was given":      {strings.ToUpper(sum), small, disk.Raw, sum},
		"by its length":        {strings.TrimPrefix(sum, "sha256:"), small, disk.QCOW2, sum},
		"in a file":            {"file:https://example.com/SHA256SUMS", small, disk.Raw, "sha256:"},
		"none, a tar":          {"none", small, disk.Tar, "sha256:"},
		"none, a raw disk":     {"none", small, disk.Raw, "fsverity-sha256:"},
		"none, a large sparse": {"NONE", large, disk.Raw, "fsverity-sha256:"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := baseDigest(t.Context(), c.checksum, c.file, c.format)
			require.NoError(t, err)
			assert.True(t, strings.HasPrefix(got, c.want), got)
		})
	}
	_, err := baseDigest(t.Context(), "none", filepath.Join(t.TempDir(), "gone"), disk.Raw)
	require.ErrorIs(t, err, os.ErrNotExist)
}
