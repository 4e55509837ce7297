package report

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// judged is a report of the given verdicts: key, status, key, status, ….
func judged(pairs ...string) Report {
	var results []benchmark.Result
	for i := 0; i+1 < len(pairs); i += 2 {
		results = append(results, benchmark.Result{
			ID: "1." + pairs[i], Key: pairs[i], Title: "T" + pairs[i], Status: benchmark.Status(pairs[i+1]), Found: "x",
			Evidence: []benchmark.Evidence{{Source: "/f", Line: 1}},
		})
	}
	return New(fixtureMeta(), results)
}

func TestCompareOneControl(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"pass", "pass", "none"},
		{"pass", "fail", "1 worse"},
		{"pass", "error", "1 worse"},
		{"pass", "waived", "1 worse"},
		{"pass", "deferred", "1 worse"},
		{"pass", "manual", "1 worse"},
		{"pass", "not_applicable", "1 changed"},
		{"not_applicable", "pass", "1 changed"},
		{"not_applicable", "fail", "1 worse"},
		{"deferred", "fail", "1 worse"},
		{"deferred", "manual", "1 changed"},
		{"waived", "fail", "1 worse"},
		{"error", "fail", "1 changed"},
		{"fail", "waived", "1 better"},
		{"fail", "pass", "1 better"},
		{"manual", "pass", "1 better"},
	} {
		d := Compare(judged("a", c.from), judged("a", c.to))
		assert.Equal(t, c.want, d.counts(), "%s to %s", c.from, c.to)
		assert.Equal(t, c.want == "1 worse", d.Regressed())
	}
}

func TestCompareControlsOfOneReport(t *testing.T) {
	d := Compare(judged("gone", "fail"), judged("new", "fail"))
	assert.Equal(t, "1 new, 1 gone", d.counts())
	assert.False(t, d.Regressed())
}

func TestCompareTakesALostProofForARegression(t *testing.T) {
	earlier := judged("a", "pass")
	assert.Equal(t, "1 worse", Compare(earlier, judged()).counts())

	later := judged()
	later.Benchmark = "cis-2.0"
	assert.Equal(t, "1 gone", Compare(earlier, later).counts(), "another benchmark has other controls")
	later = judged()
	later.Role = "agent"
	assert.Equal(t, "1 gone", Compare(earlier, later).counts(), "another role has other controls")
}

func TestCompareGoesByKey(t *testing.T) {
	earlier, later := judged("a", "pass"), judged("a", "pass")
	later.Benchmark = "cis-2.0"
	later.Results[0].ID = "1.9"
	d := Compare(earlier, later)
	assert.Equal(t, "none", d.counts())
	assert.Equal(t, []string{"benchmark: cis-2.1 before, cis-2.0 now"}, d.Subject)
}

func TestDriftLog(t *testing.T) {
	earlier := judged("a", "pass", "b", "fail", "c", "fail", "d", "manual", "e", "manual", "g", "pass")
	later := judged("a", "fail", "b", "pass", "c", "error", "d", "manual", "f", "pass")
	later.K3sVersion = "v1.36.4+k3s1"
	later.Node.Datastore = ""
	golden(t, "drift.txt", []byte(Compare(earlier, later).Log()))
	assert.Equal(t, "drift: none\n", Compare(earlier, earlier).Log())
}
