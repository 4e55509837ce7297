//go:build !race

package benchmark_test

const raceEnabled = false
