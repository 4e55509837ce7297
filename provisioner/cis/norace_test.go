//go:build !race

package cis

const raceDetector = false
