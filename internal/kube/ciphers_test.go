package kube

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func TestStrongCiphers(t *testing.T) {
	for list, want := range map[string]bool{
		"TLS_AES_128_GCM_SHA256": true,
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TLS_AES_256_GCM_SHA384": true,
		"": false, ",": false,
		"TLS_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA": false,
		"TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA":                 false,
		"tls_aes_128_gcm_sha256":                              false,
	} {
		assert.Equal(t, want, StrongCiphers(list), list)
	}
	for _, name := range append(StrongCipherSuites(), k3s.CipherSuites()...) {
		assert.True(t, KnownCipher(name), name)
		assert.True(t, StrongCiphers(name), name)
	}
	assert.False(t, KnownCipher("AES256"))
}
