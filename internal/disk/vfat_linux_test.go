package disk

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A boot partition is found by every name that fstab gives it, and seen, or
// nothing is known of it.
func TestBootPartition(t *testing.T) {
	needLoop(t)
	for _, source := range []string{"UUID=ABCD-1234", "UUID=abcd-1234", "LABEL=UEFI", "PARTLABEL=esp"} {
		for _, bits := range []string{"16", "32"} {
			t.Run(source+" "+bits, func(t *testing.T) {
				top := t.TempDir()
				noLeaks(t, top)
				image := newImage(t, top, 96*mib)
				layout := partitioned(t, image, "label: gpt\nsize=48MiB, name=esp\ntype=L\n")
				esp := layout.Partitions[0]
				tool(t, "mkfs.vfat", "-F", bits, "-i", "ABCD1234", "-n", "UEFI", "--offset", fmt.Sprint(esp.Start/512), image, fmt.Sprint(esp.Size/1024))
				format(t, image, layout.Partitions[1], "ext4", "ROOT", plainRoot+"; echo '"+source+" /boot/efi vfat umask=0077 0 1' > etc/fstab")
				m, hidden, err := opened(t, image, "2", Access{})
				require.NoError(t, err)
				if len(hidden) == 0 {
					require.NoError(t, os.WriteFile(filepath.Join(m.Root, "boot/efi/x"), nil, 0o600))
					require.Error(t, exec.Command("mountpoint", "-q", filepath.Join(m.Root, "boot")).Run())
					return
				}
				assert.Equal(t, []Hidden{{"/boot/efi", "is on partition 1, whose vfat this host's kernel cannot mount: modprobe vfat (/etc/fstab:1)"}}, hidden)
			})
		}
	}
}
