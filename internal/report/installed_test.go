package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What was installed is in report.json as its schema has it, and comes back.
func TestInstalledInReport(t *testing.T) {
	meta := fixtureMeta()
	sum := strings.Repeat("0a", 32)
	meta.Installed = &Installed{
		Binary: InstalledFile{"/usr/local/bin/k3s", sum}, Release: "v1.36.3+k3s1", Architecture: "amd64",
		SELinuxPolicy: &InstalledFile{"/usr/share/selinux/packages/k3s.pp", sum},
		Archives:      []InstalledArchive{{InstalledFile{"/var/lib/rancher/k3s/agent/images/a.tar", sum}, []string{"docker.io/own/app:v1"}}, {InstalledFile{"/b.tar.lz4", sum}, nil}},
	}
	r := New(meta, fixtureResults())
	data, err := marshalJSON(r)
	require.NoError(t, err)
	again, err := LoadReport(data)
	require.NoError(t, err)
	assert.Equal(t, r.Installed, again.Installed)
	_, err = LoadReport([]byte(strings.Replace(string(data), sum, "0a", 1)))
	require.ErrorContains(t, err, "/installed/binary/sha256")

	meta.Installed.Archives[0].Images[0] = "a\x1b[2Jb"
	assert.NotContains(t, New(meta, nil).Installed.Archives[0].Images[0], "\x1b")
}
