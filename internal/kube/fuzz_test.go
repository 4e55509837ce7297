package kube

import (
	"encoding/json"
	"io/fs"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/pod-security-admission/api"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func absent(string) ([]byte, error) { return nil, fs.ErrNotExist }

var fuzzed = k3s.Release{Major: 1, Minor: 36}

// FuzzLoadAdmission: whatever is accepted has levels that exist and limits
// that limit, and every error names the file.
func FuzzLoadAdmission(f *testing.F) {
	for _, t := range Trials {
		f.Add([]byte(t.Content()[trialAdmission]))
	}
	f.Add([]byte(bomb()))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := LoadAdmission(fuzzed, "/a.yaml", data, absent)
		if err != nil {
			assert.Nil(t, got)
			for _, e := range Errors(err) {
				assert.Equal(t, "/a.yaml", e.File)
				assert.NotEmpty(t, e.Text)
			}
			return
		}
		if psa := got.PodSecurity; psa != nil {
			for _, level := range []Level{psa.Enforce, psa.Audit, psa.Warn} {
				_, err := api.ParseLevel(level.Name)
				require.NoError(t, err)
				_, err = api.ParseVersion(level.Version)
				require.NoError(t, err)
			}
		}
		for _, limit := range got.EventRateLimit {
			assert.Contains(t, rateLimitTypes, limit.Type)
			assert.Positive(t, limit.QPS)
			assert.Positive(t, limit.Burst)
		}
	})
}

// FuzzLoadAuditPolicy: whatever is accepted has rules with levels that exist.
func FuzzLoadAuditPolicy(f *testing.F) {
	for _, t := range Trials {
		f.Add([]byte(t.Content()[trialAudit]))
	}
	f.Add([]byte(bomb()))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := LoadAuditPolicy(fuzzed, "/a.yaml", data)
		if err != nil {
			assert.Nil(t, got)
			assert.NotEmpty(t, Errors(err))
			return
		}
		assert.NotEmpty(t, got.Policy.Rules)
		for _, rule := range got.Policy.Rules {
			assert.True(t, slices.Contains([]string{"None", "Metadata", "Request", "RequestResponse"}, string(rule.Level)))
		}
	})
}

// FuzzLoadManifest: every accepted object can be named and found, and judging
// workloads never fails on one.
func FuzzLoadManifest(f *testing.F) {
	for _, d := range Documents {
		f.Add([]byte(d.Text))
	}
	for _, p := range PodCases {
		f.Add([]byte("---\n" + p.Manifest("a") + "\n---\n"))
	}
	f.Add([]byte("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n"))
	f.Add([]byte(bomb()))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := LoadManifest("m.yaml", data)
		if err != nil {
			assert.Empty(t, objects)
			assert.NotEmpty(t, Errors(err))
			return
		}
		for _, o := range objects {
			assert.NotEmpty(t, o.Kind)
			assert.NotEmpty(t, o.APIVersion)
			assert.NotEmpty(t, o.Name)
			assert.True(t, json.Valid(o.Raw))
		}
		Workloads(fuzzed, objects, enforcing("restricted"))
		unservedKinds(fuzzed, objects)
	})
}
