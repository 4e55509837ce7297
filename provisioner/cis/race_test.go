//go:build race

package cis

// raceDetector: it takes many times the memory and time.
const raceDetector = true
