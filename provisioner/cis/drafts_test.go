package cis

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestDrafts: a plan is kept for the options it was made from, and no others.
func TestDrafts(t *testing.T) {
	release, err := k3s.ParseRelease("v1.36.3+k3s1")
	require.NoError(t, err)
	options := func() harden.Options {
		return harden.Options{
			Release: release, Role: k3s.Server, Benchmark: "cis-2.1",
			Config: map[string]any{"tls-san": []any{"a"}},
		}
	}
	var d drafts
	first, err := d.draw(options())
	require.NoError(t, err)
	again, err := d.draw(options())
	require.NoError(t, err)
	assert.Same(t, first, again, "equal options have the same plan")

	other := options()
	other.Config["tls-san"] = []any{"b"}
	changed, err := d.draw(other)
	require.NoError(t, err)
	assert.NotEqual(t, first.Change, changed.Change)
	fresh, err := harden.Make(other, nil)
	require.NoError(t, err)
	assert.Equal(t, fresh.Change, changed.Change)
}
