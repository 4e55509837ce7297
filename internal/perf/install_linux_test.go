package perf

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/install"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/rootfs"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/k3stest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

// The names of the ways to bring K3s to a node, as the table has them.
const (
	oursInstall = "k3s-cis, install 200 MB"
	sshCat      = "ssh, cat >file of 200 MB"
)

// archiveSize is that of the archive of images, in bytes.
const archiveSize = 200 << 20

const installing = `
  provisioner "k3s-cis" {
    role       = "server"
    report_dir = "report"
    install {
      binary        = %q
      bin_dir       = "/opt/bin"
      service       = "systemd"
      airgap_images = [%q]
    }
    seal {
      enabled = false
    }
    waiver {
      control = "node.hygiene.access"
      reason  = "the machine of the measurement keeps its user"
      owner   = "perf"
      expires = "2099-12-31"
    }
  }
`

// installWays connect and bring K3s and an archive of images to a machine, ours
// with all else that it does, and connect and bring the archive alone.
func installWays(t testing.TB, p *packertest.Packer) []way {
	t.Helper()
	dir := t.TempDir()
	binary, archive := filepath.Join(dir, "k3s"), filepath.Join(dir, "images.tar")
	require.NoError(t, os.WriteFile(binary, k3stest.Binary(t, runtime.GOARCH), 0o600))
	require.NoError(t, os.WriteFile(archive, k3stest.Archive(t, runtime.GOARCH, archiveSize, "own/app:v1"), 0o600))
	return []way{
		{packerConnect, packerConnect, false, 0, packerWay(p, "root", func(string) string { return "" })},
		{oursInstall, packerConnect, false, 0, packerWay(p, "root", func(string) string { return fmt.Sprintf(installing, binary, archive) })},
		{sshConnect, sshConnect, false, 0, sshLogin},
		{sshCat, sshConnect, false, 0, func(t testing.TB, to target) *exec.Cmd {
			t.Helper()
			stdin, err := os.Open(archive)
			require.NoError(t, err)
			t.Cleanup(func() { _ = stdin.Close() })
			cmd := exec.CommandContext(t.Context(), "ssh", append(sshOptions(to), "root@127.0.0.1", "cat >/var/lib/images.tar")...)
			cmd.Stdin = stdin
			return cmd
		}},
	}
}

// installed is how many seconds it takes to write the archive into a tree, and to
// copy it there with cp, as medians of some runs that take turns.
func installed(t testing.TB, runs int) (ours, copied float64) {
	t.Helper()
	dir := t.TempDir()
	archive := filepath.Join(dir, "archive")
	f, err := os.Create(archive)
	require.NoError(t, err)
	_, err = io.CopyN(f, noise{}, archiveSize)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	source, err := install.ReadFile(archive)
	require.NoError(t, err)
	var a, b []float64
	for turn := range runs {
		progress("200 MB into a tree, run %d of %d", turn+1, runs)
		tree := filepath.Join(dir, fmt.Sprint(turn))
		require.NoError(t, os.Mkdir(tree, 0o755))
		started := time.Now()
		_, err := rootfs.At(tree).Apply(t.Context(), node.Change{Write: []node.Entry{
			{Path: "/images.tar", Kind: node.KindFile, Mode: 0o600, Size: source.Size, Source: &source},
		}}, node.Query{{Path: "/images.tar"}})
		require.NoError(t, err)
		a = append(a, time.Since(started).Seconds())
		started = time.Now()
		require.NoError(t, exec.CommandContext(t.Context(), "cp", "--reflink=never", archive, filepath.Join(tree, "copy")).Run())
		b = append(b, time.Since(started).Seconds())
		require.NoError(t, os.RemoveAll(tree))
	}
	return medianOf(a), medianOf(b)
}

// noise is bytes that no file system makes smaller.
type noise struct{}

func (noise) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * i >> 3)
	}
	return len(p), nil
}

// install measures all of it, and says what of it is aimed at.
func (r *results) install(t testing.TB, p *packertest.Packer, runs int) {
	t.Helper()
	rows, _ := compare(t, sshtest.Base(t), work{}, installWays(t, p), middleTrip, runs)
	r.Install = rows
	adds := map[string]float64{}
	for _, l := range rows {
		adds[l.Way] = l.Adds
	}
	tree, copied := installed(t, 5)
	r.Targets = append(r.Targets,
		atMost("what installing 200 MB over SSH adds at 50 ms, in what ssh host 'cat >file' adds", adds[oursInstall]/adds[sshCat], 1.3),
		atMost("what writing 200 MB into a tree takes, in what cp --reflink=never takes", tree/copied, 1.2))
}

// TestBenchInstall measures what bringing K3s to a node costs, alone.
func TestBenchInstall(t *testing.T) {
	needBench(t)
	t.Setenv("SSH_AUTH_SOCK", "")
	r := results{CPUs: runtime.NumCPU(), Load: []string{load(t)}}
	r.install(t, packertest.New(t, nil), 3)
	r.Load = append(r.Load, load(t))
	require.NoError(t, r.print(os.Stdout))
}
