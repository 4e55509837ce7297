//go:build race

package node

// raceDetector: it takes many times the memory and time.
const raceDetector = true
