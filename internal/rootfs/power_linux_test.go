package rootfs

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/disktest"
)

// What a tree's change has said to be done is on the disk, whatever becomes of
// the power then, and nothing that was only on the way is.
func TestRootOutlivesThePower(t *testing.T) {
	nodetest.NeedRoot(t)
	for _, kind := range nodetest.DiskKinds {
		t.Run(kind, func(t *testing.T) {
			disk := disktest.New(t, kind)
			dir := filepath.Join(disk.Dir, "root")
			nodetest.Lay(t, disk.Dir, "dir /root 0755")
			nodetest.Lay(t, dir, nodetest.FaultTree...)
			_, err := At(dir).Apply(context.Background(), nodetest.FaultChange, nodetest.FaultQuery)
			require.NoError(t, err)
			cut := disk.Cut(t)
			disk.Unmount(t)
			found := filepath.Join(cut.Mount(t), "root")
			require.Equal(t, "hardened", nodetest.State(t, At(found)))
			nodetest.Hardened(t, found, At(found))
			kept, err := os.ReadFile(filepath.Join(found, "etc/rancher/k3s/config.yaml.orig"))
			require.NoError(t, err)
			require.Equal(t, "token: x", string(kept))
		})
	}
}
