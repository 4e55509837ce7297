package image

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// accTemplate builds an image with provisioners that Packer itself has. The
// source's options and the provisioners are filled in.
const accTemplate = `
packer {
  required_plugins {
    k3s = {
      source  = "github.com/k3s-cis/k3s"
      version = ">= 0.0.1"
    }
  }
}

source "k3s-image" "node" {
%s
}

build {
  sources = ["source.k3s-image.node"]
%s
}
`

// accProvisioners upload, run and download, with everything in the commands
// that a communicator can mangle.
const accProvisioners = `
  provisioner "file" {
    content     = "uploaded\n"
    destination = "/etc/uploaded"
  }
  provisioner "shell" {
    inline = [
      "set -e",
      "name=value; echo \"$name\" 'it''s $name' > /etc/made",
      "echo \"$PACKER_BUILD_NAME\" >> /etc/made",
      "test -c /dev/null && cat /etc/uploaded >> /etc/made",
      "printf 'a\\nb\\\\c\\n' >> /etc/made",
    ]
  }
  provisioner "file" {
    direction   = "download"
    source      = "/etc/made"
    destination = "downloaded"
  }
  provisioner "shell-local" {
    inline = ["cat ${build.RootDirectory}/etc/made > seen; echo ${build.RootReadOnly} >> seen",
      "test -e \"$(realpath ${build.RootDirectory})\" || echo not for others >> seen",
    ]
  }
  post-processor "shell-local" {
    inline = ["echo seen by a post-processor: ${build.ID}"]
  }
`

const accMade = "value its $name\nnode\nuploaded\na\nb\\c\n"

func acc(source, provisioners string) string {
	return fmt.Sprintf(accTemplate, source, provisioners)
}

func TestAccEveryBaseToEveryFormat(t *testing.T) {
	packer := packertest.New(t, nil)
	b := newBench(t)
	b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
	root := busybox(t)
	bases := map[string]string{"tar": filepath.Join(b.dir, "base.tar"), "directory": root}
	_, err := disk.ArchiveFile(t.Context(), root, bases["tar"], nil)
	require.NoError(t, err)
	for _, packed := range [][]string{{"gzip", "tar.gz"}, {"xz", "tar.xz"}, {"zstd", "tar.zst"}} {
		if compress, err := exec.LookPath(packed[0]); err == nil {
			require.NoError(t, exec.Command(compress, "-k", bases["tar"]).Run())
			bases[packed[1]] = filepath.Join(b.dir, "base."+packed[1])
		}
	}
	if exec.Command("losetup", "--find").Run() == nil {
		bases["raw"], bases["qcow2"] = filepath.Join(b.dir, "base.raw"), filepath.Join(b.dir, "base.qcow2")
		require.NoError(t, disk.MakeExt4(t.Context(), root, bases["raw"], 96<<20, nil, t.TempDir()))
		require.NoError(t, disk.Convert(t.Context(), bases["raw"], disk.Raw, bases["qcow2"], disk.QCOW2))
	}
	formats := map[string][]string{"tar.gz": {"tar"}, "tar.xz": {"tar"}, "tar.zst": {"qcow2"}}
	for kind, base := range bases {
		outputs := formats[kind]
		if outputs == nil {
			outputs = []string{"raw", "qcow2", "tar"}
		}
		for _, format := range outputs {
			t.Run(kind+" to "+format, func(t *testing.T) {
				source := fmt.Sprintf("iso_url = %q\niso_checksum = %q\n", base, checksumOf(t, kind, base))
				if kind == "directory" {
					source = fmt.Sprintf("rootfs_directory = %q\n", base)
				}
				dir := packertest.Write(t, acc(source+fmt.Sprintf("format = %q\nvm_name = \"node\"\noutput_directory = \"out\"\n", format), accProvisioners))
				r := packer.Run(t, dir, "build", ".")
				require.Zero(t, r.ExitCode, r.Output)
				image := filepath.Join(dir, "out", "node."+format)
				assert.Contains(t, r.Output, "out/node."+format)
				assert.Equal(t, accMade, b.content(image, format, "/etc/made"))
				seen := accMade + "false\n"
				if kind == "raw" || kind == "qcow2" {
					seen += "not for others\n"
				}
				for name, want := range map[string]string{"downloaded": accMade, "seen": seen} {
					got, err := os.ReadFile(filepath.Join(dir, name))
					require.NoError(t, err)
					assert.Equal(t, want, string(got), name)
				}
				_, id, ok := strings.Cut(r.Output, "seen by a post-processor: ")
				require.True(t, ok, r.Output)
				id, _, _ = strings.Cut(id, "\n")
				b.verify(image, id)
			})
		}
	}
}

