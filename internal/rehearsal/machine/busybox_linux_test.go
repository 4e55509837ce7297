package machine_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/machine"
)

// TestBusybox rehearses with busybox in the place of the machine's tools.
func TestBusybox(t *testing.T) {
	if _, err := os.Stat("/usr/bin/busybox"); err != nil {
		t.Skip("needs busybox")
	}
	p := newPlace(t, `for tool in cat chmod chown cp cut date env find grep head id ip ln ls mkdir mkfifo mknod mktemp mount mv pivot_root printf readlink rm rmdir sed setpriv setsid sh sleep sort stat tail tr true umount uname uniq unshare wc; do
		for dir in /usr/bin /usr/sbin; do
			[ ! -e $dir/$tool ] || busybox mount --bind /usr/bin/busybox $dir/$tool
		done
	done`)
	seen, err := machine.Run(t.Context(), p.machine(), p.request(t, time.Minute, false))
	require.NoError(t, err)
	assert.True(t, seen.Up, "%v", seen.Log)
	assert.Empty(t, seen.Traces)
	assert.True(t, seen.Stored.Looked && seen.Stored.Key && !seen.Stored.Clear)
	assert.NotNil(t, seen.Node)
	for name, a := range seen.Answers {
		assert.True(t, a.Found, "%s: %+v", name, a)
	}
}
