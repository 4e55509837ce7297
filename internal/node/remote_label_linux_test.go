package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
			lay(t, dir, "dir /etc 0755", "dir /var/lib 0755", selinuxOn)
			comm.enter = hideRestorecon
			change := Change{Write: []Entry{file("/etc/a", 0o644, "A")}}
			before := snapshot(t, dir)
			_, err := Remote(comm, RemoteOptions{}).Apply(context.Background(), change, Query{{Path: "/etc"}})
			require.ErrorContains(t, err, "restorecon, which gives files their labels, is missing")
			assert.Equal(t, before, snapshot(t, dir))

			lay(t, dir, "file /etc/a 0644 A")
			out, err := Remote(comm, RemoteOptions{}).Apply(context.Background(), change, Query{{Path: "/etc"}})
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
			lay(t, dir, "dir /etc 0755", "dir /var/lib 0755", selinuxOn,
				"file /kill/restorecon 0755 #!/bin/sh\necho \"$*\" >/kill/labelled\n")
			comm.enter = hideRestorecon + "PATH=/kill:$PATH; export PATH"
			_, err := Remote(comm, RemoteOptions{}).Apply(context.Background(),
				Change{Write: []Entry{file("/etc/a", 0o644, "A"), file("/etc/new/b", 0o644, "B")}}, Query{{Path: "/etc"}})
			require.NoError(t, err)
			said, err := os.ReadFile(filepath.Join(dir, "kill", "labelled"))
			require.NoError(t, err)
			assert.Subset(t, strings.Fields(string(said)), []string{"/etc/a", "/etc/new", "/etc/new/b"})
		})
	}
}
