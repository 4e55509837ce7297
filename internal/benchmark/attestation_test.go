package benchmark_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

var lookedAt = time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC)

const attestation = `- control: 5.1.1
  statement: The bindings of cluster-admin were reviewed.
  by: Jo Smith
  when: 2026-11-01
  until: 2027-05-01
`

func TestLoadAttestations(t *testing.T) {
	got, err := benchmark.LoadAttestations("manual.yaml", []byte(attestation), lookedAt)
	require.NoError(t, err)
	assert.Equal(t, []benchmark.Attestation{{
		Control: "5.1.1", Statement: "The bindings of cluster-admin were reviewed.", By: "Jo Smith",
		When: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2027, 5, 1, 0, 0, 0, 0, time.UTC),
	}}, got)
	// The last day counts.
	_, err = benchmark.LoadAttestations("manual.yaml", []byte(attestation), time.Date(2027, 5, 1, 23, 0, 0, 0, time.UTC))
	require.NoError(t, err)
	_, err = benchmark.LoadAttestations("manual.yaml", []byte(attestation), time.Date(2027, 5, 2, 0, 0, 0, 0, time.UTC))
	require.ErrorContains(t, err, "manual.yaml:1:3: 5.1.1: it ended on 2027-05-01")
	for text, want := range map[string]string{
		"": "the file is empty",
		"- {control: a, statement: b, by: c, when: 2026-01-01}":                                  `an attestation needs "until"`,
		"- {control: a, statement: b, by: c, when: 2026-01-01, until: soon}":                     `"soon" is not a day`,
		"- {control: a, statement: b, by: ' ', when: 2026-01-01, until: 2027-01-01}":             "an empty text",
		"- {control: a, statement: b, by: c, when: 2026-12-01, until: 2027-01-01}":               "which is to come",
		"- {control: a, statement: b, by: c, when: 2026-11-01, until: 2026-10-01}":               "the last day, 2026-10-01, is before 2026-11-01",
		"- {control: a, statement: b, by: c, when: 2026-01-01, until: 2027-01-01, status: pass}": `no "status"`,
		"a: b": "the file must be a list",
		"- [":  "not valid YAML",
	} {
		_, err := benchmark.LoadAttestations("manual.yaml", []byte(text), lookedAt)
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, "manual.yaml:1:")
	}
}

func TestCheckAttestations(t *testing.T) {
	for _, c := range []struct {
		benchmark string
		controls  []string
		want      string
	}{
		{"cis-2.1", []string{"5.1.1", "rbac.secrets"}, ""},
		{"cis-2.1", []string{"5.1.1", "rbac.cluster-admin"}, "there is a second one for the same control"},
		{"cis-2.1", []string{"9.9.9"}, "cis-2.1 has no control of that id or key"},
		{benchmark.Any, []string{"9.9.9"}, "no benchmark has a control of that id or key"},
		{benchmark.Any, []string{"5.7.4"}, ""},
	} {
		var all []benchmark.Attestation
		for _, id := range c.controls {
			all = append(all, benchmark.Attestation{Control: id})
		}
		errs := benchmark.CheckAttestations(all, c.benchmark, nil)
		if c.want == "" {
			assert.Empty(t, errs)
			continue
		}
		require.Len(t, errs, 1)
		assert.ErrorContains(t, errs[0], c.want)
	}
}

// TestAttestNeverPasses: whatever a person says, only what is manual gets the word,
// and it stays manual.
func TestAttestNeverPasses(t *testing.T) {
	attestations, err := benchmark.LoadAttestations("manual.yaml", []byte(attestation), lookedAt)
	require.NoError(t, err)
	for _, status := range benchmark.Statuses {
		results := []benchmark.Result{{ID: "5.1.1", Key: "rbac.cluster-admin", Status: status, Reason: "CIS leaves it to a person"}}
		unused := benchmark.Attest(results, attestations, lookedAt)
		assert.Equal(t, status, results[0].Status)
		if status != benchmark.Manual {
			assert.Nil(t, results[0].Attestation)
			assert.Equal(t, attestations, unused)
			continue
		}
		assert.Empty(t, unused)
		assert.Equal(t, "Jo Smith", results[0].Attestation.By)
		assert.Equal(t, "attested by a person: Jo Smith on 2026-11-01, until 2027-05-01: The bindings of cluster-admin were reviewed.; CIS leaves it to a person", results[0].Reason)
	}
	results := []benchmark.Result{{ID: "5.1.1", Status: benchmark.Manual}}
	assert.Len(t, benchmark.Attest(results, attestations, lookedAt.AddDate(1, 0, 0)), 1)
	assert.Nil(t, results[0].Attestation)
}

// FuzzLoadAttestations: any file gives whole attestations or errors with a place.
func FuzzLoadAttestations(f *testing.F) {
	f.Add([]byte(attestation))
	f.Add([]byte("- {control: &a x, statement: *a, by: [], when: 2026-13-01, until: ~}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := benchmark.LoadAttestations("manual.yaml", data, lookedAt)
		if err != nil {
			require.ErrorContains(t, err, "manual.yaml:")
			return
		}
		for _, a := range all {
			assert.NotEmpty(t, a.Control)
			assert.NotEmpty(t, a.Statement)
			assert.NotEmpty(t, a.By)
			assert.False(t, a.Until.Before(a.When))
		}
	})
}
