package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclsimple"
	"github.com/hashicorp/packer-plugin-sdk/plugin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// workflow is what tests ask of a workflow of GitHub Actions.
type workflow struct {
	// On is what starts it; "on" is the same as true in YAML.
	On          any `json:"true"`
	Permissions *map[string]string
	Jobs        map[string]struct {
		Needs       any
		Uses        string
		Permissions map[string]string
		Timeout     int `json:"timeout-minutes"`
		Steps       []struct {
			Uses, Run string
			With      map[string]any
		}
	}
}

func parse(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(data, into), file)
}

// workflows are those of this repository by their file's name.
func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(".github/workflows/*.y*ml")
	require.NoError(t, err)
	out := map[string]workflow{}
	for _, file := range files {
		var w workflow
		parse(t, file, &w)
		out[filepath.Base(file)] = w
	}
	require.NotEmpty(t, out)
	return out
}

// reads is the permission that every job may have.
var reads = map[string]string{"contents": "read"}

// TestLeastPermissions: a job may read the sources; the one that publishes may write the
// release and its provenance. What others write goes into no command.
func TestLeastPermissions(t *testing.T) {
	publishes := map[string]string{"contents": "write", "id-token": "write", "attestations": "write"}
	for file, w := range workflows(t) {
		if assert.NotNil(t, w.Permissions, "%s: without permissions a job has all", file) && len(*w.Permissions) > 0 {
			assert.Equal(t, reads, *w.Permissions, file)
		}
		assert.NotContains(t, keys(w.On), "pull_request_target", "%s: it gives secrets to the code of strangers", file)
		for name, job := range w.Jobs {
			allowed := reads
			if file == "release.yml" && name == "release" {
				allowed = publishes
			}
			if job.Permissions != nil {
				assert.Equal(t, allowed, job.Permissions, "%s: %s", file, name)
			}
			assert.True(t, job.Timeout > 0 || job.Uses != "", "%s: %s: no timeout", file, name)
			for _, s := range job.Steps {
				assert.NotContains(t, s.Run, "${{", "%s: %s: a value becomes part of a command", file, name)
				if strings.HasPrefix(s.Uses, "actions/checkout@") {
					assert.Equal(t, false, s.With["persist-credentials"], "%s: %s: the token stays in the checkout", file, name)
				}
			}
		}
	}
}

func keys(v any) []string {
	m, _ := v.(map[string]any)
	return slices.Sorted(maps.Keys(m))
}

// TestReleaseFollowsCI: only a commit that .ci/run passed on is released, and the portal
// hears of nothing else.
func TestReleaseFollowsCI(t *testing.T) {
	all := workflows(t)
	release, ci := all["release.yml"], all["ci.yml"]
	assert.Equal(t, map[string]any{"push": map[string]any{"tags": []any{"v*"}}}, release.On)
	assert.Equal(t, "./.github/workflows/ci.yml", release.Jobs["ci"].Uses)
	assert.Equal(t, "ci", release.Jobs["release"].Needs)
	assert.Equal(t, "release", release.Jobs["notify"].Needs)
	assert.Equal(t, "./.github/workflows/notify-integration-release-via-tag.yaml", release.Jobs["notify"].Uses)
	assert.Equal(t, []string{"workflow_call"}, keys(all["notify-integration-release-via-tag.yaml"].On))
	assert.Contains(t, all, "notify-integration-release-via-manual.yaml")

	assert.Contains(t, keys(ci.On), "workflow_call")
	require.Len(t, ci.Jobs, 1)
	steps := ci.Jobs["ci"].Steps
	assert.Regexp(t, `(^| )\.ci/run$`, steps[len(steps)-1].Run)

	// What is published is what was built, with where it comes from.
	steps = release.Jobs["release"].Steps
	for _, s := range steps {
		assert.NotContains(t, s.Uses, "actions/cache@", "other branches can write it")
	}
	assert.Equal(t, "make release", steps[len(steps)-2].Run)
	last := steps[len(steps)-1]
	assert.Regexp(t, "^actions/attest@", last.Uses)
	for _, subject := range []string{"dist/*.zip", "dist/*.cdx.json", "dist/*_SHA256SUMS"} {
		assert.Contains(t, last.With["subject-path"], subject)
	}
}

// TestReleaseFiles: archives by the names that Packer parses, for small boards too, each
// with the list of its parts, under one signature.
func TestReleaseFiles(t *testing.T) {
	var release struct {
		Env    []string
		Builds []struct {
			Goos, Goarch []string
			Ignore       []struct{ Goos, Goarch string }
			Flags        []string
		}
		Archives []struct {
			Formats      []string
			Files        []string
			NameTemplate string `json:"name_template"`
		}
		Sboms    []struct{ Artifacts string }
		Checksum struct {
			NameTemplate string `json:"name_template"`
			Algorithm    string
		}
		Signs []struct{ Artifacts string }
	}
	parse(t, ".goreleaser.yml", &release)
	assert.Contains(t, release.Env, "API_VERSION=x"+plugin.APIVersionMajor+"."+plugin.APIVersionMinor)
	require.Len(t, release.Builds, 1)
	b := release.Builds[0]
	assert.Subset(t, b.Goos, []string{"linux", "darwin", "windows"})
	assert.Subset(t, b.Goarch, []string{"amd64", "arm64", "arm"})
	for _, ignored := range b.Ignore {
		assert.NotEqual(t, "linux", ignored.Goos, "every architecture of Linux is released")
	}
	assert.Contains(t, b.Flags, "-trimpath")
	require.Len(t, release.Archives, 1)
	const name = "{{ .ProjectName }}_v{{ .Version }}_"
	assert.Equal(t, []string{"zip"}, release.Archives[0].Formats)
	assert.Equal(t, name+"{{ .Env.API_VERSION }}_{{ .Os }}_{{ .Arch }}", release.Archives[0].NameTemplate)
	assert.Equal(t, name+"SHA256SUMS", release.Checksum.NameTemplate)
	assert.Equal(t, "sha256", release.Checksum.Algorithm)
	require.Len(t, release.Sboms, 1)
	assert.Equal(t, "binary", release.Sboms[0].Artifacts)
	require.Len(t, release.Signs, 1)
	assert.Equal(t, "checksum", release.Signs[0].Artifacts)
}

