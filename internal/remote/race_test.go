//go:build race

package remote

// raceDetector: it takes many times the memory and time.
const raceDetector = true
