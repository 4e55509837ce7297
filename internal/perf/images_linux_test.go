package perf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/sshtest"
)

// The names of the ways to make an image, as the table has them.
const (
	packerAlone   = "Packer, null builder"
	imageRaw      = "k3s-image, raw"
	imageQCOW2    = "k3s-image, qcow2"
	sparseCopy    = "cp --sparse=always, fsync"
	convertCopy   = "qemu-img convert, fsync"
	virtCustomize = "cp, virt-customize"
)

// imageSizes are those of the disk in the image, in GiB; what is on it is the
// same.
var imageSizes = []int{2, 8, 32}

// imageRow is one line of the table of images.
type imageRow struct {
	Way string `json:"way"`
	GiB int    `json:"gib"`
	// Seconds is the median of Runs; Adds is less what Packer alone takes.
	Seconds float64 `json:"seconds"`
	Adds    float64 `json:"adds_seconds"`
	// MiB is how much room the image takes.
	MiB  int64     `json:"mib"`
	Runs []float64 `json:"runs_seconds"`
}

// imageWay is one way to make an image of a base.
type imageWay struct {
	name string
	// most limits how often, and only for the smallest size, a slow way runs;
	// 0 does not.
	most    int
	command func(t testing.TB, base, dir string) *exec.Cmd
}

const imageSource = `
source "k3s-image" "node" {
  iso_url          = %q
  iso_checksum     = "none"
  format           = %q
  vm_name          = "node"
  output_directory = %q
}
build {
  sources = ["source.k3s-image.node"]
%s
}
`

// virtBackend has libguestfs start QEMU by itself.
const virtBackend = "LIBGUESTFS_BACKEND=direct"

// imageName is what every way calls its image, in the run's directory.
const imageName = "node."

func imageWays(t testing.TB, p *packertest.Packer, w work) []imageWay {
	build := func(text func(base, dir string) string) func(testing.TB, string, string) *exec.Cmd {
		return func(t testing.TB, base, dir string) *exec.Cmd {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "test.pkr.hcl"), []byte(text(base, dir)), 0o600))
			return p.Command(t.Context(), dir, "build", ".")
		}
	}
	ours := func(format string) func(testing.TB, string, string) *exec.Cmd {
		return build(func(base, dir string) string {
			return fmt.Sprintf(imageSource, base, format, dir, fmt.Sprintf(hardening, release, ""))
		})
	}
	shell := func(script string) func(testing.TB, string, string) *exec.Cmd {
		return func(t testing.TB, base, dir string) *exec.Cmd {
			t.Helper()
			cmd := exec.CommandContext(t.Context(), "sh", "-ec", script, "sh", base)
			cmd.Dir = dir
			return cmd
		}
	}
	ways := []imageWay{
		{packerAlone, 0, build(func(string, string) string {
			return "source \"null\" \"node\" {\n communicator = \"none\"\n}\nbuild {\n sources = [\"source.null.node\"]\n}\n"
		})},
		{imageRaw, 0, ours("raw")},
		{sparseCopy, 0, shell(`cp --sparse=always "$1" node.raw; sync node.raw`)},
		{imageQCOW2, 0, ours("qcow2")},
		{convertCopy, 0, shell(`qemu-img convert -O qcow2 "$1" node.qcow2; sync node.qcow2`)},
	}
	// It is compared where it is installed (package guestfs-tools) and can
	// start its virtual machine.
	if err := tryVirtCustomize(t); err != nil {
		progress("virt-customize is left out: %s", err)
		return ways
	}
	return append(ways, imageWay{virtCustomize, 1, func(t testing.TB, base, dir string) *exec.Cmd {
		t.Helper()
		w.write(t, dir)
		cmd := shell(`cp --sparse=always "$1" node.raw; shift; virt-customize -q --format raw -a node.raw --no-network "$@"; sync node.raw`)(t, base, dir)
		for _, e := range w.dirs {
			cmd.Args = append(cmd.Args, "--mkdir", e.Path, "--chmod", fmt.Sprintf("%04o:%s", e.Mode.Perm(), e.Path))
		}
		for i, e := range w.files {
			cmd.Args = append(cmd.Args, "--upload", source(dir, i)+":"+e.Path, "--chmod", fmt.Sprintf("%04o:%s", e.Mode.Perm(), e.Path))
		}
		cmd.Env = append(os.Environ(), virtBackend)
		return cmd
	}})
}

