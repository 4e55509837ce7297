package k3s

import (
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

const datastoreEndpoint = "datastore-endpoint"

var secretKeys = []string{
	"token", "agent-token", "cluster-secret", "vpn-auth", datastoreEndpoint,
	"etcd-s3-access-key", "etcd-s3-secret-key", "etcd-s3-session-token",
}

// SecretKeys returns the keys whose values are secrets, or hold one: the address of
// a datastore with a password in it.
func SecretKeys() []string { return slices.Clone(secretKeys) }

// Secret says whether the value of a key (by its name, an alias, or its
// environment variable) may hold a secret and must not be shown.
func Secret(key string) bool {
	if k, ok := findKeyOrVariable(key); ok {
		return slices.Contains(secretKeys, k.Name)
	}
	upper := strings.ToUpper(key)
	for _, part := range []string{"PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN"} {
		if strings.Contains(upper, part) && !strings.HasSuffix(upper, "_FILE") && !strings.HasSuffix(key, "-file") {
			return true
		}
	}
	return false
}

// SecretFileKeys returns the keys whose values name a file that is nothing but a
// secret. The file of private-registry may hold some among other things.
func SecretFileKeys() []string {
	return []string{"token-file", "agent-token-file", "vpn-auth-file", "datastore-keyfile", "write-kubeconfig"}
}

// PrivateRegistryKey is the key that names the registries' file in the place of
// RegistriesFile.
const PrivateRegistryKey = "private-registry"

// HoldsSecret says whether a value of a key or an environment variable is a
// secret, which must not be in an image. An empty one is none, nor is the
// address of a datastore without a password.
func HoldsSecret(key, value string) bool {
	if k, _ := findKeyOrVariable(key); k.Name == datastoreEndpoint || !Secret(key) {
		return safetext.HasPassword(value)
	}
	return value != ""
}

// SecretHint says what takes the place of a secret under a key, such as a file
// that first boot brings; "" where K3s has nothing.
func SecretHint(key string) string {
	if file, ok := FindKey(key + "-file"); ok {
		return file.Name
	}
	return ""
}

func findKeyOrVariable(name string) (Key, bool) {
	if k, ok := FindKey(name); ok {
		return k, true
	}
	if of := variableIndex[name]; len(of) > 0 {
		return keys[of[0]], true
	}
	return Key{}, false
}

// ShownKey returns the name of a key, with the + that appends, fit to be shown:
// one that K3s does not have only where it is made of words, since a secret may
// stand in the place of a key.
func ShownKey(name string) string {
	if _, known := FindKey(strings.TrimSuffix(name, "+")); known {
		return name
	}
	return safetext.Name(name)
}

// Redact returns a value fit to be shown: "(hidden)" for a key that may hold a
// secret or is not known and for what is no value of its key's kind, the value
// without passwords where it is an address.
func Redact(key, value string) string {
	if _, err := strconv.ParseBool(value); value == "" || err == nil {
		return value
	}
	k, known := findKeyOrVariable(key)
	switch {
	case !known, Secret(key), k.malformed(value):
		return safetext.Hidden
	}
	return safetext.Value(value)
}

// malformed says whether K3s's command line parser refuses a value.
func (k Key) malformed(value string) bool {
	var err error
	switch k.Kind {
	case Boolean:
		_, err = strconv.ParseBool(value)
	case Number:
		_, err = strconv.ParseInt(value, 0, 64)
	}
	return err != nil || len(k.OneOf) > 0 && !slices.Contains(k.OneOf, value)
}

// SnapshotDirKey is the key that names the directory of etcd's snapshots, each a
// copy of the whole cluster with its Secrets.
const SnapshotDirKey = "etcd-snapshot-dir"
