package benchmark_test

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// published is one control as the K3s self-assessments print it.
type published struct {
	id, key, kind, roles, mode, result string
}

// assessments reads testdata/ids.tsv: facts taken from the published
// self-assessments, by benchmark, in their order.
func assessments(t testing.TB) map[string][]published {
	t.Helper()
	f, err := os.Open("testdata/ids.tsv")
	require.NoError(t, err)
	defer f.Close()
	out := map[string][]published{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		c := strings.Split(s.Text(), "\t")
		require.Len(t, c, 7, s.Text())
		out["cis-"+c[0]] = append(out["cis-"+c[0]], published{c[1], c[2], c[3], c[4], c[5], c[6]})
	}
	return out
}

// TestCatalogueMatchesAssessments: no control missing, none invented, each
// under its own number, decided by whom the benchmark says, with its mode.
func TestCatalogueMatchesAssessments(t *testing.T) {
	all := assessments(t)
	require.Len(t, all, 11)
	require.Len(t, benchmark.Benchmarks(), 11)
	keys := map[string]bool{}
	for _, b := range benchmark.Benchmarks() {
		var got []published
		for _, c := range benchmark.ControlsOf(b) {
			if c.ID(b) == "" {
				continue
			}
			var roles []string
			for _, r := range c.Roles() {
				roles = append(roles, string(r))
			}
			got = append(got, published{id: c.ID(b), key: c.Key, kind: string(c.Assessment(b)), roles: strings.Join(roles, ",")})
			keys[c.Key] = true
		}
		var want []published
		for _, p := range all[b] {
			want = append(want, published{id: p.id, key: p.key, kind: p.kind, roles: p.roles})
		}
		assert.Equal(t, want, got, b)
	}
	assert.Len(t, keys, 144)
}

func TestCatalogueModes(t *testing.T) {
	// What the assessment's title says, where K3s's own facts say otherwise.
	own := map[string]string{"files.etcd-datadir.mode": "700"}
	for b, controls := range assessments(t) {
		for _, p := range controls {
			i := slices.IndexFunc(benchmark.ControlsOf(b), func(c benchmark.Control) bool { return c.Key == p.key })
			require.GreaterOrEqual(t, i, 0, p.key)
			c := benchmark.ControlsOf(b)[i]
			mode, limited := c.MaxMode(b)
			if p.mode == "-" || !c.Judged(b, k3s.Role(strings.Split(p.roles, ",")[0])) || !strings.HasSuffix(p.key, ".mode") {
				continue
			}
			assert.True(t, limited, "%s %s", b, p.key)
			want := p.mode
			if o, ok := own[p.key]; ok {
				want = o
			}
			assert.Equal(t, want, mode, "%s %s", b, p.key)
		}
	}
}

// TestCatalogueIsComplete: what a reader of a report needs is there.
func TestCatalogueIsComplete(t *testing.T) {
	for _, b := range benchmark.Benchmarks() {
		for _, c := range benchmark.ControlsOf(b) {
			assert.NotEmpty(t, c.Title, c.Key)
			if c.Judged(b, k3s.Server) || c.Judged(b, k3s.Agent) || c.Phase(b) == benchmark.PhaseOperator {
				assert.NotEmpty(t, c.Remediation, c.Key)
			}
		}
	}
}

func TestSelect(t *testing.T) {
	for _, c := range []struct{ release, name, want, err string }{
		{"v1.36.3+k3s1", "", "cis-2.1", ""},
		{"v1.36.3+k3s1", "auto", "cis-2.1", ""},
		{"v1.36.3+k3s1", "cis-1.12", "cis-1.12", ""},
		{"v1.37.0-rc1+k3s1", "auto", "cis-2.1", ""},
		{"v1.41.0+k3s1", "auto", "cis-2.1", ""},
		{"v1.35.1+k3s1", "auto", "cis-2.0", ""},
		{"v1.33.1+k3s1", "auto", "cis-1.12", ""},
		{"v1.30.1+k3s1", "auto", "cis-1.11", ""},
		{"v1.28.1+k3s1", "auto", "cis-1.10", ""},
		{"v1.27.1+k3s1", "auto", "cis-1.9", ""},
		{"v1.26.1+k3s1", "auto", "cis-1.8", ""},
		{"v1.25.1+k3s1", "auto", "cis-1.7", ""},
		{"v1.24.1+k3s1", "auto", "cis-1.24", ""},
		{"v1.22.1+k3s1", "auto", "cis-1.23", ""},
		{"v1.17.1+k3s1", "auto", "cis-1.6", ""},
		{"v1.16.1+k3s1", "auto", "", "no benchmark fits K3s v1.16.1+k3s1: the oldest, cis-1.6, begins with K3s v1.17"},
		{"v1.36.3+k3s1", "cis-1.8", "", "cis-1.8 does not fit K3s v1.36.3+k3s1: use auto or cis-1.12, cis-2.0, cis-2.1"},
		{"v1.41.0+k3s1", "cis-2.0", "", "cis-2.0 does not fit K3s v1.41.0+k3s1: use auto or cis-2.1"},
		{"v1.36.3+k3s1", "2.1", "", `"2.1" is not a benchmark: use auto, cis-1.6, cis-1.23, cis-1.24, cis-1.7, cis-1.8, cis-1.9, cis-1.10, cis-1.11, cis-1.12, cis-2.0, cis-2.1`},
	} {
		r, err := k3s.ParseRelease(c.release)
		require.NoError(t, err)
		got, err := benchmark.Select(r, c.name)
		assert.Equal(t, c.want, got, "%s %s", c.release, c.name)
		if c.err == "" {
			assert.NoError(t, err)
		} else {
			assert.EqualError(t, err, c.err)
		}
	}
}
