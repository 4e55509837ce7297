package node

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/disktest"
)

// What a tree's change has said to be done is on the disk, whatever becomes of
// the power then, and nothing that was only on the way is.
func TestRootOutlivesThePower(t *testing.T) {
	needRoot(t)
	for _, kind := range diskKinds {
		t.Run(kind, func(t *testing.T) {
			disk := disktest.New(t, kind)
			dir := filepath.Join(disk.Dir, "root")
			lay(t, disk.Dir, "dir /root 0755")
			lay(t, dir, faultTree...)
			_, err := Root(dir).Apply(context.Background(), faultChange, faultQuery)
			require.NoError(t, err)
			cut := disk.Cut(t)
			disk.Unmount(t)
			found := filepath.Join(cut.Mount(t), "root")
			require.Equal(t, "hardened", state(t, Root(found)))
			hardened(t, found, Root(found))
			kept, err := os.ReadFile(filepath.Join(found, "etc/rancher/k3s/config.yaml.orig"))
			require.NoError(t, err)
			require.Equal(t, "token: x", string(kept))
		})
	}
}
