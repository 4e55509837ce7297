package disk

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// packXZ packs some mebibytes in blocks, as xz does it with many threads.
func packXZ(t testing.TB, dir string) (packed string, content []byte) {
	t.Helper()
	if err := Missing(XZUtils); err != nil {
		t.Skip(err)
	}
	content = bytes.Repeat([]byte("what is packed, and again "), 1<<18)
	plain := filepath.Join(dir, "plain")
	require.NoError(t, os.WriteFile(plain, content, 0o600))
	out, err := exec.Command("xz", "-0", "--block-size=1MiB", "-k", plain).CombinedOutput()
	require.NoError(t, err, string(out))
	return plain + ".xz", content
}

// The program and the library give the same, and the same faults are errors.
func TestXZ(t *testing.T) {
	dir := t.TempDir()
	packed, content := packXZ(t, dir)
	whole, err := os.ReadFile(packed)
	require.NoError(t, err)
	files := map[string][]byte{"whole": whole, "cut off": whole[:len(whole)/2], "twice": append(bytes.Clone(whole), whole...)}
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 0xff
	files["damaged"] = damaged
	want := map[string][]byte{"whole": content, "twice": append(bytes.Clone(content), content...)}

	other := t.TempDir() // an xz that is no XZ Utils
	require.NoError(t, os.WriteFile(filepath.Join(other, "xz"), []byte("#!/bin/sh\necho BusyBox; exit 0\n"), 0o755))
	for program, path := range map[string]string{"program": os.Getenv("PATH"), "library": "/none", "another xz": other} {
		for name, data := range files {
			t.Run(program+", "+name, func(t *testing.T) {
				t.Setenv("PATH", path)
				from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
				require.NoError(t, os.WriteFile(from, data, 0o600))
				var seen int64
				err := ExtractFile(t.Context(), from, to, func(r io.ReadCloser, size int64) io.ReadCloser {
					assert.EqualValues(t, len(data), size)
					return &counter{r, &seen}
				})
				if want[name] == nil {
					require.ErrorContains(t, err, from)
					assert.NoFileExists(t, to)
					return
				}
				require.NoError(t, err)
				got, err := os.ReadFile(to)
				require.NoError(t, err)
				assert.True(t, bytes.Equal(want[name], got))
				assert.EqualValues(t, len(data), seen, "the progress")
			})
		}
	}
}

// counter counts what is read.
type counter struct {
	io.ReadCloser
	n *int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	*c.n += int64(n)
	return n, err
}

// A reader that is given up leaves no process.
func TestXZEndsEarly(t *testing.T) {
	file, _ := packXZ(t, t.TempDir())
	for name, end := range map[string]func(cancel func(), r io.Closer) error{
		"closed":    func(_ func(), r io.Closer) error { return r.Close() },
		"cancelled": func(cancel func(), r io.Closer) error { cancel(); return r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r, err := openPacked(ctx, file, nil)
			require.NoError(t, err)
			x, ok := r.(*packed).Reader.(*xzReader)
			require.True(t, ok)
			_, err = io.ReadFull(r, make([]byte, 10))
			require.NoError(t, err)
			started := time.Now()
			require.NoError(t, end(cancel, r))
			assert.Less(t, time.Since(started), 30*time.Second)
			assert.NotNil(t, x.cmd.ProcessState, "still runs")
		})
	}
}
