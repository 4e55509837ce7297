package benchmark_test

import (
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestNeighboursOfCredentials: where agents of fleets, of monitoring and of networks
// have what they prove who they are by, and their configuration without it.
func TestNeighboursOfCredentials(t *testing.T) {
	key := "-----BEGIN PRIVATE KEY-----\nx\n"
	tryNeighbours(t, hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1"), []nodeChange{
		{true, "credstore", files("/etc/credstore/passwd.hashed-password.root", "$6$a$b")},
		{false, "credstore encrypted", files("/etc/credstore.encrypted/token", "k6iUCUh0RJCQyvL8k8q1UyAAAAABAAAA")},
		{true, "kubelet's docker config", files("/var/lib/kubelet/config.json", `{"auths": {"r": {"auth": "dTpw"}}}`)},
		{true, "rancher's system agent", files("/var/lib/rancher/agent/rancher2_connection_info.json", `{"kubeConfig": "x"}`)},
		{false, "rancher's plan directory", files("/etc/rancher/agent/config.yaml", "workDirectory: /var/lib/rancher/agent/work\nlocalEnabled: false\nremoteEnabled: true\nconnectionInfoFile: /var/lib/rancher/agent/rancher2_connection_info.json\n")},
		{true, "gitlab runner", files("/etc/gitlab-runner/config.toml", "concurrent = 1\n[[runners]]\n  name = \"x\"\n  token = \"glrt-abc\"\n")},
		{false, "gitlab runner to come", files("/etc/gitlab-runner/config.toml", "concurrent = 1\ncheck_interval = 0\n")},
		{true, "teleport", files("/etc/teleport.yaml", "teleport:\n  auth_token: \"abc\"\n")},
		{false, "teleport token file", files("/etc/teleport.yaml", "teleport:\n  auth_token: /var/lib/teleport/token\n  nodename: x\n")},
		{true, "zerotier", files("/var/lib/zerotier-one/identity.secret", "abc:0:def\n")},
		{true, "netbird", files("/etc/netbird/config.json", "{\n    \"PrivateKey\": \"4GgaQCy68nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8=\"\n}")},
		{true, "nebula", files("/etc/nebula/host.key", "-----BEGIN NEBULA X25519 PRIVATE KEY-----\nx\n")},
		{true, "datadog", files("/etc/datadog-agent/datadog.yaml", "api_key: abcdef\nsite: x\n")},
		{false, "datadog stock", files("/etc/datadog-agent/datadog.yaml", "api_key:\nsite: datadoghq.com\n# app_key: x\n")},
		{false, "datadog secret backend", files("/etc/datadog-agent/datadog.yaml", "api_key: \"${DD_API_KEY}\"\nsite: datadoghq.com\n")},
		{true, "newrelic", files("/etc/newrelic-infra.yml", "license_key: abc\n")},
		{true, "telegraf", files("/etc/telegraf/telegraf.conf", "[[outputs.influxdb_v2]]\n  urls = [\"http://x\"]\n  token = \"abc\"\n")},
		{false, "telegraf stock", files("/etc/telegraf/telegraf.conf", "[[outputs.influxdb_v2]]\n  urls = [\"http://x\"]\n  token = \"$INFLUX_TOKEN\"\n  # password = \"metricsmetrics\"\n")},
		{true, "filebeat", files("/etc/filebeat/filebeat.yml", "output.elasticsearch:\n  hosts: [x]\n  password: \"abc\"\n")},
		{false, "filebeat stock", files("/etc/filebeat/filebeat.yml", "output.elasticsearch:\n  hosts: [x]\n  #password: \"changeme\"\n  password: \"${ES_PWD}\"\n")},
		{true, "zabbix", files("/etc/zabbix/agent.psk", "1f87b595725ac58dd977beef14b97461a7c1045b9a1c963065002c5473194952\n")},
		{true, "wazuh", files("/var/ossec/etc/client.keys", "001 x any abc\n")},
		{false, "wazuh not enrolled", files("/var/ossec/etc/client.keys", "")},
		{true, "crowdsec", files("/etc/crowdsec/local_api_credentials.yaml", "url: http://127.0.0.1:8080\nlogin: a\npassword: b\n")},
		{true, "osquery", files("/etc/osquery/osquery.secret", "abc\n")},
		{true, "falcon", files("/opt/CrowdStrike/falconstore", "abc\n")},
		{true, "consul", files("/etc/consul.d/consul.hcl", "datacenter = \"x\"\nencrypt = \"abc=\"\n")},
		{false, "consul plain", files("/etc/consul.d/consul.hcl", "datacenter = \"x\"\ndata_dir = \"/opt/consul\"\nretry_join = [\"x\"]\nverify_incoming = true\nkey_file = \"/run/k\"\n")},
		{true, "vault role", files("/etc/vault.d/secret-id", "secret_id = abc\n")},
		{true, "ssm", files("/var/lib/amazon/ssm/Vault/Store/RegistrationKey", "abc")},
		{true, "waagent", files("/var/lib/waagent/ABC.prv", key)},
		{true, "waagent ovf", files("/var/lib/waagent/ovf-env.xml", "<x><UserPassword>abc</UserPassword></x>")},
		{false, "waagent ovf redacted", files("/var/lib/waagent/ovf-env.xml", "<x><UserPassword>*REDACTED*</UserPassword></x>")},
		{true, "letsencrypt", files("/etc/letsencrypt/archive/x/privkey1.pem", key)},
		{true, "cloudflared", files("/etc/cloudflared/t.json", "{\n\"AccountTag\":\"a\",\n\"TunnelSecret\":\"abc\"}")},
		{true, "ddclient", files("/etc/ddclient.conf", "login=x\npassword='abc'\n")},
		{true, "iscsi", files("/etc/iscsi/iscsid.conf", "node.session.auth.password = abc\n")},
		{false, "iscsi stock", files("/etc/iscsi/iscsid.conf", "#node.session.auth.password = password\nnode.startup = manual\n")},
		{true, "disk key", files("/etc/cryptsetup-keys.d/data.key", "abc")},
		{true, "keytab", files("/etc/krb5.keytab", "\x05\x02abc")},
		{true, "rndc", files("/etc/bind/rndc.key", "key \"rndc-key\" {\n algorithm hmac-sha256;\n secret \"4GgaQCy68nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8=\";\n};\n")},
		{true, "snmp", files("/etc/snmp/snmpd.conf", "createUser u SHA abcdefgh AES\n")},
		{false, "snmp stock", files("/etc/snmp/snmpd.conf", "sysLocation x\nagentaddress 127.0.0.1\nrocommunity public default -V systemonly\n")},
		{true, "nut", files("/etc/nut/upsd.users", "[upsmon]\n password = abc\n")},
		{true, "containers auth", files("/etc/containers/auth.json", `{"auths": {"r": {"auth": "dTpw"}}}`)},
		{true, "munge", files("/etc/munge/munge.key", "abc")},
		{true, "runner", files("/opt/actions-runner/.credentials_rsaparams", "{\"d\": \"x\"}")},
	})
}