// Packer's own compress post-processor packs one file, which is the image, and
// with it goes what the image was known by.
func TestAccCompress(t *testing.T) {
	packer := packertest.New(t, nil)
	b := newBench(t)
	b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			dir := packertest.Write(t, acc(fmt.Sprintf("rootfs_directory = %q\nformat = %q\nvm_name = \"node\"\noutput_directory = \"out\"\n", busybox(t), format), fmt.Sprintf(`
  post-processor "compress" {
    output = "out/node.%s.gz"
  }
`, format)))
			r := packer.Run(t, dir, "build", ".")
			require.Zero(t, r.ExitCode, r.Output)
			entries, err := os.ReadDir(filepath.Join(dir, "out"))
			require.NoError(t, err)
			require.Len(t, entries, 1, "the packed image alone: %v", entries)
			image := filepath.Join(dir, "node."+format)
			require.NoError(t, exec.Command("sh", "-c", "gzip -dc <"+filepath.Join(dir, "out", "node."+format+".gz")+" >"+image).Run())
			assert.Contains(t, b.content(image, format, "/bin/busybox"), "ELF")
		})
	}
}

func checksumOf(t testing.TB, kind, base string) string {
	t.Helper()
	if kind == "directory" {
		return ""
	}
	return "sha256:" + sha(t, base)
}

func TestAccValidate(t *testing.T) {
	packer := packertest.New(t, nil)
	dir := packertest.Write(t, acc(`
  iso_url      = "https://example.com/root.tar"
  iso_checksum = "none"
  format       = "vdi"
  vm_name      = "a/b"
  disk_size    = "large"
  architecture = "x86"
  partition    = "sda1"
`, ""))
	r := packer.Run(t, dir, "validate", ".")
	require.NotZero(t, r.ExitCode, r.Output)
	for _, option := range []string{"format:", "vm_name:", "disk_size:", "architecture:", "partition:"} {
		assert.Contains(t, r.Output, option)
	}
}

func TestAccWrongChecksum(t *testing.T) {
	packer := packertest.New(t, nil)
	b := newBench(t)
	base := b.base("tar")
	dir := packertest.Write(t, acc(fmt.Sprintf("iso_url = %q\niso_checksum = \"sha256:%s\"\noutput_directory = \"out\"\n", base, strings.Repeat("0", 64)), ""))
	r := packer.Run(t, dir, "build", ".")
	require.NotZero(t, r.ExitCode, r.Output)
	assert.Contains(t, r.Output, "hecksum")
	assert.NoDirExists(t, filepath.Join(dir, "out"))
}

// sleeping starts a build of a disk that sleeps in the mounted tree, and
// returns when it does.
func sleeping(t *testing.T, b *bench, packer *packertest.Packer) (cmd *exec.Cmd, dir, base string) {
	t.Helper()
	b.needLoop()
	b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
	base = filepath.Join(b.dir, "base.raw")
	require.NoError(t, disk.MakeExt4(t.Context(), busybox(t), base, 96<<20, nil, t.TempDir()))
	started := filepath.Join(b.dir, "started")
	dir = packertest.Write(t, acc(accRaw(base), fmt.Sprintf(`
  provisioner "shell-local" {
    inline = ["touch %s"]
  }
  provisioner "shell" {
    inline = ["sleep 600; true"]
  }
`, started)))
	cmd = packer.Command(t.Context(), dir, "build", ".")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { _, err := os.Stat(started); return err == nil }, time.Minute, 50*time.Millisecond)
	time.Sleep(2 * time.Second)
	return cmd, dir, base
}

func accRaw(base string) string {
	return fmt.Sprintf("iso_url = %q\niso_checksum = \"none\"\nformat = \"raw\"\noutput_directory = \"out\"\n", base)
}

// Packer is interrupted while a command runs in the mounted disk.
func TestAccInterrupted(t *testing.T) {
	packer := packertest.New(t, nil)
	b := newBench(t)
	cmd, dir, _ := sleeping(t, b, packer)
	// As a terminal does: to the whole group.
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		require.Error(t, err)
	case <-time.After(time.Minute):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		require.Fail(t, "packer did not stop")
	}
	assert.NoDirExists(t, filepath.Join(dir, "out"))
}
