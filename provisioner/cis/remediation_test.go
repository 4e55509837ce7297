package cis

import (
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// TestRemediationOptions: each option that a control's remediation names is one
// of the provisioner's.
func TestRemediationOptions(t *testing.T) {
	var p Provisioner
	assert.NotEmpty(t, benchmark.Options())
	for _, option := range benchmark.Options() {
		block, inside, nested := strings.Cut(option, ".")
		spec := p.ConfigSpec()[block]
		if !assert.NotNil(t, spec, option) || !nested {
			continue
		}
		b, ok := spec.(*hcldec.BlockSpec)
		if assert.True(t, ok, option) {
			fields, _ := b.Nested.(hcldec.ObjectSpec)
			assert.Contains(t, fields, inside, option)
		}
	}
}
