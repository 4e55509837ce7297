package tree

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
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

// An answer that came is not lost because the next one did not.
func TestLastWholeAnswerCounts(t *testing.T) {
	at := filepath.Join(t.TempDir(), "asked")
	var out bytes.Buffer
	p := &performance{
		request: &rehearsal.Request{Settle: 2 * time.Second, Environment: os.Environ()},
		w:       newWriter(&out), ended: make(chan struct{}),
	}
	p.ask(t.Context(), rehearsal.Ask{
		Name: "accounts", Until: []string{"default false"},
		Words: []string{"sh", "-c", `if [ -e "$0" ]; then exec sleep 60; fi; : >"$0"; echo default true`, at},
	})
	p.w.flush()
	assert.Equal(t, "answer accounts 0\nsaid accounts default true\n", out.String())
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

// TestProgramThatIsMissing: that a program is not there is an answer, which no waiting
// changes.
func TestProgramThatIsMissing(t *testing.T) {
	var out bytes.Buffer
	p := &performance{
		request: &rehearsal.Request{Settle: time.Minute},
		w:       newWriter(&out),
		ended:   make(chan struct{}),
	}
	p.ask(t.Context(), rehearsal.Ask{Name: "after-start-0", Words: []string{"/nonexistent/find"}})
	p.w.flush()
	assert.Contains(t, out.String(), "answer after-start-0 127 found\nsaid after-start-0 fork/exec /nonexistent/find: no such file or directory\n")
}
