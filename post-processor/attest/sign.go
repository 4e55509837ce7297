package attest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// signer signs as `packer verify-attestation` verifies: Ed25519 over the
// message; ECDSA (ASN.1) and RSA (PKCS #1 v1.5) over its SHA-256.
type signer struct {
	key crypto.Signer
	id  string
}

// parseKey returns the signer of the first private key in a PEM text. Its
// errors hold nothing of the text.
func parseKey(text []byte) (*signer, error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, errors.New("no private key found: an unencrypted PEM is expected, such as openssl genpkey -algorithm ed25519 makes")
		}
		key, known := privateKey(block)
		if !known {
			continue // such as the parameters that openssl writes before an EC key
		}
		switch key := key.(type) {
		case ed25519.PrivateKey:
			return newSigner(key)
		case *ecdsa.PrivateKey:
			return newSigner(key)
		case *rsa.PrivateKey:
			return newSigner(key)
		}
		return nil, fmt.Errorf("the %q in it cannot be used: an unencrypted Ed25519, ECDSA or RSA private key is expected", block.Type)
	}
}

// privateKey says whether a block is of a private key, and returns the key, nil
// where it cannot be read.
func privateKey(block *pem.Block) (key any, known bool) {
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY":
		return nil, true
	default:
		return nil, false
	}
	if err != nil {
		return nil, true
	}
	return key, true
}

// newSigner names the key by the SHA-256 of its public half's PEM, as Packer
// does.
func newSigner(key crypto.Signer) (*signer, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("its public key: %w", err)
	}
	id := sha256.Sum256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return &signer{key, hex.EncodeToString(id[:])}, nil
}

// Sign signs a message, which is DSSE's pre-authentication encoding.
func (s *signer) Sign(_ context.Context, message []byte) ([]byte, error) {
	if _, ok := s.key.(ed25519.PrivateKey); ok {
		return s.key.Sign(rand.Reader, message, crypto.Hash(0))
	}
	digest := sha256.Sum256(message)
	return s.key.Sign(rand.Reader, digest[:], crypto.SHA256)
}

// KeyID names the key in the envelope.
func (s *signer) KeyID() (string, error) { return s.id, nil }
