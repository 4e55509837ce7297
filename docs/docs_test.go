package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	// fenced is code, in which nothing is a link.
	fenced = regexp.MustCompile("(?ms)^```.*?^```")
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	head   = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	plain  = regexp.MustCompile(`[^a-z0-9 _-]`)
	// ours is what stands before a path in links to this repository.
	ours = "https://github.com/k3s-cis/packer-plugin-k3s/blob/main/"
)

// anchors are the fragments that a page's headings give.
func anchors(page string) map[string]bool {
	out := map[string]bool{"": true}
	for _, m := range head.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		out[strings.ReplaceAll(plain.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return out
}

// TestLinksResolve: every link from a page to a page or file of this repository, or
// to a heading, leads somewhere.
func TestLinksResolve(t *testing.T) {
	links := 0
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if ending := filepath.Ext(path); d.IsDir() || ending != ".md" && ending != ".mdx" {
			return nil
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(string(data), ""), -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			file := filepath.Join(filepath.Dir(path), filepath.FromSlash(target))
			switch {
			case strings.HasPrefix(target, ours):
				file = filepath.Join("..", filepath.FromSlash(strings.TrimPrefix(target, ours)))
			case strings.Contains(target, "://"), strings.HasPrefix(target, "/"), strings.HasPrefix(target, "mailto:"):
				continue // others' pages, and the portal's
			case target == "":
				file = path
			}
			links++
			to, err := os.ReadFile(file)
			if info, statErr := os.Stat(file); statErr == nil && info.IsDir() {
				continue
			}
			if assert.NoError(t, err, "%s: %s", path, m[1]) && strings.HasPrefix(filepath.Ext(file), ".md") && !strings.Contains(path, "docs-partials") {
				assert.True(t, anchors(string(to))[fragment], "%s: %s: no such heading", path, m[1])
			}
		}
		return nil
	}))
	assert.Greater(t, links, 20)
}
