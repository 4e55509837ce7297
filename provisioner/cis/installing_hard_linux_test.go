package cis

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

// A download that was cut is taken up where it ended, and one that is slow is waited
// for.
func TestInstallResumes(t *testing.T) {
	binary := k3sBinary(t, "amd64")
	var cut, slow bool
	var ranges []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			ranges = append(ranges, r.Header.Get("Range"))
		}
		switch {
		case cut && r.Method == http.MethodGet:
			w.Header().Set("Accept-Ranges", "bytes")
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write(binary[:1000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case slow && r.Method == http.MethodGet:
			for i, piece := range [][]byte{binary[:10], binary[10:1000], binary[1000:]} {
				time.Sleep(time.Duration(i) * 200 * time.Millisecond)
				_, _ = w.Write(piece)
				w.(http.Flusher).Flush()
			}
		default:
			http.ServeContent(w, r, "k3s", time.Time{}, bytes.NewReader(binary))
		}
	}))
	defer server.Close()
	t.Setenv("PACKER_CACHE_DIR", t.TempDir())
	tree := systemdTree(t, "amd64")
	before := files(t, tree)
	options := func(name string) map[string]any {
		return map[string]any{"install": map[string]any{"binary": server.URL + "/" + name, "checksum": digest(binary)}}
	}
	cut = true
	x := try(t, tree, options("k3s"), nil)
	require.ErrorContains(t, x.err, "install.binary: ")
	assert.Equal(t, before, files(t, tree), "half a file is not installed")
	cut, ranges = false, nil
	x = try(t, tree, options("k3s"), nil)
	require.NoError(t, x.err, x.log)
	assert.Equal(t, []string{"bytes=1000-"}, ranges)

	slow = true
	tree = systemdTree(t, "amd64")
	x = try(t, tree, options("slow"), nil)
	require.NoError(t, x.err, x.log)
	installed, err := os.ReadFile(filepath.Join(tree, "usr/local/bin/k3s"))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(binary, installed))
}

// A tree without room is left as it was, and the next run, with room, installs.
func TestInstallNeedsRoom(t *testing.T) {
	nodetest.NeedRoot(t)
	tree := systemdTree(t, "amd64")
	images := filepath.Join(tree, "var/lib/rancher/k3s/agent/images")
	require.NoError(t, os.MkdirAll(images, 0o755))
	nodetest.Mounted(t, images, "-t", "tmpfs", "-o", "size=1m", "tmpfs")
	options := map[string]any{"install": map[string]any{
		"binary": localFile(t, "k3s", k3sBinary(t, "amd64")), "airgap_images": []string{localFile(t, "images.tar", imageArchive(t, "amd64", 3<<20, "own/app:v1"))},
	}}
	before := files(t, tree)
	x := try(t, tree, options, nil)
	require.ErrorContains(t, x.err, "the file system of /var/lib/rancher/k3s/agent/images has")
	assert.Equal(t, before, files(t, tree))
	nodetest.Run(t, "mount", "-o", "remount,size=20m", images)
	x = try(t, tree, options, nil)
	require.NoError(t, x.err, x.log)
	assert.True(t, strings.HasPrefix(x.report.Installed.Archives[0].Path, "/var/lib/rancher/k3s/agent/images/"))
}
