package kube

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// release parses a minor such as "1.36" into its first K3s release.
func release(t testing.TB, minor string) k3s.Release {
	t.Helper()
	r, err := k3s.ParseRelease("v" + minor + ".0+k3s1")
	require.NoError(t, err)
	return r
}

var errUnknown = errors.New("nobody looked")

// files makes a ReadFile of a map; nil data stands for a file of which nothing
// is known.
func files(m map[string][]byte) ReadFile {
	return func(path string) ([]byte, error) {
		data, ok := m[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		if data == nil {
			return nil, errUnknown
		}
		return data, nil
	}
}

// FlagNames returns the flags that component c of release r has by the table.
func FlagNames(r k3s.Release, c k3s.Component) []string {
	var out []string
	for name, f := range flags()[c] {
		if f.span.missing(r) == "" {
			out = append(out, name)
		}
	}
	return out
}
