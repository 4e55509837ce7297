package kube

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// cipherSuites refuses names that Go's TLS library, which the components use,
// does not know.
func cipherSuites(_ string, values []string) string {
	for _, name := range values {
		if !KnownCipher(name) {
			return fmt.Sprintf("Cipher suite %s not supported or doesn't exist; write names such as TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", word(name))
		}
	}
	return ""
}

// KnownCipher says whether the components know a cipher suite of that name:
// Go's names, and two short ones that Kubernetes has beside them.
func KnownCipher(name string) bool {
	return slices.Contains([]string{"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"}, name) ||
		slices.ContainsFunc(append(tls.CipherSuites(), tls.InsecureCipherSuites()...), func(s *tls.CipherSuite) bool { return s.Name == name })
}

// StrongCipherSuites are the suites that count as strong for the API server
// and the kubelet alike: the AEAD ones and those of TLS 1.3, by every name that
// Kubernetes has for them.
func StrongCipherSuites() []string {
	return []string{
		"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
		"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
		"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
		"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
		"TLS_RSA_WITH_AES_256_GCM_SHA384",
		"TLS_RSA_WITH_AES_128_GCM_SHA256",
		"TLS_AES_128_GCM_SHA256",
		"TLS_AES_256_GCM_SHA384",
		"TLS_CHACHA20_POLY1305_SHA256",
	}
}

// StrongCiphers says whether a value of tls-cipher-suites, a comma list, has
// suites and nothing but strong ones.
func StrongCiphers(list string) bool {
	strong, some := StrongCipherSuites(), false
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if some = true; !slices.Contains(strong, name) {
			return false
		}
	}
	return some
}
