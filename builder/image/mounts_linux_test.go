package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Others reach a mounted tree by the path that they are told, and nothing at
// all by what that resolves to: a program that writes there all the same fails
// the build.
func TestMountsOfOurOwn(t *testing.T) {
	if !hasOwnMounts() {
		t.Skip("no mount namespace of our own")
	}
	others := fmt.Sprintf("/proc/%d/root", os.Getppid()) // the program that runs the tests
	for _, astray := range []bool{false, true} {
		t.Run(fmt.Sprintf("astray %t", astray), func(t *testing.T) {
			b := newBench(t)
			b.needLoop()
			_, err := b.run(t.Context(), b.options(b.base("raw"), map[string]any{"format": "raw"}), provision(func(ctx context.Context, c packersdk.Communicator, data map[string]any) error {
				root := rootOf(data)
				assert.FileExists(t, filepath.Join(others, root, "etc/hostname"))
				mounts, err := os.ReadFile(filepath.Join(others, "proc", fmt.Sprint(os.Getppid()), "mounts"))
				require.NoError(t, err)
				assert.NotContains(t, string(mounts), b.dir)
				resolved, err := filepath.EvalSymlinks(root)
				require.NoError(t, err)
				assert.NotEqual(t, root, resolved)
				assert.NoDirExists(t, filepath.Join(others, resolved))
				if astray {
					require.NoError(t, os.MkdirAll(filepath.Join(others, resolved, "etc"), 0o755))
				}
				return leaveMark(ctx, c, data)
			}))
			if astray {
				require.ErrorContains(t, err, `["root"] was written beside the tree: a program has resolved the path in build.RootDirectory`)
				assert.NoDirExists(t, b.out)
			} else {
				require.NoError(t, err)
				assert.Equal(t, "made", b.content(filepath.Join(b.out, "node.raw"), "raw", "/etc/mark"))
			}
		})
	}
}
