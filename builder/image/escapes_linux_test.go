package image

import (
	"bytes"
	"context"
	"errors"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
	"github.com/k3s-cis/packer-plugin-k3s/internal/packerui"
)

// nasty drives a terminal, turns text round and overwrites a line.
const nasty = "\x1b[31m\x1b]0;t\x07\u009b2J\u202e\u2066\x7f\r\x08"

// Nothing that a base holds, or that a failing provisioner brings back from it,
// drives a terminal: not in what is said, not in the error, not in the log.
func TestNothingDrivesATerminal(t *testing.T) {
	for name, fstab := range map[string]string{
		"a label":       "LABEL=" + nasty + " / ext4 defaults 0 1\n",
		"a device":      "/dev/" + nasty + " /data ext4 defaults 0 2\n",
		"a mount point": "/dev/sdz1 /" + nasty + " " + nasty + " " + nasty + " 0 2\n",
		"none":          "",
	} {
		for _, kind := range []string{"directory", "tar", "raw"} {
			t.Run(name+" in a "+kind, func(t *testing.T) {
				b := newBench(t)
				b.need(disk.Mke2fs, disk.Debugfs)
				tree := b.tree()
				require.NoError(t, os.WriteFile(filepath.Join(tree, "etc/fstab"), []byte(fstab), 0o600))
				require.NoError(t, os.WriteFile(filepath.Join(tree, "etc/"+nasty), nil, 0o600))
				require.NoError(t, unix.Mkfifo(filepath.Join(tree, "etc/p"+nasty), 0o600))
				require.NoError(t, os.Symlink("/"+nasty, filepath.Join(tree, "etc/l"+nasty)))
				if err := unix.Mknod(filepath.Join(tree, "etc/d"+nasty), unix.S_IFCHR|0o600, 1<<8|3); err != nil {
					t.Log("no device:", err)
				}
				options := b.options("", map[string]any{"format": "tar"})
				switch kind {
				case "directory":
					options = b.options("", map[string]any{"format": "tar", "iso_url": nil, "iso_checksum": nil, "rootfs_directory": tree})
				case "tar":
					base := filepath.Join(b.dir, "base.tar")
					_, err := disk.ArchiveFile(t.Context(), tree, base, nil)
					require.NoError(t, err)
					options["iso_url"] = base
				case "raw":
					b.needLoop()
					base := filepath.Join(b.dir, "base.raw")
					require.NoError(t, disk.MakeExt4(t.Context(), tree, base, 64<<20, nil, t.TempDir()))
					options["iso_url"] = base
				}
				var said bytes.Buffer
				before := log.Writer()
				log.SetOutput(&said)
				packerui.CleanLogs()
				defer log.SetOutput(before)
				ui := &packersdk.BasicUi{Reader: strings.NewReader(""), Writer: &said, ErrorWriter: &said, PB: &packersdk.NoopProgressTracker{}}
				builder := new(Builder)
				_, _, err := builder.Prepare(options)
				require.NoError(t, err)
				artifact, err := builder.Run(t.Context(), ui, provision(func(context.Context, packersdk.Communicator, map[string]any) error {
					return errors.New("the machine said " + nasty)
				}))
				require.Error(t, err)
				assert.Nil(t, artifact)
				for _, r := range said.String() + err.Error() {
					if r < ' ' && r != '\t' && r != '\n' || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
						t.Fatalf("%q is in %q", r, said.String()+err.Error())
					}
				}
				assert.Contains(t, err.Error(), `the machine said \x1b[31m`, "it is said all the same, readably")
			})
		}
	}
}
