package cis

import (
	"os"
	"path/filepath"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func TestPrepareAcceptsTwoLines(t *testing.T) {
	var p Provisioner
	raw := map[string]any{"k3s_version": "v1.36.3+k3s1", "role": "server"}
	// Packer prepares once to validate and once to build.
	for range 2 {
		require.NoError(t, p.Prepare(raw))
	}
	assert.Equal(t, "cis-2.1", p.inputs.options.Benchmark)
	assert.Equal(t, k3s.Server, p.inputs.options.Role)
	assert.Equal(t, modeApply, p.config.Mode)
}

func TestPrepareNamesEveryBadOptionAtOnce(t *testing.T) {
	var p Provisioner
	err := p.Prepare(map[string]any{
		"k3s_version":     "1.36",
		"role":            "boss",
		"mode":            "harden",
		"benchmark":       "cis-3.0",
		"execute_command": "echo hunter2 | sudo -S true",
		"use_sudo":        true,
		"pod_security":    map[string]any{"policy_file": "/nonexistent/psa.yaml", "enforce": "tight"},
		"audit":           map[string]any{"max_age": -1},
		"waiver":          []map[string]any{{"control": "1.2.16", "reason": "r", "owner": "o", "expires": "soon"}},
		"config_file":     "/nonexistent/config.yaml",
		"config":          map[string]string{"tls-san": "[a"},
	})
	var multi *packersdk.MultiError
	require.ErrorAs(t, err, &multi)
	for _, want := range []string{
		`k3s_version: "1.36" is not a K3s release: write the whole tag, such as v1.36.3+k3s1`,
		`role: "boss" is not one of "server", "agent"`,
		`mode: "harden" is not one of "apply", "check", "plan"`,
		`benchmark: "cis-3.0" is not one of "auto", "cis-1.6"`,
		`execute_command: "… | sudo -S true" runs nothing of ours: it must contain {{ .Path }}`,
		`use_sudo and execute_command exclude each other`,
		`pod_security.policy_file: "/nonexistent/psa.yaml" cannot be read (no such file or directory)`,
		`pod_security.enforce`,
		`audit.max_age`,
		`waiver[0].expires: "soon" is not a day: write it as 2027-01-31`,
		`config_file: "/nonexistent/config.yaml" cannot be read`,
		`config["tls-san"]: the value is not YAML`,
	} {
		assert.ErrorContains(t, err, want)
	}
	assert.NotContains(t, err.Error(), "hunter2", "a password must not reach the log")
}

func TestPrepareRefusesBenchmarkThatDoesNotFit(t *testing.T) {
	var p Provisioner
	err := p.Prepare(map[string]any{"k3s_version": "v1.36.3+k3s1", "benchmark": "cis-1.6"})
	require.ErrorContains(t, err, "cis-1.6")
	for _, fits := range []string{"cis-1.12", "cis-2.0", "cis-2.1"} {
		assert.ErrorContains(t, err, fits)
	}
}

func TestPrepareRefusesUnknownOption(t *testing.T) {
	var p Provisioner
	require.ErrorContains(t, p.Prepare(map[string]any{"k3s_verson": "v1.36.3+k3s1"}), "k3s_verson")
}

func TestPrepareAcceptsWhatOnlyABuildCanKnow(t *testing.T) {
	var p Provisioner
	require.NoError(t, p.Prepare(map[string]any{
		"k3s_version":  unknown,
		"role":         unknown,
		"pod_security": map[string]any{"policy_file": unknown, "exempt_namespaces": []string{"a", unknown}},
		"waiver":       []map[string]any{{"control": "1.2.16", "reason": unknown, "owner": "o", "expires": unknown}},
		"sysctl":       map[string]string{"vm.swappiness": unknown},
	}))
	assert.Empty(t, p.inputs.waivers)
	assert.Equal(t, []string{"a"}, p.config.PodSecurity.ExemptNamespaces)
}

func TestPrepareNeverQuotesAConfigValue(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"scalar.yaml":  "K10secret::server:abc",
		"broken.yaml":  "token: [K10secret",
		"twice.yaml":   "token: K10secret\ntoken: K10secret\n",
		"tabs.yaml":    "token: x\n\tK10secret: y\n",
		"complex.yaml": "? [K10secret, b]\n: K10secret\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			var p Provisioner
			err := p.Prepare(map[string]any{"k3s_version": "v1.36.3+k3s1", "config_file": file})
			require.ErrorContains(t, err, "config_file")
			assert.NotContains(t, err.Error(), "K10secret")
		})
	}
}

func TestReachRefusesCommunicatorsThatCannotWork(t *testing.T) {
	for connection, why := range refused {
		_, err := reach(Config{}, new(packersdk.MockCommunicator), map[string]any{"ConnType": connection}, func(string) {})
		assert.EqualError(t, err, why)
	}
	_, err := reach(Config{}, nil, map[string]any{}, func(string) {})
	assert.ErrorContains(t, err, "no communicator")
}

func TestWrapperDoesNotReadTheCommandAsATemplate(t *testing.T) {
	c := Config{ExecuteCommand: "echo {{ .Password }} | sudo -S sh -c '{{ .Vars }} {{ .Path }}'"}
	wrap := c.wrapper(map[string]any{"Password": "pw"})
	got, err := wrap("sh {{x}}")
	require.NoError(t, err)
	assert.Equal(t, "echo pw | sudo -S sh -c ' sh {{x}}'", got)
}
