package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMissing(t *testing.T) {
	none := Tool{"no-such-program", "some-package"}
	other := Tool{"no-such-either", "some-package"}
	third := Tool{"nor-this", "another-package"}
	require.NoError(t, Missing())
	err := Missing(none, other, third, none)
	require.EqualError(t, err, "missing tools: no-such-program (package some-package), no-such-either (package some-package), "+
		"nor-this (package another-package); on Debian and Ubuntu: apt-get install some-package another-package")

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, none.Name), []byte("#!/bin/sh\n"), 0o755))
	t.Setenv("PATH", dir)
	require.NoError(t, Missing(none))
}

func TestRunExplainsFailure(t *testing.T) {
	dir := t.TempDir()
	tool := Tool{"failing-program", "p"}
	script := "#!/bin/sh\necho out; echo bad news >&2; for i in $(seq 1000); do echo filler >&2; done; echo the end >&2; exit 3\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, tool.Name), []byte(script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	_, err := run(t.Context(), tool, "", nil, "--flag", "value")
	require.ErrorContains(t, err, "failing-program --flag value: exit status 3")
	require.ErrorContains(t, err, "the end")
	assert.Less(t, len(err.Error()), maxOutput+200)
	assert.NotContains(t, err.Error(), "bad news", "the tail is what matters")
}

func TestArchitecture(t *testing.T) {
	dir := t.TempDir()
	_, err := Architecture(dir)
	require.ErrorIs(t, err, ErrNoProgram)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "usr/bin"), 0o755))
	require.NoError(t, os.Symlink("/usr/bin", filepath.Join(dir, "bin")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "usr/bin/sh"), []byte("#!/bin/none"), 0o755))
	_, err = Architecture(dir)
	require.ErrorIs(t, err, ErrNoProgram, "a script shows nothing")

	header := make([]byte, 64)
	copy(header, "\x7fELF\x02\x01\x01")
	header[16], header[20], header[52], header[54], header[58] = 2, 1, 64, 56, 64
	for machine, want := range map[byte]string{62: "amd64", 183: "arm64", 40: "arm", 243: "riscv64"} {
		header[18] = machine
		require.NoError(t, os.WriteFile(filepath.Join(dir, "usr/bin/sh"), header, 0o755))
		got, err := Architecture(dir)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	header[18] = 8 // MIPS
	require.NoError(t, os.WriteFile(filepath.Join(dir, "usr/bin/sh"), header, 0o755))
	_, err = Architecture(dir)
	require.ErrorContains(t, err, "which K3s does not run on")
}
