package k3s

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

var secretKeys = []string{
	"token", "agent-token", "cluster-secret", "vpn-auth", "datastore-endpoint",
	"etcd-s3-access-key", "etcd-s3-secret-key", "etcd-s3-session-token",
}

// Secret says whether the value of a key (by its name, an alias, or its
// environment variable) may hold a secret and must not be shown.
func Secret(key string) bool {
	if k, ok := FindKey(key); ok {
		return slices.Contains(secretKeys, k.Name)
	}
	for _, k := range keys {
		if k.Env != "" && k.Env == key {
			return slices.Contains(secretKeys, k.Name)
		}
	}
	upper := strings.ToUpper(key)
	for _, part := range []string{"PASSWORD", "PASSWD", "SECRET", "TOKEN"} {
		if strings.Contains(upper, part) && !strings.HasSuffix(upper, "_FILE") && !strings.HasSuffix(key, "-file") {
			return true
		}
	}
	return false
}

// Redact returns a value fit to be shown: "(hidden)" for a key that may hold a
// secret, the value without user name and password where it is a URL.
func Redact(key, value string) string {
	if _, err := strconv.ParseBool(value); value == "" || err == nil {
		return value
	}
	if Secret(key) {
		return "(hidden)"
	}
	if u, err := url.Parse(value); err == nil && u.User != nil {
		u.User = url.User("hidden")
		return u.String()
	}
	return value
}
