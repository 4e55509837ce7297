package cis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// What another file system hides at boot proves nothing, whether it was baked
// before or not, and nothing is written there.
func TestHiddenAtBoot(t *testing.T) {
	const why = "is on LABEL=data, which is not on this disk (/etc/fstab:2)"
	onDataDir := []string{"5.1.5", "5.3.2"}
	for name, tt := range map[string]struct {
		dir    string
		errors []string
	}{
		"nothing":                {"", nil},
		"the data directory":     {"/var/lib/rancher/k3s", onDataDir},
		"a directory above":      {"/var", onDataDir},
		"the manifests":          {"/var/lib/rancher/k3s/server/manifests", onDataDir},
		"what holds data alone":  {"/var/lib/rancher/k3s/storage", nil},
		"images of containers":   {"/var/lib/rancher/k3s/agent/containerd", nil},
		"what nobody looks at":   {"/srv", nil},
		"the configuration":      {"/etc/rancher", append([]string{"1.2.1", "4.2.1"}, onDataDir...)},
		"behind a symbolic link": {"/data", onDataDir},
	} {
		t.Run(name, func(t *testing.T) {
			tree := newTree(t)
			if name == "behind a symbolic link" {
				require.NoError(t, os.MkdirAll(filepath.Join(tree, "data"), 0o700))
				require.NoError(t, os.MkdirAll(filepath.Join(tree, "var/lib"), 0o755))
				require.NoError(t, os.Symlink("/data", filepath.Join(tree, "var/lib/rancher")))
			}
			// Hardened before the other file system was thought of.
			x := try(t, tree, map[string]any{"k3s_version": release}, nil)
			require.NoError(t, x.err, x.log)
			before := files(t, tree)
			data := map[string]any{rootHiddenKey: `{}`}
			if tt.dir != "" {
				data[rootHiddenKey] = `{"` + tt.dir + `": "` + why + `"}`
			}
			for _, mode := range []string{"check", "apply"} {
				x := try(t, tree, map[string]any{"k3s_version": release, "mode": mode}, data)
				require.NotNil(t, x.report, x.log)
				if tt.errors == nil {
					require.NoError(t, x.err, x.log)
					continue
				}
				require.Error(t, x.err, mode)
				for _, id := range tt.errors {
					result := status(t, x.report, id)
					assert.Equal(t, benchmark.Error, result.Status, "%s %s: %s", mode, id, result.Found)
				}
				assert.Contains(t, strings.Join(strings.Fields(x.log), " "), why)
			}
			assert.Equal(t, before, files(t, tree), "written all the same")

			// And one that was never hardened.
			if name == "behind a symbolic link" {
				return // a new tree has none
			}
			fresh := newTree(t)
			y := try(t, fresh, map[string]any{"k3s_version": release}, data)
			if tt.errors == nil {
				require.NoError(t, y.err, y.log)
				return
			}
			require.Error(t, y.err)
			require.NotNil(t, y.report, y.log)
			for name := range files(t, fresh) {
				rel := "/" + name
				assert.False(t, rel == tt.dir || len(rel) > len(tt.dir) && rel[:len(tt.dir)+1] == tt.dir+"/", "%s was written", name)
			}
		})
	}
}

// files lists what is in a tree, by name.
func files(t *testing.T, tree string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	require.NoError(t, filepath.Walk(tree, func(p string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			name, _ := filepath.Rel(tree, p)
			out[name] = info.ModTime().UnixNano()
		}
		return err
	}))
	return out
}
