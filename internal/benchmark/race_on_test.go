//go:build race

package benchmark_test

const raceEnabled = true
