package remote

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node/nodetest"
)

const (
	selinuxOn = "file /sys/fs/selinux/enforce 0644 1"
	// hideRestorecon takes away the one that this host may have.
	hideRestorecon = "[ ! -e usr/sbin/restorecon ] || mount --bind /dev/null usr/sbin/restorecon; "
)

// A machine that has labels, and nothing to restore them with, is left alone:
// what is laid would have labels that no program of the policy may read.
func TestNoRestorecon(t *testing.T) {
	for _, flavor := range flavors {
		t.Run(flavor, func(t *testing.T) {
			dir := t.TempDir()
			comm := newChroot(t, dir, flavor)
			nodetest.Lay(t, dir, "dir /etc 0755", "dir /var/lib 0755", selinuxOn)
			comm.enter = hideRestorecon
			change := node.Change{Write: []node.Entry{nodetest.File("/etc/a", 0o644, "A")}}
			before := nodetest.Snapshot(t, dir)
			_, err := New(comm, Options{}).Apply(context.Background(), change, node.Query{{Path: "/etc"}})
			require.ErrorContains(t, err, "restorecon, which gives files their labels, is missing")
			assert.Equal(t, before, nodetest.Snapshot(t, dir))

			nodetest.Lay(t, dir, "file /etc/a 0644 A")
			out, err := New(comm, Options{}).Apply(context.Background(), change, node.Query{{Path: "/etc"}})
			require.NoError(t, err, "what is there already needs no label")
			assert.Empty(t, out.Changed)
		})
	}
}

// Everything that is written gets its label, and so do new directories above it.
func TestRestorecon(t *testing.T) {
	for _, flavor := range flavors {
		t.Run(flavor, func(t *testing.T) {
			dir := t.TempDir()
			comm := newChroot(t, dir, flavor)
			nodetest.Lay(t, dir, "dir /etc 0755", "dir /var/lib 0755", selinuxOn,
				"file /kill/restorecon 0755 #!/bin/sh\necho \"$*\" >/kill/labelled\n")
			comm.enter = hideRestorecon + "PATH=/kill:$PATH; export PATH"
			_, err := New(comm, Options{}).Apply(context.Background(),
				node.Change{Write: []node.Entry{nodetest.File("/etc/a", 0o644, "A"), nodetest.File("/etc/new/b", 0o644, "B")}, Links: map[string]string{"/etc/l": "a"}}, node.Query{{Path: "/etc"}})
			require.NoError(t, err)
			said, err := os.ReadFile(filepath.Join(dir, "kill", "labelled"))
			require.NoError(t, err)
			assert.Subset(t, strings.Fields(string(said)), []string{"/etc/a", "/etc/l", "/etc/new", "/etc/new/b"})
		})
	}
}
