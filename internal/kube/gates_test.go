package kube

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestGateOff(t *testing.T) {
	for value, off := range map[string]bool{
		"":                          false,
		"Rotate=true":               false,
		"Rotate=false":              true,
		"Rotate=False":              true,
		"Rotate=0":                  true,
		"Rotate=f":                  true,
		"A=true, Rotate = FALSE":    true,
		"Rotate=false,Rotate=true":  false,
		"Rotate=true,Rotate=false":  true,
		"AllBeta=false":             true,
		"AllBeta=false,Rotate=true": false,
		"AllAlpha=false":            false,
		"RotateMore=false":          false,
		"Rotate=no":                 false, // the component exits
	} {
		assert.Equal(t, off, GateOff(value, "Rotate"), value)
	}
}
