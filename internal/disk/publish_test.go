package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func publish(t *testing.T, partial, final string, with Algorithm) (*Published, error) {
	t.Helper()
	finished, err := Finish(t.Context(), partial, with)
	require.NoError(t, err)
	return finished.Publish(final)
}

func TestPublish(t *testing.T) {
	dir := t.TempDir()
	partial, final := filepath.Join(dir, ".a.partial"), filepath.Join(dir, "a.raw")
	require.NoError(t, os.WriteFile(partial, []byte("image"), 0o600))
	require.NoError(t, os.WriteFile(final+".fsverity", []byte("of the image before"), 0o600))
	p, err := publish(t, partial, final, SHA256)
	require.NoError(t, err)
	assert.Equal(t, &Published{
		Path: final, Checksum: final + ".sha256", Size: 5,
		Digest: Digest{SHA256, "6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d"},
	}, p)
	line, err := os.ReadFile(p.Checksum)
	require.NoError(t, err)
	assert.Equal(t, p.Digest.Hex+"  a.raw\n", string(line))
	assert.NoFileExists(t, partial)
	assert.NoFileExists(t, final+".fsverity", "no checksum stays that is not the image's")

	require.NoError(t, os.WriteFile(partial, []byte("image"), 0o600))
	p, err = publish(t, partial, final, FSVerity)
	require.NoError(t, err)
	assert.Equal(t, final+".fsverity", p.Checksum)
	line, err = os.ReadFile(p.Checksum)
	require.NoError(t, err)
	assert.Equal(t, "sha256:"+p.Digest.Hex+" a.raw\n", string(line))
	assert.NoFileExists(t, final+".sha256")

	// The checksum file cannot be put in its place: the image does not stay either.
	require.NoError(t, os.WriteFile(partial, []byte("image"), 0o600))
	blocked := filepath.Join(dir, "b.raw")
	require.NoError(t, os.MkdirAll(filepath.Join(blocked+".sha256", "x"), 0o755))
	_, err = publish(t, partial, blocked, SHA256)
	require.Error(t, err)
	assert.NoFileExists(t, blocked)
	assert.NoFileExists(t, partial+".sha256")
}
