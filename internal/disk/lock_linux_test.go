package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReclaim(t *testing.T) {
	needLoop(t)
	parent := t.TempDir()
	noLeaks(t, parent)
	const prefix = "work-"
	alive, lock, err := NewWorkDirectory(parent, prefix, nil)
	require.NoError(t, err)
	dead, deadLock, err := NewWorkDirectory(parent, prefix, nil)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dead, "root"), 0o755))
	image := newImage(t, dead, 64*mib)
	format(t, image, whole(64 * mib).Partitions[0], "ext4", "", plainRoot)
	layout, err := ReadLayout(image)
	require.NoError(t, err)
	_, err = Mount(t.Context(), image, layout.Partitions[0], filepath.Join(dead, "root"), Access{})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dead, "root/program"), programThatSleeps(t), 0o755))
	orphan := exec.Command("/program", "sleep", "600")
	orphan.SysProcAttr = &syscall.SysProcAttr{Chroot: TreeIn(dead)}
	require.NoError(t, orphan.Start())
	go func() { _ = orphan.Wait() }()
	require.NoError(t, deadLock.Close()) // as the kernel does when a process is killed

	strange := filepath.Join(parent, prefix+"not-ours")
	require.NoError(t, os.Mkdir(strange, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(strange, lockName), nil, 0o600))

	removed, err := Reclaim(parent, prefix)
	require.NoError(t, err)
	assert.Equal(t, []string{dead}, removed)
	assert.DirExists(t, alive)
	assert.DirExists(t, strange)
	assert.NoDirExists(t, dead)
	require.NoError(t, lock.Close())
}

// programThatSleeps is busybox, which needs no libraries.
func programThatSleeps(t testing.TB) []byte {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox (package busybox-static)")
	}
	b, err := os.ReadFile(program)
	require.NoError(t, err)
	return b
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	first, err := Lock(path)
	require.NoError(t, err)
	_, err = Lock(path)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, first.Close())
	second, err := Lock(path)
	require.NoError(t, err)
	require.NoError(t, second.Close())
}

// TestLockNew: what still has a killed build's file open writes nothing into the
// next one.
func TestLockNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	left, err := LockNew(path)
	require.NoError(t, err)
	_, err = LockNew(path)
	require.ErrorIs(t, err, ErrLocked)
	stale, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer stale.Close()
	require.NoError(t, left.Close())

	made, err := LockNew(path)
	require.NoError(t, err)
	defer made.Close()
	_, err = stale.WriteString("of the build before")
	require.NoError(t, err)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Empty(t, data)
}

// TestBuildsThatBeginTogether: what one build has just made is not taken for what
// a killed one left, by another that begins at the same moment.
func TestBuildsThatBeginTogether(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: only root's directories are reclaimed")
	}
	parent, ledger := t.TempDir(), Ledger(filepath.Join(t.TempDir(), "ledger"))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				_, err := Reclaim(parent, "work-")
				assert.NoError(t, err)
				_, err = ledger.Reclaim()
				assert.NoError(t, err)
				entry, err := ledger.Begin()
				if !assert.NoError(t, err) {
					return
				}
				dir, held, err := NewWorkDirectory(parent, "work-", entry)
				if !assert.NoError(t, err) {
					return
				}
				assert.DirExists(t, dir)
				assert.NoError(t, os.RemoveAll(dir))
				assert.NoError(t, held.Close())
				assert.NoError(t, entry.Close())
			}
		})
	}
	group.Wait()
	left, err := os.ReadDir(parent)
	require.NoError(t, err)
	assert.Empty(t, left)
}
