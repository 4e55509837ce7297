package k3s_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
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
		"advertise-address: k3s.example.org\n":            "advertise-address is not an IP address",
		"advertise-address: 10.0.0.1,10.0.0.2\n":          "advertise-address is not an IP address",
		"advertise-address: 10.0.0.1\n":                   "",
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

// TestSchedules: K3s takes no snapshots by a schedule that it does not understand, and
// says nothing of it; without etcd it looks at none.
func TestSchedules(t *testing.T) {
	const etcd = "cluster-init: true\netcd-snapshot-schedule-cron: "
	for text, want := range map[string]string{
		etcd + "daily\n":                                        "ignored config.yaml:2: etcd-snapshot-schedule-cron is no schedule",
		etcd + "\"0 25 * * *\"\n":                               "ignored config.yaml:2: etcd-snapshot-schedule-cron is no schedule",
		etcd + "\"60 * * * *\"\n":                               "ignored config.yaml:2: etcd-snapshot-schedule-cron is no schedule",
		etcd + "\"0 0 31 13 *\"\n":                              "ignored config.yaml:2: etcd-snapshot-schedule-cron is no schedule",
		etcd + "\"0 0 */6 * * *\"\n":                            "ignored config.yaml:2: etcd-snapshot-schedule-cron is no schedule",
		etcd + "\"@every day\"\n":                               "ignored config.yaml:2: etcd-snapshot-schedule-cron is no schedule",
		etcd + "TZ=UTC\n":                                       "fatal config.yaml:2: etcd-snapshot-schedule-cron is a time zone without a schedule",
		etcd + "\"TZ=UTC 0 25 * * *\"\n":                        "ignored config.yaml:2: etcd-snapshot-schedule-cron is no schedule",
		etcd + "\"CRON_TZ=Asia/Tokyo 0 5 * * *\"\n":             "",
		etcd + "\"0 */6 * * *\"\n":                              "",
		etcd + "\"0 0 * jan-mar mon\"\n":                        "",
		etcd + "\"@every 6h\"\n":                                "",
		etcd + "\"@daily\"\n":                                   "",
		etcd + "\"0 25 * * *\"\netcd-disable-snapshots: true\n": "",
		"etcd-snapshot-schedule-cron: \"0 25 * * *\"\n":         "",
	} {
		got := problems(resolve(t, "v1.36", k3s.Server, map[string]string{mainFile: text}))
		if want == "" {
			assert.Empty(t, got, text)
		} else {
			assert.Contains(t, got, want, text)
		}
	}
}

// TestDatastoreAddresses: what kine takes for an address, and what such a one makes vain.
func TestDatastoreAddresses(t *testing.T) {
	for _, c := range []struct {
		version, text string
		store         k3s.Datastore
		want          string
	}{
		{"v1.36", "datastore-endpoint: postgres://db/k3s\n", k3s.External, ""},
		{"v1.36", "datastore-endpoint: mysql://tcp(db:3306)/k3s\n", k3s.External, ""},
		{"v1.36", "datastore-endpoint: https://a:2379,https://b:2379\n", k3s.External, ""},
		{"v1.36", "datastore-endpoint: nats://n:4222\n", k3s.External, ""},
		{"v1.36", "datastore-endpoint: sqlite:///srv/k3s.db\n", k3s.SQLite, ""},
		{"v1.36", "datastore-endpoint: etcd\n", k3s.EtcdStore, ""},
		{"v1.36", "datastore-endpoint: etcd://\n", k3s.EtcdStore, ""},
		{"v1.36", "datastore-endpoint: postgre://db/k3s\n", k3s.External, "fatal config.yaml:1: K3s has no datastore for addresses as datastore-endpoint's"},
		{"v1.36", "datastore-endpoint: mongodb://db\n", k3s.External, "fatal config.yaml:1: K3s has no datastore"},
		{"v1.36", "datastore-endpoint: litestream://x\n", k3s.External, "unknown config.yaml:1: whether K3s v1.36"},
		{"v1.36", "datastore-endpoint: db:5432\n", k3s.SQLite, "fatal config.yaml:1: datastore-endpoint is no address"},
		{"v1.30", "datastore-endpoint: db:5432\n", k3s.SQLite, "ignored config.yaml:1: datastore-endpoint is no address"},
		{"v1.36", "datastore-endpoint: postgres://db/k3s\ncluster-init: true\n", k3s.External, "ignored config.yaml:2: cluster-init is not heeded"},
		{"v1.36", "datastore-endpoint: sqlite:///srv/k3s.db\ncluster-init: true\n", k3s.SQLite, "ignored config.yaml:2: cluster-init is not heeded"},
		{"v1.36", "datastore-endpoint: etcd\ncluster-init: true\n", k3s.EtcdStore, ""},
		{"v1.36", "datastore-endpoint: postgres://db/k3s\ncluster-init: false\n", k3s.External, ""},
		{"v1.36", "datastore-endpoint: \"\"\ncluster-init: true\n", k3s.EtcdStore, ""},
	} {
		e := resolve(t, c.version, k3s.Server, map[string]string{mainFile: c.text})
		assert.Equal(t, c.store, e.Datastore, c.text)
		if c.want == "" {
			assert.Empty(t, problems(e), c.text)
		} else {
			assert.Contains(t, problems(e), c.want, c.text)
		}
		assert.NotContains(t, problems(e), "mongodb://db")
	}
}

