package kube

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func TestLoadEncryption(t *testing.T) {
	const identity = "  providers: [{identity: {}}]\n"
	for _, c := range []struct {
		name, release, resources string
		writes                   string
		keys                     []int
	}{
		{"Secrets by name", "v1.36.3+k3s1", "- resources: [configmaps, secrets]\n  providers:\n  - aescbc: " + key32 + "\n  - identity: {}\n", "aescbc", []int{6}},
		{"the first provider writes", "v1.36.3+k3s1", "- resources: [secrets]\n  providers:\n  - identity: {}\n  - secretbox: " + key32 + "\n", "identity", []int{7}},
		{"keys of another resource", "v1.36.3+k3s1", "- resources: [configmaps]\n  providers: [{aesgcm: " + key32 + "}]\n", "", []int{5}},
		{"a pattern", "v1.27.1+k3s1", "- resources: ['*.']\n" + identity, "identity", nil},
		{"every group", "v1.27.1+k3s1", "- resources: ['*.*']\n" + identity, "identity", nil},
		{"a pattern that the release takes for a name", "v1.26.9+k3s1", "- resources: ['*.']\n" + identity, "", nil},
		{"the first that covers them", "v1.26.9+k3s1", "- resources: ['*.*']\n" + identity + "- resources: [secrets]\n  providers: [{aescbc: " + key32 + "}]\n", "aescbc", []int{7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			release, err := k3s.ParseRelease(c.release)
			require.NoError(t, err)
			e, err := LoadEncryption(release, "enc.yaml", []byte(encryptionHead+"resources:\n"+c.resources))
			require.NoError(t, err)
			assert.Equal(t, c.writes, e.Writes)
			assert.Equal(t, c.keys, e.KeyLines)
		})
	}
}

// TestEncryptionErrorsHoldNoSecret: neither a key nor the password of an address.
func TestEncryptionErrorsHoldNoSecret(t *testing.T) {
	for _, providers := range []string{
		"[{aescbc: {keys: [{name: k, secret: S3CR3T!}]}}]",
		"[{aescbc: {keys: [{name: k, secret: S3CR3T}]}, secretbox: {keys: [{name: k, secret: S3CR3T}]}}]",
		"[{kms: {apiVersion: v2, name: k, endpoint: 'http://u:S3CR3T%zz@p'}}]",
		"[{aescbc: {keys: S3CR3T}}]",
		"[{aescbc: {keys: [*S3CR3T]}}]",
	} {
		_, err := LoadEncryption(k3s.Release{Major: 1, Minor: 36, Patch: 3, Build: 1}, "enc.yaml", []byte(encryptionHead+"resources:\n- resources: [secrets]\n  providers: "+providers+"\n"))
		require.Error(t, err, providers)
		assert.NotContains(t, err.Error(), "S3CR3T", providers)
	}
}
