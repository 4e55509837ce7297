package example

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// step is what an engine runs and the names of the variables that it gives to it.
type step struct {
	command   string
	variables []string
}

// argo are the steps of the template for Argo Workflows.
func argo(t *testing.T) []step {
	t.Helper()
	var file struct {
		Spec struct {
			Templates []struct {
				Container *struct {
					Command []string
					Env     []struct{ Name string }
				}
			}
		}
	}
	parse(t, "pipelines/argo-workflows.yaml", &file)
	var out []step
	for _, template := range file.Spec.Templates {
		if c := template.Container; c != nil {
			s := step{command: strings.Join(c.Command, " ")}
			for _, e := range c.Env {
				s.variables = append(s.variables, e.Name)
			}
			out = append(out, s)
		}
	}
	return out
}

// actions are the steps of the workflow for GitHub Actions, without those that hand
// files on.
func actions(t *testing.T) []step {
	t.Helper()
	var file struct {
		Jobs map[string]struct {
			Steps []struct {
				Run string
				Env map[string]string
			}
		}
	}
	parse(t, "pipelines/github-actions.yml", &file)
	var out []step
	for _, job := range []string{"matrix", "bake", "gather"} {
		for _, s := range file.Jobs[job].Steps {
			if strings.Contains(s.Run, "/pipeline/") {
				out = append(out, step{s.Run, nil})
				for name := range s.Env {
					out[len(out)-1].variables = append(out[len(out)-1].variables, name)
				}
			}
		}
	}
	return out
}

func parse(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, into))
}

// TestPipelineSteps: both engines run the same steps of the same script with every
// variable that those need.
func TestPipelineSteps(t *testing.T) {
	needs := []struct {
		step      string
		variables []string
	}{
		{"matrix", []string{"RELEASES", "ROLES", "ARCHITECTURES"}},
		{"bake", []string{"RELEASE", "ROLE", "ARCHITECTURE", "REPORTS", "IMAGES", "PKR_VAR_base"}},
		{"gather", []string{"RELEASES", "ROLES", "ARCHITECTURES", "REPORTS", "SITE", "POLICY"}},
	}
	for engine, steps := range map[string][]step{"argo": argo(t), "actions": actions(t)} {
		if !assert.Len(t, steps, len(needs), engine) {
			continue
		}
		for i, need := range needs {
			assert.Contains(t, steps[i].command, "/pipeline/run "+need.step, engine)
			slices.Sort(need.variables)
			slices.Sort(steps[i].variables)
			assert.Equal(t, need.variables, steps[i].variables, "%s: %s", engine, need.step)
		}
	}
}

// TestContainerfile: the recipe copies files that are there, and builds with the Go
// that everything else is built with.
func TestContainerfile(t *testing.T) {
	data, err := os.ReadFile("pipelines/Containerfile")
	require.NoError(t, err)
	copied := regexp.MustCompile(`(?m)^COPY (example/.*) \S+$`).FindStringSubmatch(string(data))
	require.NotNil(t, copied)
	for _, file := range strings.Fields(copied[1]) {
		assert.FileExists(t, filepath.Join("..", file))
	}
	version, err := os.ReadFile("../.go-version")
	require.NoError(t, err)
	minor := regexp.MustCompile(`^\d+\.\d+`).FindString(string(version))
	assert.Contains(t, string(data), "golang:"+minor+"-")
}
