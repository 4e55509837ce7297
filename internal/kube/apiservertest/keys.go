package apiservertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority signs certificates, as one of K3s's does.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{certificate: certificate, key: key}
}

// issue returns a certificate for a user (organizations are its groups) or for
// a server on the loopback address.
func (a authority) issue(t testing.TB, name string, organizations ...string) (certificate []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: organizations},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes.default.svc"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	require.NoError(t, err)
	return der, key
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// keys is what K3s makes at its first start and the API server reads.
type keys struct {
	clients, servers authority
	serviceAccounts  *ecdsa.PrivateKey
}

func newKeys(t testing.TB) *keys {
	t.Helper()
	return &keys{clients: newAuthority(t, "clients"), servers: newAuthority(t, "servers"), serviceAccounts: newKey(t)}
}

// write puts the file that flag names at path, where the flag is one for
// something K3s makes by itself.
func (k *keys) write(t testing.TB, flag, path string) {
	t.Helper()
	var data []byte
	switch flag {
	case "client-ca-file", "requestheader-client-ca-file":
		data = certificatePEM(k.clients.certificate.Raw)
	case "kubelet-certificate-authority":
		data = certificatePEM(k.servers.certificate.Raw)
	case "service-account-key-file", "service-account-signing-key-file":
		data = keyPEM(t, k.serviceAccounts)
	case "encryption-provider-config":
		data = encryptionConfig(t)
	default:
		return
	}
	put(t, path, data)
}

// writePair puts a certificate and its key.
func (k *keys) writePair(t testing.TB, certificate, key string) {
	t.Helper()
	der, private := k.servers.issue(t, "kube-apiserver")
	put(t, certificate, certificatePEM(der))
	put(t, key, keyPEM(t, private))
}

// client returns the TLS configuration of a cluster administrator.
func (k *keys) client(t testing.TB) *tls.Config {
	t.Helper()
	der, key := k.clients.issue(t, "system:admin", "system:masters")
	pool := x509.NewCertPool()
	pool.AddCert(k.servers.certificate)
	return &tls.Config{
		RootCAs:      pool,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS12,
	}
}

// encryptionConfig is what K3s writes for secrets-encryption.
func encryptionConfig(t testing.TB) []byte {
	t.Helper()
	key := make([]byte, 32)
	_, err := rand.Read(key)
	require.NoError(t, err)
	return fmt.Appendf(nil, `{"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[{"resources":["secrets"],"providers":[{"aescbc":{"keys":[{"name":"aescbckey","secret":%q}]}},{"identity":{}}]}]}`,
		base64.StdEncoding.EncodeToString(key))
}

func put(t testing.TB, path string, data []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, data, 0o600))
}
