package perf

import (
	"bytes"
	"errors"
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
	convertBack   = "qemu-img convert and back, fsync, sha256"
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
	// Reread is how much of that goes by from reading the finished image again to
	// the end of the build.
	Reread float64 `json:"reread_seconds,omitempty"`
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

// virtBackends have libguestfs start QEMU by itself: as fast as it can, and
// where that fails because the processor's help is there and does not work,
// without it.
var virtBackends = [][]string{
	{"LIBGUESTFS_BACKEND=direct"},
	{"LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg"},
}

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
		// What is published is read once more, with its digest: so is this.
		{convertBack, 0, shell(`qemu-img convert -O qcow2 "$1" node.qcow2; sync node.qcow2; sha256sum node.qcow2; qemu-img convert -O raw node.qcow2 back; sync back`)},
	}
	// It is compared where it is installed (packages guestfs-tools and
	// linux-image-amd64, whose kernel it starts) and can start its virtual machine.
	backend, err := virtBackend(t)
	if err != nil {
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
		cmd.Env = append(os.Environ(), backend...)
		return cmd
	}})
}

// virtBackend returns the first of virtBackends that works here, or why none
// does.
func virtBackend(t testing.TB) ([]string, error) {
	t.Helper()
	if _, err := exec.LookPath("virt-customize"); err != nil {
		return nil, err
	}
	disk := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(disk, nil, 0o600))
	require.NoError(t, os.Truncate(disk, 1<<20))
	var errs []error
	for _, backend := range virtBackends {
		cmd := exec.CommandContext(t.Context(), "virt-filesystems", "--format=raw", "-a", disk)
		cmd.Env = append(os.Environ(), backend...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			return backend, nil
		}
		errs = append(errs, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out))))
	}
	return nil, errors.Join(errs...)
}

// stopwatch keeps what a build says, and when it first says that it reads its
// image once more.
type stopwatch struct {
	said    bytes.Buffer
	rereads time.Time
}

func (s *stopwatch) Write(p []byte) (int, error) {
	n, err := s.said.Write(p)
	if s.rereads.IsZero() && bytes.Contains(s.said.Bytes(), []byte("once more")) {
		s.rereads = time.Now()
	}
	return n, err
}

// makeImage runs a way once. The row has what this one run took.
func makeImage(t testing.TB, by imageWay, base string) imageRow {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(base), "run") //nolint:usetesting // beside the base, on its file system, and gone after each run
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	cmd, watch := by.command(t, base, dir), &stopwatch{}
	cmd.Stdout, cmd.Stderr = watch, watch
	started := time.Now()
	err = cmd.Run()
	ended := time.Now()
	require.NoError(t, err, "%s: %s", by.name, watch.said.String())
	r := imageRow{Seconds: ended.Sub(started).Seconds()}
	if !watch.rereads.IsZero() {
		r.Reread = ended.Sub(watch.rereads).Seconds()
	}
	images, err := filepath.Glob(filepath.Join(dir, imageName+"*"))
	require.NoError(t, err)
	for _, image := range images {
		r.MiB += room(t, image)
	}
	return r
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
		bySize, rereads := make([]imageRow, len(ways)), make([][]float64, len(ways))
		for turn := range runs {
			for i, by := range ways {
				if by.most > 0 && (turn >= by.most || size != imageSizes[0]) {
					continue
				}
				progress("%s of %d GiB, run %d of %d", by.name, size, turn+1, runs)
				run := makeImage(t, by, base)
				bySize[i].Runs, bySize[i].MiB = append(bySize[i].Runs, run.Seconds), run.MiB
				rereads[i] = append(rereads[i], run.Reread)
			}
		}
		for i, by := range ways {
			r := bySize[i]
			if r.Runs == nil {
				continue
			}
			r.Way, r.GiB = by.name, size
			r.Seconds, r.Reread = medianOf(r.Runs), medianOf(rereads[i])
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
			atMost(fmt.Sprintf("what a qcow2 image of %d GiB adds, in a convert with fsync", size), adds(imageQCOW2, size)/adds(convertCopy, size), 2),
			atMost(fmt.Sprintf("what a qcow2 image of %d GiB adds, in a convert and back with fsync and digest", size), adds(imageQCOW2, size)/adds(convertBack, size), 2))
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
