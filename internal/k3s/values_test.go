package k3s_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestForms: K3s exits at these values, and takes those.
func TestForms(t *testing.T) {
	for text, want := range map[string]string{
		"node-ip: not an ip\n":                            "node-ip is not an IP address",
		"node-ip: [10.0.0.1, 10.0.0.300]\n":               "node-ip is not an IP address",
		"node-ip: 10.0.0.1/24\n":                          "node-ip is not an IP address",
		"node-ip: 10.0.0.1,fd00::1\n":                     "",
		"node-ip: \"\"\n":                                 "",
		"i: eth0\n":                                       "node-ip is not an IP address",
		"node-external-ip: host.example.org\n":            "node-external-ip is not an IP address",
		"node-external-ip: [203.0.113.5]\n":               "",
		"cluster-cidr: \"10.42\"\n":                       "cluster-cidr is not a network",
		"cluster-cidr: 10.42.0.0\n":                       "cluster-cidr is not a network",
		"cluster-cidr: 10.42.0.0/16,fd00:42::/56\n":       "",
		"service-cidr: 10.43.0.0/33\n":                    "service-cidr is not a network",
		"service-cidr: [10.43.0.0/16, \"fd00::/112\"]\n":  "",
		"cluster-dns: kube-dns\n":                         "cluster-dns is not an IP address",
		"cluster-dns: 10.43.0.10\n":                       "",
		"service-node-port-range: high\n":                 "service-node-port-range is not a range of ports",
		"service-node-port-range: 30000-32767\n":          "",
		"https-listen-port: 66000\n":                      "https-listen-port is not a port",
		"https-listen-port: 6443\n":                       "",
		"etcd-s3-timeout: 10\n":                           "etcd-s3-timeout is not a time",
		"etcd-s3-timeout: 5m0s\n":                         "",
		"etcd-snapshot-reconcile-interval: ten minutes\n": "etcd-snapshot-reconcile-interval is not a time",
		"server: 10.0.0.10:6443\ntoken-file: /t\n":        "server is not an address",
		"server: http://10.0.0.10:6443\n":                 "server is not an address",
		"server: https://k3s.example.org:6443\n":          "",
		"flannel-backend: vxlna\n":                        "flannel-backend is not a backend",
		"flannel-backend: none\n":                         "",
		"flannel-backend: wireguard-native\n":             "",
		"etcd-snapshot-schedule-cron: daily\n":            "etcd-snapshot-schedule-cron is not a schedule",
		"etcd-snapshot-schedule-cron: \"0 */6 * * *\"\n":  "",
		"etcd-snapshot-schedule-cron: \"@every 6h\"\n":    "",
		"lb-server-port: 70000\n":                         "lb-server-port is not a port",
	} {
		e := resolve(t, "v1.36", k3s.Server, map[string]string{mainFile: text})
		if want == "" {
			assert.NotContains(t, problems(e), "is not a", text)
		} else {
			assert.Contains(t, problems(e), "fatal config.yaml:1: "+want, text)
		}
	}
	e := resolve(t, "v1.36", k3s.Server, map[string]string{mainFile: "flannel-backend: wireguard\n"})
	assert.Contains(t, problems(e), "write wireguard-native")
	e = resolve(t, "v1.36", k3s.Agent, map[string]string{unitFile: "", "/etc/systemd/system/k3s-agent.service": "[Service]\nExecStart=/usr/local/bin/k3s agent --node-ip S3CR3T\n"})
	assert.Contains(t, problems(e), "node-ip is not an IP address")
	assert.NotContains(t, problems(e), "S3CR3T")
}
