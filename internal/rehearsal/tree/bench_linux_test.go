package tree_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/rehearsal/tree"
)

// TestCost bounds the seconds that a rehearsal adds to those of what is started:
// making the namespaces and ending them, beside the time until it is up. The asks
// are in it, for which the launcher takes as long as a process does.
func TestCost(t *testing.T) {
	asRoot(t)
	root := newTree(t)
	r := request(t, root, time.Minute)
	best := time.Hour
	for range 5 {
		began := time.Now()
		seen, err := tree.Run(t.Context(), root, r)
		require.NoError(t, err)
		require.True(t, seen.Up)
		best = min(best, time.Since(began)-seen.UpAfter)
	}
	t.Logf("a rehearsal adds %s", best.Round(time.Millisecond))
	require.Less(t, best, time.Second)
}
