package k3s_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func TestShared(t *testing.T) {
	plain := resolve(t, "v1.36", k3s.Server, map[string]string{}).Shared()
	assert.Equal(t, map[string]string{
		"cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16", "cluster-dns": k3s.ByDefault, "cluster-domain": "cluster.local",
		"disable-cloud-controller": "false", "disable-helm-controller": "false", "disable-network-policy": "false",
		"embedded-registry": "false", "egress-selector-mode": "agent", "flannel-backend": "vxlan", "flannel-external-ip": "false",
		"flannel-ipv6-masq": "false", "secrets-encryption": "false", "secrets-encryption-provider": k3s.ByDefault,
		"supervisor-metrics": "false", "disable servicelb": "false",
	}, plain)
	// What is written and is the default is shared with what is not written.
	written := resolve(t, "v1.36", k3s.Server, map[string]string{k3s.ConfigFile: "cluster-cidr: 10.42.0.0/16\nflannel-backend: vxlan\nsecrets-encryption: \"0\"\n"}).Shared()
	assert.Equal(t, plain, written)
	other := resolve(t, "v1.36", k3s.Server, map[string]string{
		k3s.ConfigFile: "cluster-cidr: [10.42.0.0/16, \"fd00::/56\"]\nsecrets-encryption: true\ndisable: \"traefik,servicelb\"\n",
	}).Shared()
	assert.Equal(t, "10.42.0.0/16,fd00::/56", other["cluster-cidr"])
	assert.Equal(t, "true", other["secrets-encryption"])
	assert.Equal(t, "true", other["disable servicelb"])
	assert.NotContains(t, resolve(t, "v1.21", k3s.Server, map[string]string{}).Shared(), "egress-selector-mode")
	assert.Nil(t, resolve(t, "v1.36", k3s.Agent, map[string]string{}).Shared())
}