// TestServiceManagers: of services for both managers those of the one that is there
// count.
func TestServiceManagers(t *testing.T) {
	const (
		systemd = "/usr/lib/systemd/systemd"
		openRC  = "/sbin/openrc-run"
		agent   = "#!/sbin/openrc-run\ncommand=/usr/local/bin/k3s\ncommand_args=\"agent --token-file /agent\"\n"
		server  = "#!/sbin/openrc-run\ncommand=/usr/local/bin/k3s\ncommand_args=\"server --token-file /script\"\n"
		unit    = "[Service]\nExecStart=/usr/local/bin/k3s server --token-file /unit\n"
	)
	for _, c := range []struct {
		name  string
		files map[string]string
		// token is the file that the service which counts names, want a problem.
		token, want string
	}{
		{"an agent's script beside a server's unit", map[string]string{unitFile: unit, "/etc/init.d/k3s-agent": agent}, "/unit", "which of them the node starts is not known"},
		{"the same on systemd", map[string]string{unitFile: unit, "/etc/init.d/k3s-agent": agent, systemd: "x"}, "/unit", ""},
		{"the same on OpenRC", map[string]string{unitFile: unit, "/etc/init.d/k3s-agent": agent, openRC: "x"}, "", "none that runs k3s server"},
		{"the same with both", map[string]string{unitFile: unit, "/etc/init.d/k3s-agent": agent, openRC: "x", systemd: "x"}, "/unit", "which of them the node starts is not known"},
		{"two servers", map[string]string{unitFile: unit, "/etc/init.d/k3s": server}, "/unit", "which of them the node starts is not known"},
		{"two servers on systemd", map[string]string{unitFile: unit, "/etc/init.d/k3s": server, systemd: "x"}, "/unit", ""},
		{"two servers on OpenRC", map[string]string{unitFile: unit, "/etc/init.d/k3s": server, openRC: "x"}, "/script", ""},
		{"an agent's script alone", map[string]string{"/etc/init.d/k3s-agent": agent}, "", "none that runs k3s server"},
		{"a script alone", map[string]string{"/etc/init.d/k3s": server}, "/script", ""},
		{"a unit alone on OpenRC", map[string]string{unitFile: unit, openRC: "x"}, "/unit", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var entries []node.Entry
			for p, text := range c.files {
				entries = append(entries, node.Entry{Path: p, Kind: node.KindFile, Mode: 0o755, Size: int64(len(text)), Data: []byte(text)})
			}
			e := followed(t, "v1.36", k3s.Server, entries)
			assert.Equal(t, c.token, e.Text("token-file"))
			if c.want == "" {
				assert.Empty(t, problems(e))
			} else {
				assert.Contains(t, problems(e), c.want)
			}
		})
	}
}
