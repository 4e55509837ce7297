package disk

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// confined runs this test again without the capabilities that an ordinary
// container lacks, and says whether this is that run.
func confined(t *testing.T) bool {
	t.Helper()
	if os.Getenv("DISK_TEST_CONFINED") != "" {
		return true
	}
	needRoot(t)
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("needs setpriv (package util-linux)")
	}
	cmd := exec.Command(setpriv, "--bounding-set", "-sys_admin,-mknod,-setfcap", "--inh-caps", "-all",
		os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "DISK_TEST_CONFINED=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

// An ordinary container may make neither device nodes nor capabilities: they
// are in the image all the same, and no mount or loop device is needed.
func TestUnprivilegedContainer(t *testing.T) {
	if !confined(t) {
		return
	}
	require.ErrorIs(t, unix.Mknod(filepath.Join(t.TempDir(), "x"), unix.S_IFCHR, int(unix.Mkdev(1, 3))), unix.EPERM, "the test's own assumption")
	dir, held, err := unpackInto(t, tarOf(t, append(wholeTree(), hardLink("./dev/zero", "./dev/null"))...))
	require.NoError(t, err)
	require.Equal(t, "3 device nodes, 1 extended attributes", held.String())
	assert.NoFileExists(t, filepath.Join(dir, "dev/null"))

	t.Run("tar", func(t *testing.T) {
		var out bytes.Buffer
		_, err := Archive(t.Context(), &out, dir, held)
		require.NoError(t, err)
		members := membersOf(t, out.Bytes())
		for _, name := range []string{"./dev/null", "./dev/zero"} {
			require.Contains(t, members, name)
			assert.EqualValues(t, tar.TypeChar, members[name].Typeflag)
			assert.EqualValues(t, 1, members[name].Devmajor)
			assert.EqualValues(t, 3, members[name].Devminor)
			assert.EqualValues(t, 0o666, members[name].Mode)
		}
		assert.EqualValues(t, tar.TypeBlock, members["./dev/disk"].Typeflag)
		assert.Equal(t, 6, members["./dev/disk"].Gid)
		assert.Equal(t, capability, members["./usr/bin/ping"].PAXRecords[xattrRecord+"security.capability"])
	})
	t.Run("ext4", func(t *testing.T) {
		needTools(t, Mke2fs, Debugfs, E2fsck)
		image := filepath.Join(t.TempDir(), "disk.raw")
		require.NoError(t, MakeExt4(t.Context(), dir, image, 128*mib, held, t.TempDir()))
		assert.Contains(t, inspect(t, image, "stat /dev/null"), "Type: character special    Mode:  0666")
		assert.Contains(t, inspect(t, image, "stat /dev/null"), "Device major/minor number: 01:03")
		assert.Contains(t, inspect(t, image, "stat /dev/disk"), "Group:     6")
		assert.Contains(t, inspect(t, image, "ea_list /usr/bin/ping"), "security.capability (20) = 01 00 00 02 00 20 00 00")
	})
	t.Run("what changed is not dressed up again", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "usr/bin/ping"), []byte("another program"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "dev/null"), []byte("a file"), 0o644))
		require.NoError(t, os.Rename(filepath.Join(dir, "etc"), filepath.Join(dir, "etc.old")))
		var out bytes.Buffer
		_, err := Archive(t.Context(), &out, dir, held)
		require.NoError(t, err)
		members := membersOf(t, out.Bytes())
		assert.Empty(t, members["./usr/bin/ping"].PAXRecords)
		assert.EqualValues(t, tar.TypeReg, members["./dev/null"].Typeflag)
	})
}
