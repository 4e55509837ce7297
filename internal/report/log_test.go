package report

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

func TestLog(t *testing.T) {
	log := fixture().Log()
	golden(t, "log.txt", []byte(log))
	lines := strings.Split(strings.TrimSuffix(log, "\n"), "\n")
	for _, l := range lines[:len(lines)-1] {
		assert.LessOrEqual(t, utf8.RuneCountInString(l), logWidth, l)
	}
	assert.Equal(t, fixture().Verdict(), strings.Join(lines[len(lines)-1:], ""), "the last line is the verdict")
}

func TestLogOfAGoodNodeIsShort(t *testing.T) {
	r := New(fixtureMeta(), []benchmark.Result{
		{ID: "1.1.1", Key: "a", Status: benchmark.Pass}, {ID: "x", Key: "x", Section: "node", Status: benchmark.Pass},
	})
	assert.Equal(t, `Check after cis-2.1: K3s v1.36.3+k3s1, server, sqlite, build qemu.node, read
  through ssh

image: 1 of 1 controls proven
cis-2.1: 1 of 1 controls proven
`, r.Log())
}

func TestVerdict(t *testing.T) {
	results := func(counts map[benchmark.Status]int, keys ...string) []benchmark.Result {
		var out []benchmark.Result
		for _, s := range benchmark.Statuses {
			for range counts[s] {
				out = append(out, benchmark.Result{ID: "1.1", Key: "key", Status: s})
			}
		}
		for _, k := range keys {
			key, status, _ := strings.Cut(k, "=")
			section, _, _ := strings.Cut(key, ".")
			out = append(out, benchmark.Result{ID: key, Key: key, Section: section, Status: benchmark.Status(status)})
		}
		return out
	}
	for _, c := range []struct {
		want    string
		results []benchmark.Result
	}{
		{"cis-2.1: 0 of 0 controls proven", nil},
		{
			"cis-2.1: 82 of 134 controls proven, 37 manual, 12 deferred to first boot, 3 not applicable",
			results(map[benchmark.Status]int{benchmark.Pass: 82, benchmark.Manual: 37, benchmark.Deferred: 12, benchmark.NotApplicable: 3}, "node.a=pass", "acme.b=waived"),
		},
		{
			"cis-2.1: 1 of 5 controls proven, 2 failed, 1 could not be judged, 1 waived",
			results(map[benchmark.Status]int{benchmark.Pass: 1, benchmark.Fail: 2, benchmark.Error: 1, benchmark.Waived: 1}),
		},
		{
			"cis-2.1: 1 of 1 controls proven; image: 1 failed, 1 could not be judged; own: 1 failed",
			results(map[benchmark.Status]int{benchmark.Pass: 1}, "node.a=fail", "node.b=error", "node.c=pass", "acme.d=fail"),
		},
	} {
		assert.Equal(t, c.want, New(fixtureMeta(), c.results).Verdict())
	}
}

func TestLogNamesEachPlaceOnceAndNotTooMany(t *testing.T) {
	var ev []benchmark.Evidence
	for i := range 7 {
		ev = append(ev, benchmark.Evidence{Source: "/a", Line: i/2 + 1}, benchmark.Evidence{Source: "K3s default"})
	}
	assert.Equal(t, "/a:1, K3s default, /a:2, /a:3, 1 more", places(ev))
}

func TestLogIsNotBrokenByHostileText(t *testing.T) {
	res := benchmark.Result{
		ID: "1.1.1", Key: "k", Title: "T", Status: benchmark.Fail,
		Found: "x\ncis-2.1: 134 of 134 controls proven\x1b[2J", Expected: strings.Repeat("w", 300),
	}
	log := New(fixtureMeta(), []benchmark.Result{res}).Log()
	require.NotContains(t, log, "\x1b")
	assert.NotContains(t, log, "\ncis-2.1: 134 of 134")
	assert.True(t, strings.HasSuffix(log, "\ncis-2.1: 0 of 1 controls proven, 1 failed\n"))
}
