package tree

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWordsOfWhatIsMissing(t *testing.T) {
	for errno, says := range map[syscall.Errno]string{
		syscall.EPERM:  "an ordinary container does not have it",
		syscall.EINVAL: "a kernel with mount, network, process, host name, IPC and cgroup namespaces",
		syscall.ENOSPC: "the limits in /proc/sys/user",
		syscall.ENOMEM: "namespaces of its own: cannot allocate memory",
	} {
		assert.ErrorContains(t, cannotStart(errno), says)
	}
}

func TestAvailableMemory(t *testing.T) {
	at := filepath.Join(t.TempDir(), "meminfo")
	require.NoError(t, os.WriteFile(at, []byte("MemTotal: 400000 kB\nMemAvailable:     307200 kB\n"), 0o600))
	n, known := availableMemory(at)
	assert.True(t, known)
	assert.Equal(t, int64(300<<20), n)
	require.NoError(t, os.WriteFile(at, []byte("MemTotal: 400000 kB\n"), 0o600))
	_, known = availableMemory(at)
	assert.False(t, known)
}