// tryVirtCustomize says why virt-customize does not start here.
func tryVirtCustomize(t testing.TB) error {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(disk, nil, 0o600))
	require.NoError(t, os.Truncate(disk, 1<<20))
	cmd := exec.CommandContext(t.Context(), "virt-filesystems", "--format=raw", "-a", disk)
	cmd.Env = append(os.Environ(), virtBackend)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	_, err := exec.LookPath("virt-customize")
	return err
}

// makeImage runs a way once and returns how long it took, and how much room
// its image takes in MiB.
func makeImage(t testing.TB, by imageWay, base string) (seconds float64, mib int64) {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(base), "run") //nolint:usetesting // beside the base, on its file system, and gone after each run
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	cmd := by.command(t, base, dir)
	started := time.Now()
	out, err := cmd.CombinedOutput()
	seconds = time.Since(started).Seconds()
	require.NoError(t, err, "%s: %s", by.name, out)
	images, err := filepath.Glob(filepath.Join(dir, imageName+"*"))
	require.NoError(t, err)
	for _, image := range images {
		mib += room(t, image)
	}
	return seconds, mib
}

// compareImages makes images of a disk of every size in every way. Ways take
// turns, so that what else the machine does meets them all.
func compareImages(t testing.TB, p *packertest.Packer, tree string, w work, runs int) []imageRow {
	t.Helper()
	dir := t.TempDir()
	ways := imageWays(t, p, w)
	var rows []imageRow
	for _, size := range imageSizes {
		base := filepath.Join(dir, fmt.Sprintf("base-%d.raw", size))
		require.NoError(t, disk.MakeExt4(t.Context(), tree, base, int64(size)<<30, nil, dir))
		bySize := make([]imageRow, len(ways))
		for turn := range runs {
			for i, by := range ways {
				if by.most > 0 && (turn >= by.most || size != imageSizes[0]) {
					continue
				}
				progress("%s of %d GiB, run %d of %d", by.name, size, turn+1, runs)
				seconds, mib := makeImage(t, by, base)
				bySize[i].Runs, bySize[i].MiB = append(bySize[i].Runs, seconds), mib
			}
		}
		for i, by := range ways {
			r := bySize[i]
			if r.Runs == nil {
				continue
			}
			r.Way, r.GiB = by.name, size
			r.Seconds = medianOf(r.Runs)
			r.Adds = r.Seconds
			if strings.HasPrefix(by.name, "k3s-image") {
				r.Adds -= medianOf(bySize[0].Runs)
			}
			rows = append(rows, r)
		}
		require.NoError(t, os.Remove(base))
	}
	return rows
}

// imageGoals compares what images cost with what is aimed at.
func imageGoals(rows []imageRow) []goal {
	adds := func(way string, size int) float64 {
		for _, r := range rows {
			if r.Way == way && r.GiB == size {
				return r.Adds
			}
		}
		return 0
	}
	var list []goal
	for _, size := range imageSizes {
		list = append(list,
			atMost(fmt.Sprintf("what a raw image of %d GiB adds, in a sparse copy with fsync", size), adds(imageRaw, size)/adds(sparseCopy, size), 3),
			atMost(fmt.Sprintf("what a qcow2 image of %d GiB adds, in a convert with fsync", size), adds(imageQCOW2, size)/adds(convertCopy, size), 2))
	}
	small, large := imageSizes[0], imageSizes[len(imageSizes)-1]
	for _, way := range []string{imageRaw, imageQCOW2} {
		list = append(list, atMost(fmt.Sprintf("%s of %d GiB, in one of %d GiB", way, large, small), adds(way, large)/adds(way, small), 1.2))
	}
	if slow := adds(virtCustomize, small); slow > 0 {
		list = append(list, atLeast("virt-customize, in what a raw image adds", slow/adds(imageRaw, small), 15))
	}
	return list
}

// TestBenchImages measures images alone and prints their part of the table.
func TestBenchImages(t *testing.T) {
	needBench(t)
	r := results{CPUs: runtime.NumCPU(), Load: []string{load(t)}}
	r.Images = compareImages(t, packertest.New(t, nil), sshtest.Base(t), newWork(t), 3)
	r.Load = append(r.Load, load(t))
	r.Targets = imageGoals(r.Images)
	require.NoError(t, r.print(os.Stdout))
}
