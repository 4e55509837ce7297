package machine_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/launchertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/machine"
)

// TestBusybox rehearses with busybox in the place of the machine's tools.
func TestBusybox(t *testing.T) {
	if _, err := os.Stat("/usr/bin/busybox"); err != nil {
		t.Skip("needs busybox")
	}
	p := newPlace(t, modules+`for tool in cat chmod chown cp cut date env find grep head id ip ln ls mkdir mkfifo mknod mktemp mount mv pivot_root printf readlink rm rmdir sed setpriv setsid sh sleep sort stat tail tr true umount uname uniq unshare wc; do
		for dir in /usr/bin /usr/sbin; do
			[ ! -e $dir/$tool ] || busybox mount --bind /usr/bin/busybox $dir/$tool
		done
	done`)
	before := p.state(t)
	seen, err := machine.Run(t.Context(), p.machine(), p.request(t, time.Minute, false))
	require.NoError(t, err)
	require.True(t, seen.Up, "%v", seen.Log)
	requireUnlimited(t, seen)
	assert.Empty(t, seen.Traces)
	assert.True(t, seen.Stored.Looked && seen.Stored.Key && !seen.Stored.Clear)
	assert.NotNil(t, seen.Node)
	for name, a := range seen.Answers {
		assert.True(t, a.Found, "%s: %+v", name, a)
	}
	assert.Eventually(t, func() bool { return p.state(t) == before }, 5*time.Second, 100*time.Millisecond)
	assert.Equal(t, before, p.state(t), "the machine is as it was")
}

// modules gives the machine those of a kernel.
const modules = `modules=$(readlink -f /lib)/modules
	if [ ! -d $modules ]; then
		mkdir -p /tmp/lib/low /tmp/lib/over/modules/6.1.0
		mount --bind $(readlink -f /lib) /tmp/lib/low
		mount -t overlay -o lowerdir=/tmp/lib/over:/tmp/lib/low overlay $(readlink -f /lib)
	fi
`

// requireUnlimited fails unless it is said that K3s had every capability, and the
// machine's modules were hidden from it.
func requireUnlimited(t *testing.T, seen *rehearsal.Observation) {
	t.Helper()
	require.Len(t, seen.Warnings, 1)
	assert.Contains(t, seen.Warnings[0], "with all capabilities of root within its namespaces, since nothing on the machine takes them away")
	assert.Contains(t, seen.Warnings[0], "its modules were hidden from it")
	capabilities, kernels := launchertest.Rights(t, seen)
	assert.NotZero(t, capabilities&launchertest.Dangerous, "what is said is so")
	assert.Zero(t, kernels)
}

// TestSetprivThatMayNot is a setpriv that could take capabilities away and is not let.
func TestSetprivThatMayNot(t *testing.T) {
	p := newPlace(t, modules+`printf '#!/bin/sh\ncase $* in --help) echo --bounding-set; exit ;; esac\necho "setpriv: activate capabilities: Operation not permitted" >&2; exit 127\n' >/usr/local/bin/setpriv; chmod 755 /usr/local/bin/setpriv`)
	seen, err := machine.Run(t.Context(), p.machine(), p.request(t, time.Minute, false))
	require.NoError(t, err)
	require.True(t, seen.Up, "%v", seen.Log)
	requireUnlimited(t, seen)
}