// TestPortalHasEveryComponent: HashiCorp's portal has a page of each component that the
// plugin registers, and of no other.
func TestPortalHasEveryComponent(t *testing.T) {
	var portal struct {
		Integration struct {
			Name        string   `hcl:"name"`
			Description string   `hcl:"description"`
			Identifier  string   `hcl:"identifier"`
			Flags       []string `hcl:"flags"`
			Docs        struct {
				Process bool   `hcl:"process_docs"`
				Readme  string `hcl:"readme_location"`
				URL     string `hcl:"external_url"`
			} `hcl:"docs,block"`
			License struct {
				Type string `hcl:"type"`
				URL  string `hcl:"url"`
			} `hcl:"license,block"`
			Components []struct {
				Type string `hcl:"type"`
				Name string `hcl:"name"`
				Slug string `hcl:"slug"`
			} `hcl:"component,block"`
		} `hcl:"integration,block"`
	}
	data, err := os.ReadFile(".web-docs/metadata.hcl")
	require.NoError(t, err)
	require.NoError(t, hclsimple.Decode("metadata.hcl", data, nil, &portal))
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	var registered, shown []string
	for _, m := range regexp.MustCompile(`set\.Register(\w+)\("(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		kind := map[string]string{"Provisioner": "provisioner", "Builder": "builder", "PostProcessor": "post-processor"}[m[1]]
		registered = append(registered, kind+"/"+m[2])
	}
	for _, c := range portal.Integration.Components {
		shown = append(shown, c.Type+"/"+c.Slug)
		assert.FileExists(t, filepath.Join(".web-docs/components", c.Type, c.Slug, "README.md"))
	}
	require.NotEmpty(t, registered)
	assert.ElementsMatch(t, registered, shown)
	assert.Equal(t, "packer/k3s-cis/k3s", portal.Integration.Identifier)
	assert.FileExists(t, filepath.Join(".web-docs", portal.Integration.Docs.Readme))
}

// TestHowToReport: who finds something knows where it goes.
func TestHowToReport(t *testing.T) {
	for file, says := range map[string]string{
		"SECURITY.md":                      "Please report privately",
		"CODEOWNERS":                       "* @",
		".github/PULL_REQUEST_TEMPLATE.md": "a test that fails without this change",
		"LICENSE":                          "Mozilla Public License",
	} {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Contains(t, string(data), says, file)
	}
	forms, err := filepath.Glob(".github/ISSUE_TEMPLATE/*.yml")
	require.NoError(t, err)
	for _, file := range forms {
		if filepath.Base(file) == "config.yml" {
			continue
		}
		var form struct {
			Name, Description string
			Body              []struct {
				Type, ID   string
				Attributes struct{ Label, Value string }
			}
		}
		parse(t, file, &form)
		assert.NotEmpty(t, form.Name, file)
		assert.NotEmpty(t, form.Description, file)
		for _, field := range form.Body {
			assert.NotEmpty(t, field.Attributes.Label+field.Attributes.Value, "%s: %s", file, field.ID)
		}
	}
	assert.GreaterOrEqual(t, len(forms), 4, "a fault, a wrong verdict, a wish, and where secrets go")
}

// TestReleaseIsOfItsTag: a tag that is not the version of the sources, or of which the
// changelog says nothing, is not released.
func TestReleaseIsOfItsTag(t *testing.T) {
	script, err := filepath.Abs("tools/release")
	require.NoError(t, err)
	for name, c := range map[string]struct{ tag, version, changelog, refused string }{
		"fits":            {"v0.2.0", "0.2.0", "## [0.2.0] - 2027-01-01", ""},
		"another version": {"v0.2.0", "0.1.0", "## [0.2.0] - 2027-01-01", "the tag is v0.2.0, but version/version.go says 0.1.0"},
		"no changes":      {"v0.2.0", "0.2.0", "## [Unreleased]", "CHANGELOG.md has no lines of 0.2.0"},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{
			"version/version.go": "package version\n\nvar (\n\tVersion = \"" + c.version + "\"\n\tVersionPrerelease = \"dev\"\n)\n",
			"CHANGELOG.md":       c.changelog + "\n",
			"tools/build":        "#!/bin/sh\ncommand -v true\n", // in place of goreleaser and what it calls
		} {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o700))
		}
		cmd := exec.Command("sh", "-ec", `
			cp "$1" tools/release
			git init --quiet
			git add .
			git -c user.name=test -c user.email=test@example.com commit --quiet --message test
			git tag "$2"
			tools/release`, "sh", script, c.tag)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		assert.Equal(t, c.refused == "", err == nil, "%s: %s", name, out)
		assert.Contains(t, string(out), c.refused, name)
	}
}
