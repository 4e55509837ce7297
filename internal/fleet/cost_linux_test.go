package fleet

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cost is how much of the processors' time a thousand reports may take, which the
// machine's other work does not change.
const cost = 5 * time.Second

// used is how much of the processors' time this process has taken.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestThousandReports: 1,000 reports of 20 kinds in seconds.
func TestThousandReports(t *testing.T) {
	if testing.Short() || os.Getenv("PACKER_ACC") == "" {
		t.Skip("set PACKER_ACC=1: writes 1,000 reports")
	}
	dir, out := t.TempDir(), t.TempDir()
	madeUp(t, dir, 1000, 20)
	start, before := time.Now(), used(t)
	code, said := run(t, "--out", out, dir)
	t.Logf("%s in %s, %s of the processors'", said, time.Since(start), used(t)-before)
	assert.Less(t, used(t)-before, cost)
	assert.Equal(t, exitViolated, code)
	f, err := Earlier(filepath.Join(out, "fleet.json"))
	require.NoError(t, err)
	assert.Len(t, f.Images, 1000)
	assert.Len(t, f.Kinds, 20)
	if to := os.Getenv("FLEET_REPORTS"); to != "" { // for a look, and to measure the command itself
		require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	}
}
