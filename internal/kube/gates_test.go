package kube

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// What a component exits at, and the neighbours that it takes.
func TestCheckGates(t *testing.T) {
	for _, test := range []struct {
		minor     string
		component k3s.Component
		value     string
		says      string
	}{
		{"1.22", k3s.APIServer, "PodSecurity=true", ""},
		{"1.24", k3s.APIServer, "PodSecurity=false", ""},
		{"1.25", k3s.APIServer, "PodSecurity=false", "cannot set feature gate PodSecurity to false, feature is locked to true in v1.25; take it out"},
		{"1.25", k3s.APIServer, "PodSecurity=true", ""},
		{"1.28", k3s.APIServer, "PodSecurity=true", "unrecognized feature gate: PodSecurity (Kubernetes v1.28 removed it, and this is v1.28); take it out"},
		{"1.21", k3s.APIServer, "PodSecurity=true", "it came with Kubernetes v1.22, and this is v1.21"},
		{"1.38", k3s.APIServer, "PodSecurity=true", "Kubernetes v1.28 removed it, and this is v1.38"},
		{"1.29", k3s.Kubelet, "SeccompDefault=true", "Kubernetes v1.29 removed it"},
		{"1.28", k3s.Kubelet, "SeccompDefault=true", ""},
		{"1.36", k3s.Kubelet, "RotateKubeletServerCertificate=true", ""},
		{"1.36", k3s.Kubelet, "RotateKubeletServerCertificate=0, AllAlpha = false,AllBeta=F", ""},
		{"1.36", k3s.Kubelet, "RotateKubeletServerCertificates=true", "unrecognized feature gate: RotateKubeletServerCertificates; write RotateKubeletServerCertificate"},
		{"1.36", k3s.Kubelet, "rotateKubeletServerCertificate=true", "write RotateKubeletServerCertificate"},
		{"1.36", k3s.Kubelet, "NothingLikeThis=true", "unrecognized feature gate: NothingLikeThis; take it out"},
		{"1.38", k3s.Kubelet, "NothingLikeThis=true", "what v1.38 has is not known here"},
		{"1.19", k3s.Kubelet, "NothingLikeThis=true", "what v1.19 has is not known here"},
		{"1.19", k3s.Kubelet, "RotateKubeletServerCertificate=true", ""},
		{"1.36", k3s.Scheduler, "AllBeta=yes", "the value of AllBeta is not true or false"},
		{"1.36", k3s.KubeProxy, "AllBeta", "the value of AllBeta is not true or false"},
		{"1.36", k3s.KubeProxy, "", ""},
		{"1.36", k3s.KubeProxy, "AllBeta=true,", ""},
		// gates of the libraries: apiserver, component-base, controller-manager, client-go
		{"1.20", k3s.APIServer, "APIResponseCompression=false", ""},
		{"1.24", k3s.Kubelet, "ContextualLogging=true", ""},
		{"1.27", k3s.ControllerManager, "ComponentSLIs=true,CloudControllerManagerWebhook=true", ""},
		{"1.30", k3s.ControllerManager, "WatchListClient=true", ""},
		// with the component that has the gate
		{"1.31", k3s.APIServer, "kube:AllAlpha=false", ""},
		{"1.31", k3s.APIServer, "kube:PodSecurity=true", "unrecognized feature gate: PodSecurity"},
		{"1.30", k3s.APIServer, "kube:AllAlpha=false", "unrecognized feature gate"},
		{"1.36", k3s.Kubelet, "kube:AllAlpha=false", "unrecognized feature gate"},
	} {
		t.Run(fmt.Sprintf("%s %s %s", test.minor, test.component, test.value), func(t *testing.T) {
			got := CheckArguments(release(t, test.minor), test.component, []k3s.Argument{{Name: "feature-gates", Value: test.value}})
			if test.says == "" {
				assert.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			assert.Contains(t, got[0].Text, test.says)
			assert.Equal(t, test.value == "NothingLikeThis=true" && test.minor != "1.36", got[0].Consequence == k3s.Unreadable)
		})
	}
}

// What K3s passes itself is right for its release, and gates of an emulated one
// are not judged by those of this.
func TestCheckGatesOfOthers(t *testing.T) {
	removed := k3s.Argument{Name: "feature-gates", Value: "PodSecurity=true"}
	assert.Empty(t, CheckArguments(release(t, "1.36"), k3s.APIServer, []k3s.Argument{removed, {Name: "emulated-version", Value: "1.27"}}))
	removed.Origin.Default = true
	assert.Empty(t, CheckArguments(release(t, "1.36"), k3s.APIServer, []k3s.Argument{removed}))
}

// In each minor a gate has one row at most, and every minor has its gates.
func TestGateTable(t *testing.T) {
	require.Greater(t, len(gates()), 400)
	for minor := oldestTable; minor <= k3s.NewestMinor; minor++ {
		r := k3s.Release{Major: 1, Minor: minor}
		known := 0
		for name, states := range gates() {
			found := 0
			for _, g := range states {
				if g.span.missing(r) == "" {
					found++
				}
			}
			assert.LessOrEqual(t, found, 1, "%s in %s", name, r.MinorName())
			known += found
		}
		assert.Greater(t, known, 100, r.MinorName())
	}
}

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

func TestPodSecurityOff(t *testing.T) {
	for _, tt := range []struct {
		minor int
		value string
		off   bool
	}{
		{23, "AllBeta=false", true},
		{24, "AllBeta=false", true},
		{24, "AllBeta=false,PodSecurity=true", false},
		{24, "PodSecurity=false", true},
		{24, "AllAlpha=false", false},
		{25, "AllBeta=false", false},
		{27, "PodSecurity=false", true},
		{28, "AllBeta=false", false},
		{36, "AllBeta=false", false},
		{36, "", false},
	} {
		assert.Equal(t, tt.off, PodSecurityOff(k3s.Release{Major: 1, Minor: tt.minor}, tt.value), "v1.%d %s", tt.minor, tt.value)
	}
}
