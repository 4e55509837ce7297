package report

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// large is a report of as many controls as a server's has: the fixture's, again
// and again under other keys.
func large() Report {
	var results []benchmark.Result
	for i := range 14 {
		for _, res := range fixtureResults() {
			if res.ID == res.Key {
				res.ID = fmt.Sprintf("%s-%d", res.ID, i)
			}
			res.Key = fmt.Sprintf("%s-%d", res.Key, i)
			results = append(results, res)
		}
	}
	slices.SortStableFunc(results, func(a, b benchmark.Result) int { return compareSections(sectionID(a), sectionID(b)) })
	return New(fixtureMeta(), results)
}

func BenchmarkNew(b *testing.B) {
	r := large()
	for b.Loop() {
		New(fixtureMeta(), r.Results)
	}
}

func BenchmarkLog(b *testing.B) {
	r := large()
	for b.Loop() {
		require.NotEmpty(b, r.Log())
	}
}

func BenchmarkWrite(b *testing.B) {
	r, dir := large(), b.TempDir()
	for b.Loop() {
		require.NoError(b, Write(dir, r))
	}
}

func BenchmarkFormats(b *testing.B) {
	r := large()
	for _, f := range formats() {
		b.Run(f.name, func(b *testing.B) {
			for b.Loop() {
				data, err := f.render(newView(r))
				require.NoError(b, err)
				b.SetBytes(int64(len(data)))
			}
		})
	}
}

func BenchmarkLoadReport(b *testing.B) {
	data, err := renderJSON(newView(large()))
	require.NoError(b, err)
	for b.Loop() {
		_, err := LoadReport(data)
		require.NoError(b, err)
	}
}
