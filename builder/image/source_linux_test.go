package image

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// What is no root file system is refused before a provisioner runs, packed or
// not, as an archive and as a directory.
func TestBaseIsARoot(t *testing.T) {
	trees := map[string]struct{ script, want string }{
		"empty":            {"true", "it is empty"},
		"OVA":              {"touch node.ovf; { printf KDMV; head -c 1M /dev/zero; } > node.vmdk", "a VMDK image, node.vmdk"},
		"disk":             {"truncate -s 8M node.raw; /sbin/mke2fs -q -F node.raw", "a raw disk, node.raw"},
		"docker save":      {"mkdir -p blobs/sha256; touch manifest.json repositories", "what docker save writes"},
		"OCI layout":       {"mkdir -p blobs/sha256; touch oci-layout index.json", "an OCI image layout"},
		"subdirectory":     {"mkdir -p rootfs/etc rootfs/bin", "its directory rootfs holds one"},
		"data":             {"mkdir -p lib/rancher", `only ["lib"]`},
		"etc and no shell": {"mkdir -p etc/rancher", "no program can be in it"},
	}
	packers := map[string]string{"tar": "", "tar.gz": "gzip", "tar.xz": "xz", "tar.zst": "zstd", "directory": "", "mount": ""}
	for name, tree := range trees {
		for kind, program := range packers {
			t.Run(name+" as "+kind, func(t *testing.T) {
				b := newBench(t)
				b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
				dir := filepath.Join(b.dir, "tree")
				require.NoError(t, os.Mkdir(dir, 0o755))
				if kind == "mount" {
					if out, err := exec.Command("mount", "-t", "tmpfs", "none", dir).CombinedOutput(); err != nil {
						t.Skipf("no mounts here: %s", out)
					}
					t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
				}
				sh := func(script string) {
					cmd := exec.Command("sh", "-ec", script)
					cmd.Dir = dir
					out, err := cmd.CombinedOutput()
					require.NoError(t, err, string(out))
				}
				sh(tree.script)
				options, option := map[string]any{}, "iso_url: "
				base := filepath.Join(b.dir, "base."+kind)
				switch {
				case strings.HasPrefix(kind, "tar"):
					sh("tar -cf " + base + " .")
					if program != "" {
						if _, err := exec.LookPath(program); err != nil {
							t.Skip(err)
						}
						sh(program + " -qc < " + base + " > " + base + ".packed; mv " + base + ".packed " + base)
					}
				default:
					options = map[string]any{"iso_url": nil, "iso_checksum": nil, "rootfs_directory": dir, "format": "qcow2"}
					option = "rootfs_directory: "
				}
				ran := false
				_, err := b.run(t.Context(), b.options(base, options), provision(func(context.Context, packersdk.Communicator, map[string]any) error {
					ran = true
					return nil
				}))
				require.ErrorContains(t, err, tree.want)
				assert.ErrorContains(t, err, option)
				assert.False(t, ran, "a provisioner ran")
				assert.NoDirExists(t, b.out)
			})
		}
	}
}
