package kube

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// TestTrials says that this package refuses what kube-apiserver refuses, and
// nothing else; TestAccTrials says it of kube-apiserver.
func TestTrials(t *testing.T) {
	for _, minor := range []string{"1.25", "1.34", "1.36", "1.37"} {
		r := release(t, minor)
		for _, trial := range Trials {
			t.Run(minor+"/"+trial.Name, func(t *testing.T) {
				got := checkTrial(r, trial)
				switch {
				case !trial.In(r):
					t.Skip("not in this release")
				case trial.Refused():
					require.Len(t, got, 1)
					assert.Equal(t, k3s.Fatal, got[0].Consequence)
					assert.Contains(t, got[0].Text, trial.Says+trial.Ours)
					assert.Equal(t, trial.line, got[0].Origin.Line)
				case trial.ignored != "":
					require.Len(t, got, 1)
					assert.Equal(t, k3s.Ignored, got[0].Consequence)
					assert.Contains(t, got[0].Text, trial.ignored)
					assert.Equal(t, trial.line, got[0].Origin.Line)
				default:
					assert.Empty(t, got)
				}
			})
		}
	}
}

// checkTrial judges a trial by this package alone.
func checkTrial(r k3s.Release, trial Trial) []k3s.Problem {
	content := map[string][]byte{}
	for file, data := range trial.Content() {
		content[file] = []byte(data)
	}
	return CheckAPIServer(APIServer{Release: r, DataDir: "/var/lib/rancher/k3s", Args: trial.Arguments(), ReadFile: files(content)})
}
