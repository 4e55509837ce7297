package cis

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
)

// TestOverwrite: names of things, or a boolean for all or none of them, in the
// forms in which Packer hands over HCL and JSON.
func TestOverwrite(t *testing.T) {
	all := harden.Overwrite{Config: true, Lists: true, Policies: true}
	for _, c := range []struct {
		given any
		want  harden.Overwrite
		says  string
	}{
		{nil, harden.Overwrite{}, ""},
		{true, all, ""},
		{false, harden.Overwrite{}, ""},
		{"true", all, ""},
		{"config, lists,policies", all, ""},
		{"lists", harden.Overwrite{Lists: true}, ""},
		{"policies", harden.Overwrite{Policies: true}, ""},
		{"", harden.Overwrite{}, ""},
		{"list", harden.Overwrite{}, "none of config, lists, policies"},
	} {
		var p Provisioner
		raw := map[string]any{"k3s_version": "v1.36.3+k3s1", "report_dir": t.TempDir()}
		if c.given != nil {
			raw["overwrite"] = c.given
		}
		err := p.Prepare(raw)
		if c.says != "" {
			require.ErrorContains(t, err, c.says)
			continue
		}
		require.NoError(t, err, "%v", c.given)
		var errs []error
		assert.Equal(t, c.want, p.config.overwrites(&errs), "%v", c.given)
		assert.Empty(t, errs)
	}
}
