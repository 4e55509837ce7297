package report

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/disktest"
)

// A build host whose power goes away as soon as the report is written has it,
// also in directories that were made for it and over an older one.
func TestReportOutlivesThePower(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			disk := disktest.New(t, kind)
			older := filepath.Join(disk.Dir, "older")
			require.NoError(t, os.Mkdir(older, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(older, "report.json"), []byte("older"), 0o600))
			require.NoError(t, Write(filepath.Join(disk.Dir, "a", "b"), fixture()))
			require.NoError(t, Write(older, fixture()))
			cut := disk.Cut(t)
			disk.Unmount(t)
			found := cut.Mount(t)
			for _, dir := range []string{"a/b", "older"} {
				for _, f := range formats() {
					want, err := f.render(newView(fixture()))
					require.NoError(t, err)
					data, err := os.ReadFile(filepath.Join(found, dir, f.name))
					require.NoError(t, err)
					assert.Equal(t, string(want), string(data), "%s in %s", f.name, dir)
				}
			}
		})
	}
}
