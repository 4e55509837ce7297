package docs_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/builder/image"
	"github.com/k3s-cis/packer-plugin-k3s/post-processor/attest"
	"github.com/k3s-cis/packer-plugin-k3s/provisioner/cis"
)

// spec is what a block takes: options, and blocks with their own.
type spec = map[string]hcldec.Spec

// component is one of the plugin's, with the page that is its reference.
type component struct {
	name   string
	page   string // below docs
	portal string // the same page as the portal has it, below .web-docs/components
	spec   spec
}

var components = []component{
	{"k3s-cis", "provisioners/cis.mdx", "provisioner/cis", new(cis.FlatConfig).HCL2Spec()},
	{"k3s-image", "builders/image.mdx", "builder/image", new(image.FlatConfig).HCL2Spec()},
	{"k3s-attest", "post-processors/attest.mdx", "post-processor/attest", new(attest.FlatConfig).HCL2Spec()},
}

// options are what people may write, by its path: `audit.max_age`. What begins with
// packer_ Packer fills in by itself.
func options(s spec) []string {
	var out []string
	for name, item := range s {
		if strings.HasPrefix(name, "packer_") {
			continue
		}
		out = append(out, name)
		for _, inner := range options(inside(item)) {
			out = append(out, name+"."+inner)
		}
	}
	slices.Sort(out)
	return out
}

// inside is what a block takes; nothing for an option.
func inside(item hcldec.Spec) spec {
	var nested hcldec.Spec
	switch block := item.(type) {
	case *hcldec.BlockSpec:
		nested = block.Nested
	case *hcldec.BlockListSpec:
		nested = block.Nested
	}
	object, _ := nested.(hcldec.ObjectSpec)
	return spec(object)
}

// entry is an option in a list of the portal's pages: "- `name` (type) - …".
var entry = regexp.MustCompile("(?m)^- `([a-z0-9_]+)` \\(")

// TestEveryOptionIsDocumented: what a component takes is on its page, and what is on
// the page it takes.
func TestEveryOptionIsDocumented(t *testing.T) {
	for _, c := range components {
		t.Run(c.name, func(t *testing.T) {
			page, err := os.ReadFile(filepath.Join("..", ".web-docs", "components", filepath.FromSlash(c.portal), "README.md"))
			require.NoError(t, err)
			var taken, told []string
			for _, path := range options(c.spec) {
				taken = append(taken, path[strings.LastIndex(path, ".")+1:])
			}
			for _, m := range entry.FindAllStringSubmatch(string(page), -1) {
				told = append(told, m[1])
			}
			// As often as it is taken: `audit` is a block, and an option of another.
			slices.Sort(taken)
			slices.Sort(told)
			assert.Equal(t, taken, told)
		})
	}
}

// written is an option with a value in running text: `mode = "check"`.
var written = regexp.MustCompile("`([a-z0-9_]+) = [^`]+`")

// others are options that pages write and that are Packer's or another plugin's.
var others = []string{
	"docker_path", "exec_user", "privileged", // docker's
	"communicator", // builders of machines
}

// TestOptionsInTextExist: an option that a page writes with a value is one of ours,
// or known to be another's.
func TestOptionsInTextExist(t *testing.T) {
	known := slices.Clone(others)
	for _, c := range components {
		for _, path := range options(c.spec) {
			known = append(known, path[strings.LastIndex(path, ".")+1:])
		}
	}
	seen := map[string]bool{}
	for path, text := range pages(t) {
		for _, m := range written.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			seen[m[1]] = true
			assert.Contains(t, known, m[1], "%s: %s", path, m[0])
		}
	}
	assert.Subset(t, slices.Collect(maps.Keys(seen)), others, "others has what no page writes")
}

// pages are the texts of this repository by their paths below its top.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		name := d.Name()
		if d.IsDir() && (name == "testdata" || strings.HasPrefix(name, ".") && !slices.Contains([]string{"..", ".web-docs", ".github"}, name)) {
			return filepath.SkipDir
		}
		if ending := filepath.Ext(path); d.IsDir() || ending != ".md" && ending != ".mdx" {
			return nil
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		out[filepath.ToSlash(strings.TrimPrefix(path, ".."+string(filepath.Separator)))] = string(data)
		return nil
	}))
	require.Greater(t, len(out), 10)
	return out
}

// exampleTemplates are the paths of the examples' templates below example.
func exampleTemplates(t *testing.T) []string {
	t.Helper()
	var out []string
	root := filepath.Join("..", "example")
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		if strings.HasSuffix(path, ".pkr.hcl") {
			below, err := filepath.Rel(root, path)
			require.NoError(t, err)
			out = append(out, filepath.ToSlash(below))
		}
		return nil
	}))
	require.NotEmpty(t, out)
	return out
}

// TestEveryOptionHasAnExample: every option and block stands in a template of the
// examples, in the place where it is taken.
func TestEveryOptionHasAnExample(t *testing.T) {
	used := map[string]bool{}
	var walk func(path string, body *hclsyntax.Body)
	walk = func(path string, body *hclsyntax.Body) {
		for name := range body.Attributes {
			used[path+name] = true
		}
		for _, b := range body.Blocks {
			used[path+b.Type] = true
			walk(path+b.Type+".", b.Body)
		}
	}
	for _, path := range exampleTemplates(t) {
		text, err := os.ReadFile(filepath.Join("..", "example", filepath.FromSlash(path)))
		require.NoError(t, err)
		file, diagnostics := hclsyntax.ParseConfig(text, path, hcl.InitialPos)
		require.False(t, diagnostics.HasErrors(), diagnostics.Error())
		_ = hclsyntax.VisitAll(file.Body.(*hclsyntax.Body), func(node hclsyntax.Node) hcl.Diagnostics {
			b, ok := node.(*hclsyntax.Block)
			if ok && len(b.Labels) > 0 {
				// A source in a build is labelled source.k3s-image.NAME or k3s-image.NAME.
				name := strings.TrimPrefix(b.Labels[0], "source.")
				name, _, _ = strings.Cut(name, ".")
				walk(name+".", b.Body)
			}
			return nil
		})
	}
	for _, c := range components {
		for _, path := range options(c.spec) {
			assert.True(t, used[c.name+"."+path], "no example uses %s of %s", path, c.name)
		}
	}
}
