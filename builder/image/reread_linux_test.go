package image

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/disk"
)

// tamper is a step that changes the finished image as a fault would.
type tamper func(w *work)

func (f tamper) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	w, _ := of(state)
	f(w)
	return multistep.ActionContinue
}

func (f tamper) Cleanup(multistep.StateBag) {}

// runTampered runs a build with one more step before the image is read again.
func (b *bench) runTampered(options map[string]any, hook packersdk.Hook, f tamper) (*work, error) {
	b.t.Helper()
	builder := new(Builder)
	_, _, err := builder.Prepare(options)
	require.NoError(b.t, err)
	var steps []multistep.Step
	for _, step := range builder.steps() {
		if _, reread := step.(*stepReread); reread {
			steps = append(steps, f)
		}
		steps = append(steps, step)
	}
	require.Len(b.t, steps, len(builder.steps())+1)
	state, w := new(multistep.BasicStateBag), &work{}
	state.Put("ui", &packersdk.BasicUi{Reader: strings.NewReader(""), Writer: io.Discard, ErrorWriter: io.Discard, PB: &packersdk.NoopProgressTracker{}})
	state.Put("hook", hook)
	state.Put(workKey, w)
	(&multistep.BasicRunner{Steps: steps}).Run(b.t.Context(), state)
	err, _ = state.Get("error").(error)
	return w, err
}

// A fault between the verdict and the image, of whatever kind, fails the
// build, and no image is there.
func TestImageIsReadAgain(t *testing.T) {
	const mark = "this very text is looked for in the image"
	leave := provision(func(_ context.Context, _ packersdk.Communicator, data map[string]any) error {
		return os.WriteFile(filepath.Join(rootOf(data), "etc/mark"), []byte(mark), 0o600)
	})
	nothing := tamper(func(*work) {})
	for _, kind := range []string{"tar", "raw"} {
		for _, format := range []string{"raw", "qcow2", "tar"} {
			t.Run(kind+" to "+format, func(t *testing.T) {
				b := newBench(t)
				b.need(disk.Mke2fs, disk.Debugfs, disk.E2fsck, disk.QemuImg)
				if kind == "raw" {
					b.needLoop()
				}
				options := b.options(b.base(kind), map[string]any{"format": format})
				changed := 0
				w, err := b.runTampered(options, leave, func(w *work) {
					image, err := os.ReadFile(w.partial)
					require.NoError(t, err)
					changed = bytes.Count(image, []byte(mark))
					other := bytes.ReplaceAll(image, []byte(mark), bytes.ToUpper([]byte(mark)))
					f, err := os.OpenFile(w.partial, os.O_WRONLY, 0)
					require.NoError(t, err)
					_, err = f.WriteAt(other, 0)
					require.NoError(t, err)
					require.NoError(t, f.Close())
				})
				require.NotZero(t, changed)
				require.ErrorIs(t, err, disk.ErrDiffers)
				require.ErrorContains(t, err, "nothing was published")
				if format != "qcow2" {
					require.ErrorContains(t, err, "/etc/mark has another content")
				}
				assert.Nil(t, w.published)
				assert.NoDirExists(t, b.out)

				w, err = b.runTampered(options, leave, nothing)
				require.NoError(t, err)
				assert.NotNil(t, w.published)
			})
		}
	}
}

// A provisioner that lists a file system in fstab hides at boot what was
// written below its directory.
func TestFstabWrittenInTheBuild(t *testing.T) {
	b := newBench(t)
	b.needLoop()
	_, err := b.run(t.Context(), b.options(b.base("raw"), map[string]any{"format": "raw"}),
		provision(func(_ context.Context, _ packersdk.Communicator, data map[string]any) error {
			require.NoError(t, os.WriteFile(filepath.Join(rootOf(data), "etc/fstab"), []byte("/usr /var/lib none bind 0 0\n"), 0o644))
			return os.WriteFile(filepath.Join(rootOf(data), "var/lib/file"), []byte("x"), 0o644)
		}))
	require.ErrorIs(t, err, disk.ErrDiffers)
	require.ErrorContains(t, err, "/var/lib/file is missing")
}
