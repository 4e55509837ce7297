package cis

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
)

// TestRehearsal goes through to the reports and writes none.
func TestRehearsal(t *testing.T) {
	for name, c := range map[string]struct {
		options map[string]any
		err     string
	}{
		"server":          {map[string]any{"k3s_version": "v1.36.3+k3s1"}, ""},
		"agent":           {map[string]any{"k3s_version": "v1.31.1+k3s1", "role": "agent"}, ""},
		"unknown release": {map[string]any{}, errStage.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "report")
			c.options["report_dir"] = dir
			var p Provisioner
			require.NoError(t, p.Prepare(c.options))
			err := rehearse(t.Context(), p.config, p.inputs, new(drafts))
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.err)
			}
			assert.NoDirExists(t, dir)
		})
	}
}

// TestRehearsedTarget: what is judged in a rehearsal is what was written.
func TestRehearsedTarget(t *testing.T) {
	file := node.Entry{Path: "/etc/a", Kind: node.KindFile, Mode: 0o600, Data: []byte("x")}
	out, err := stage{}.Apply(t.Context(), node.Change{Write: []node.Entry{file}}, node.Query{{Path: "/etc/a", Content: true}})
	require.NoError(t, err)
	found, presence := out.Node.Lookup("/etc/a")
	assert.Equal(t, node.Present, presence)
	assert.Equal(t, file, found)
	_, err = stage{}.Read(t.Context(), nil)
	require.ErrorIs(t, err, errStage)
}
