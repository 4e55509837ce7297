package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// systemd finds nothing wrong with the units.
func TestUnitsVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("needs systemd-analyze")
	}
	for _, role := range []k3s.Role{k3s.Server, k3s.Agent} {
		t.Run(string(role), func(t *testing.T) {
			dir := t.TempDir()
			o := Options{BinDir: dir, Roles: []k3s.Role{role}}
			require.NoError(t, os.WriteFile(filepath.Join(dir, "k3s"), []byte("#!/bin/sh\n"), 0o755))
			for _, e := range o.service(service.SystemdManager, role) {
				p := filepath.Join(dir, strings.TrimPrefix(e.Path, k3s.SystemdDir))
				require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
				require.NoError(t, os.WriteFile(p, e.Data, 0o644))
			}
			cmd := exec.Command(analyze, "verify", "--man=no", "--generators=no", filepath.Join(dir, role.ServiceName()+".service"))
			cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			assert.Empty(t, string(out))
		})
	}
}

// What nothing is known of is not wrong, and what runs is not refused.
func TestFits(t *testing.T) {
	for name, c := range map[string]struct {
		binary, tree string
		loaders      []string
		want         string
	}{
		"nothing known":                 {binary: "arm64"},
		"the tree's":                    {binary: "arm64", tree: "arm64"},
		"another tree's":                {binary: "arm64", tree: "amd64", want: "for arm64, and the node's programs are for amd64"},
		"a loader":                      {binary: "amd64", loaders: []string{"/lib/ld-musl-x86_64.so.1"}},
		"another loader":                {binary: "amd64", loaders: []string{"/lib/ld-linux-armhf.so.3"}, want: "for amd64, and the node's programs are for arm"},
		"two loaders":                   {binary: "arm64", loaders: []string{"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"}},
		"narrow programs, wide kernel":  {binary: "arm64", tree: "arm"},
		"wide programs, narrow binary":  {binary: "arm", tree: "arm64", want: "for arm, and"},
		"an old PC's programs on a new": {binary: "amd64", tree: "386"},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{BinDir: "/usr/local/bin", Architecture: c.tree, Binary: Binary{Architecture: c.binary}}
			var entries []node.Entry
			for _, p := range c.loaders {
				entries = append(entries, node.Entry{Path: p, Kind: node.KindFile})
			}
			err := o.fits(node.New(Query(o), entries))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}
