package benchmark

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func TestConcerning(t *testing.T) {
	for _, c := range []struct {
		component k3s.Component
		name      string
		want      []string
	}{
		{k3s.APIServer, "audit-log-path", []string{"1.2.16"}},
		{k3s.APIServer, "profiling", []string{"1.2.15"}},
		{k3s.ControllerManager, "profiling", []string{"1.3.2"}},
		{"", "protect-kernel-defaults", []string{"kubelet.protect-kernel-defaults"}},
		{k3s.APIServer, "no-such-flag", nil},
	} {
		assert.Equal(t, c.want, Concerning("cis-2.1", c.component, c.name), "%s %s", c.component, c.name)
	}
	assert.Contains(t, Concerning("cis-2.1", k3s.APIServer, "admission-control-config-file"), "5.2.1")
	assert.Contains(t, Concerning("cis-2.1", "", "secrets-encryption"), "1.2.27")
	assert.NotContains(t, Concerning("cis-1.6", k3s.APIServer, "service-account-extend-token-expiration"), "1.2.30")
}
