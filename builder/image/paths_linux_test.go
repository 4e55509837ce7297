package image

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// What programs and URLs take for more than a letter is part of a name to a
// file system.
func TestNamesOfFiles(t *testing.T) {
	names := []string{"plain", "a#b", "a?b=c", "a%20b%zz", "a b", "nbd:a:b", "a,b", `json:{"driver":"file"}`, `a"b\c`, "-o", "LABEL=a", "a\tb", "a\nb"}
	kinds := map[string]string{"tar": "raw", "raw": "qcow2", "qcow2": "tar"}
	for kind, format := range kinds {
		for _, name := range names {
			t.Run(fmt.Sprintf("%s to %s, %q", kind, format, name), func(t *testing.T) {
				b := newBench(t)
				b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
				b.needLoop()
				made := b.base(kind)
				for _, dir := range []string{"bases", "work"} {
					require.NoError(t, os.MkdirAll(filepath.Join(b.dir, dir, name), 0o755))
				}
				base := filepath.Join(b.dir, "bases", name, name+"."+kind)
				require.NoError(t, os.Rename(made, base))
				vm := name
				if strings.Contains(name, "\n") {
					vm = "node" // refused elsewhere
				} else {
					t.Setenv("TMPDIR", filepath.Join(b.dir, "work", name))
				}
				out := filepath.Join(b.out, name)
				artifact, err := b.run(t.Context(), b.options(base, map[string]any{
					"format": format, "output_directory": out, "vm_name": vm,
				}), provision(leaveMark))
				require.NoError(t, err)
				image := filepath.Join(out, vm+"."+format)
				require.Equal(t, []string{image}, artifact.Files())
				plain := filepath.Join(b.dir, "made."+format)
				require.NoError(t, os.Rename(image, plain))
				assert.Equal(t, "made", b.content(plain, format, "/etc/mark"))
			})
		}
	}
}
