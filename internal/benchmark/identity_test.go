package benchmark_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

func TestFullName(t *testing.T) {
	assert.Equal(t, "CIS Kubernetes Benchmark, version 1.11, as the K3s documentation applies it", benchmark.FullName("cis-1.11"))
}

func TestDigest(t *testing.T) {
	assert.Regexp(t, "^[0-9a-f]{64}$", benchmark.Digest())
}

// TestLevels: a level is said of every control of a benchmark that the table
// covers, or of none; what the document did not have is named here.
func TestLevels(t *testing.T) {
	unknown := []string{"4.2.14"} // which v1.11.1 of the benchmark does not have
	for _, b := range benchmark.Benchmarks() {
		var without []string
		counts := map[int]int{}
		for _, c := range benchmark.ControlsOf(b) {
			id := c.ID(b)
			if id == "" {
				assert.Zero(t, benchmark.Level(b, c.Key))
				continue
			}
			level := benchmark.Level(b, id)
			counts[level]++
			if level == 0 {
				without = append(without, id)
			}
		}
		if b == "cis-1.11" {
			assert.Equal(t, unknown, without)
			assert.Equal(t, map[int]int{0: 1, 1: len(assessments(t)[b]) - 16, 2: 15}, counts)
			continue
		}
		assert.Zero(t, counts[1]+counts[2], b)
	}
	for id, want := range map[string]int{"1.2.13": 2, "2.7": 2, "2.6": 1, "5.3.2": 2, "9.9.9": 0} {
		assert.Equal(t, want, benchmark.Level("cis-1.11", id), id)
	}
}
