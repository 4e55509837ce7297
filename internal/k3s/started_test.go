package k3s_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// recorded is the log of a first start of K3s v1.36.3 that was hardened.
func recorded(t *testing.T) map[k3s.Component][]k3s.Argument {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "first-start.log"))
	require.NoError(t, err)
	out := map[k3s.Component][]k3s.Argument{}
	for line := range strings.Lines(string(data)) {
		if c, args, known := k3s.LoggedArguments(line); known {
			out[c] = args
		}
	}
	return out
}

const recordedConfig = `protect-kernel-defaults: true
secrets-encryption: true
kube-apiserver-arg:
- enable-admission-plugins=NodeRestriction,DenyServiceExternalIPs
- admission-control-config-file=/etc/rancher/k3s/psa.yaml
- audit-log-path=/var/lib/rancher/k3s/server/logs/audit.log
- audit-policy-file=/etc/rancher/k3s/audit.yaml
- audit-log-maxage=30
- audit-log-maxbackup=10
- audit-log-maxsize=100
- service-account-extend-token-expiration=false
kube-controller-manager-arg:
- terminated-pod-gc-threshold=100
kubelet-arg:
- streaming-connection-idle-timeout=5m
- pod-max-pids=4096
- seccomp-default=true
- fail-cgroupv1=false
- tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305
`

// TestRecordedStart holds what is worked out of a configuration against what K3s
// started its components with.
func TestRecordedStart(t *testing.T) {
	e := resolve(t, "v1.36", k3s.Server, map[string]string{mainFile: recordedConfig})
	started := recorded(t)
	require.Len(t, started, 5)
	for c, args := range started {
		assert.Empty(t, e.Differences(c, args), "%s", c)
	}
}

func TestDifferences(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		want   string
	}{
		"another value":                {strings.Replace(recordedConfig, "maxage=30", "maxage=31", 1), "kube-apiserver audit-log-maxage 31 30"},
		"a flag that was not foreseen": {strings.Replace(recordedConfig, "- pod-max-pids=4096\n", "", 1), "kubelet pod-max-pids  4096"},
		"a flag that is not passed":    {strings.Replace(recordedConfig, "kubelet-arg:\n", "kubelet-arg:\n- event-qps=5\n", 1), "kubelet event-qps 5 "},
		"a name of the user's own":     {"node-name: mine\n" + recordedConfig, "kubelet hostname-override mine rehearsal"},
		"an address of the user's own": {"advertise-address: 10.0.0.1\n" + recordedConfig, "kube-apiserver advertise-address 10.0.0.1 "},
		"leader election":              {"cluster-init: true\n" + recordedConfig, "kube-scheduler leader-elect  false"},
	} {
		t.Run(name, func(t *testing.T) {
			e := resolve(t, "v1.36", k3s.Server, map[string]string{mainFile: c.config})
			var all []string
			for component, args := range recorded(t) {
				for _, d := range e.Differences(component, args) {
					all = append(all, strings.Join([]string{string(component), d.Flag, values(d.WorkedOut), values(d.Started)}, " "))
				}
			}
			assert.Contains(t, all, c.want)
		})
	}
}

func values(args []k3s.Argument) string {
	var out []string
	for _, a := range args {
		out = append(out, a.Value)
	}
	return strings.Join(out, " ")
}

// TestMachineAndPorts are arguments that follow from other keys.
func TestMachineAndPorts(t *testing.T) {
	for name, c := range map[string]struct {
		config    string
		component k3s.Component
		flag      string
		want      string
	}{
		"port":                      {"", k3s.APIServer, "secure-port", "6444"},
		"port behind K3s's":         {"https-listen-port: 6444\n", k3s.APIServer, "secure-port", "6445"},
		"no address":                {"", k3s.APIServer, "advertise-address", ""},
		"address of the node":       {"node-ip: [10.1.1.1, 'fd00::1']\n", k3s.APIServer, "advertise-address", "10.1.1.1"},
		"external address":          {"node-ip: 10.1.1.1\nnode-external-ip: 192.0.2.7\n", k3s.APIServer, "advertise-address", "192.0.2.7"},
		"advertised address":        {"advertise-address: 10.9.9.9\nnode-external-ip: 192.0.2.7\n", k3s.APIServer, "advertise-address", "10.9.9.9"},
		"SQLite":                    {"", k3s.ControllerManager, "leader-elect", "false"},
		"etcd":                      {"cluster-init: true\n", k3s.ControllerManager, "leader-elect", ""},
		"external":                  {"datastore-endpoint: mysql://x\n", k3s.Scheduler, "leader-elect", ""},
		"no cloud controller":       {"disable-cloud-controller: true\n", k3s.ControllerManager, "controllers", "*,tokencleaner"},
		"K3s's cloud controller":    {"", k3s.ControllerManager, "controllers", "*,tokencleaner,-service,-route,-cloud-node-lifecycle"},
		"cloud controller of one's": {"disable-cloud-controller: true\n", k3s.ControllerManager, "configure-cloud-routes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := resolve(t, "v1.36", k3s.Server, map[string]string{mainFile: c.config})
			value, _, _ := e.Flag(c.component, c.flag)
			assert.Equal(t, c.want, value)
		})
	}
}

func TestKubeletConfiguration(t *testing.T) {
	e := resolve(t, "v1.36", k3s.Server, map[string]string{mainFile: recordedConfig})
	data, err := os.ReadFile(filepath.Join("testdata", "configz.json"))
	require.NoError(t, err)
	says, ok := k3s.KubeletConfiguration(data)
	require.True(t, ok)
	assert.Empty(t, e.FileDifferences(k3s.Kubelet, says))

	says, ok = k3s.KubeletConfiguration([]byte(strings.Replace(string(data), `"enabled":false`, `"enabled":true`, 1)))
	require.True(t, ok)
	require.Len(t, e.FileDifferences(k3s.Kubelet, says), 1)
	assert.Equal(t, "anonymous-auth", e.FileDifferences(k3s.Kubelet, says)[0].Flag)

	for _, no := range []string{"", "Error from server (NotFound): nodes \"x\" not found", "[]", `{"kubeletconfig": 1}`} {
		_, ok := k3s.KubeletConfiguration([]byte(no))
		assert.False(t, ok, no)
	}
}

func TestLoggedArguments(t *testing.T) {
	c, args, known := k3s.LoggedArguments(`time="2026-11-25T10:00:00Z" level=info msg="Running kubelet --node-labels= --config=/a b --flag --x=\"y\""` + "\n")
	require.True(t, known)
	assert.Equal(t, k3s.Kubelet, c)
	assert.Equal(t, []string{"node-labels=", "config=/a b", "flag=true", `x="y"`}, func() (out []string) {
		for _, a := range args {
			out = append(out, a.Name+"="+a.Value)
		}
		return out
	}())
	for _, no := range []string{"", "Running", "Running late", `msg="Running load balancer k3s-agent-load-balancer"`, `level=info msg="k3s is up and running"`} {
		_, _, known := k3s.LoggedArguments(no)
		assert.False(t, known, no)
	}
}

func FuzzLoggedArguments(f *testing.F) {
	f.Add(`time="x" level=info msg="Running kubelet --a=b --c"`)
	f.Fuzz(func(_ *testing.T, line string) { k3s.LoggedArguments(line) })
}

func FuzzKubeletConfiguration(f *testing.F) {
	f.Add([]byte(`{"kubeletconfig":{"address":"0.0.0.0"}}`))
	f.Fuzz(func(_ *testing.T, data []byte) { k3s.KubeletConfiguration(data) })
}
