package image

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A file of a base that is read or run may be anything: a build with it ends
// at once, with an error that names the file where it is needed.
func TestStrangeFiles(t *testing.T) {
	kinds := map[string]string{
		"a pipe":          "mkfifo %",
		"a device":        "mknod % c 1 5",
		"a block device":  "mknod % b 7 0",
		"a directory":     "mkdir %",
		"a dangling link": "ln -s nothing %",
		"a link circle":   "ln -s % %",
		"a link out":      "ln -s ../../../../../../../../../../etc/hostname %",
		"a socket":        `python3 -c 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' %`,
	}
	wants := map[string]map[string]string{ // what is said, by file and kind
		"etc/fstab": {
			"a pipe": "/etc/fstab: is no regular file but p", "a device": "/etc/fstab: is no regular file but Dc",
			"a block device": "/etc/fstab: is no regular file but D", "a directory": "/etc/fstab: is no regular file but d",
			"a socket": "/etc/fstab: is no regular file but S", "a link circle": "/etc/fstab: ",
		},
		"bin/sh": {}, "etc/passwd": {}, "etc/group": {}, "etc/resolv.conf": {}, "etc/os-release": {}, "etc/hostname": {},
	}
	for file, want := range wants {
		for kind, script := range kinds {
			t.Run(kind+" as "+file, func(t *testing.T) {
				if _, err := exec.LookPath("python3"); err != nil && kind == "a socket" {
					t.Skip(err)
				}
				b := newBench(t)
				root := busybox(t)
				cmd := exec.Command("sh", "-ec", `mkdir -p "$(dirname "$1")"; rm -f "$1"; cd "$(dirname "$1")"; set -- "$(basename "$1")"; `+
					strings.ReplaceAll(script, "%", `"$1"`), "sh", file)
				cmd.Dir = root
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, string(out))
				status := -1
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err = b.run(ctx, b.options("", map[string]any{"format": "tar", "iso_url": nil, "iso_checksum": nil, "rootfs_directory": root}),
					provision(func(_ context.Context, c packersdk.Communicator, _ map[string]any) error {
						own, ok := c.(*communicator)
						require.True(t, ok)
						got := runIn(t, own, "echo ran", nil)
						status = got.status
						if status != 0 {
							assert.Contains(t, got.errOut, file)
						}
						return nil
					}))
				assert.Less(t, time.Since(began), 15*time.Second)
				if want[kind] != "" {
					require.ErrorContains(t, err, want[kind])
					return
				}
				require.NoError(t, err)
				needed := file == "bin/sh" || kind == "a link circle" && file == "etc/resolv.conf"
				assert.Equal(t, needed, status == cannotRun, status)
				info, err := os.Lstat(root + "/" + file)
				require.NoError(t, err)
				assert.False(t, info.Mode().IsRegular(), "replaced")
			})
		}
	}
}
