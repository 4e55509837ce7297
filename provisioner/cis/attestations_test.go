package cis

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

func TestAttestations(t *testing.T) {
	file := filepath.Join(t.TempDir(), "manual.yaml")
	say := func(control, until string) {
		require.NoError(t, os.WriteFile(file, []byte("- {control: "+control+", statement: Reviewed., by: Jo Smith, when: 2020-01-01, until: "+until+"}\n"), 0o600))
	}
	say("5.1.1", "2999-01-01")
	x := try(t, newTree(t), map[string]any{"k3s_version": release, "attestations": []string{file}}, nil)
	require.NoError(t, x.err, x.log)
	result := status(t, x.report, "5.1.1")
	assert.Equal(t, benchmark.Manual, result.Status)
	require.NotNil(t, result.Attestation)
	assert.Equal(t, "Jo Smith", result.Attestation.By)
	assert.Contains(t, x.log, "attested by a person: 1 of")

	// What was judged needs no word, and none helps it.
	say("1.2.16", "2999-01-01")
	x = try(t, newTree(t), map[string]any{"k3s_version": release, "mode": "check", "attestations": []string{file}}, nil)
	require.Error(t, x.err)
	assert.Equal(t, benchmark.Error, status(t, x.report, "1.2.16").Status)
	assert.Contains(t, x.log, "the attestation of 1.2.16 by Jo Smith is not used")

	for until, want := range map[string]string{"2020-02-01": "it ended on 2020-02-01", "soon": `"soon" is not a day`} {
		say("5.1.1", until)
		var p Provisioner
		err := p.Prepare(map[string]any{"k3s_version": release, "attestations": []string{file}})
		require.ErrorContains(t, err, "attestations[0]: "+file+":1:")
		require.ErrorContains(t, err, want)
	}
	say("9.9.9", "2999-01-01")
	var p Provisioner
	require.ErrorContains(t, p.Prepare(map[string]any{"k3s_version": release, "attestations": []string{file}}), "has no control of that id or key")
	require.ErrorContains(t, p.Prepare(map[string]any{"k3s_version": release, "attestations": []string{"no.yaml"}}), `attestations[0]: "no.yaml" cannot be read`)
}
