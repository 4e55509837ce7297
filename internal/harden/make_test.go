package harden

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func release(t *testing.T, s string) k3s.Release {
	t.Helper()
	r, err := k3s.ParseRelease(s)
	require.NoError(t, err)
	return r
}

func TestMakeSmoke(t *testing.T) {
	p, err := Make(Options{Release: release(t, "v1.36.3+k3s1"), Role: k3s.Server, Benchmark: "cis-2.1"}, nil)
	require.NoError(t, err)
	for _, e := range p.Change.Write {
		t.Logf("%s %s %o\n%s", e.Path, e.Kind, e.Mode, e.Data)
	}
	t.Logf("%+v", p.Change.Assume)
}
