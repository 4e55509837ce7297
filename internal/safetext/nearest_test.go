package safetext_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/safetext"
)

func TestNearest(t *testing.T) {
	known := []string{"protect-kernel-defaults", "streaming-connection-idle-timeout", "maxPods", "node-ip", "node-io", "v"}
	for name, want := range map[string]string{
		"protect-kernel-default":             "protect-kernel-defaults",
		"protect_kernel_defaults":            "protect-kernel-defaults",
		"Protect-Kernel-Defaults":            "protect-kernel-defaults",
		"maxpods":                            "maxPods",
		"max-pods":                           "maxPods",
		"node-ix":                            "node-io", // both are one letter away
		"node-ip":                            "node-ip",
		"protect-kernel-def":                 "", // five letters
		"streaming-connection-idle-timeouts": "streaming-connection-idle-timeout",
		"":                                   "v",
		"etcd":                               "",
	} {
		assert.Equal(t, want, safetext.Nearest(name, slices.Values(known)), name)
		slices.Reverse(known)
		assert.Equal(t, want, safetext.Nearest(name, slices.Values(known)), "%s, the other way round", name)
	}
	assert.Empty(t, safetext.Nearest("node-ip", slices.Values([]string{})))
}
