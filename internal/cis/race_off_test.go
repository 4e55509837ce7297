//go:build !race

package cis_test

const raceEnabled = false
