package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// said are the texts that stand in the plugin's own code, its tests apart.
func said(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, room := range []string{"builder", "internal", "post-processor", "provisioner"} {
		require.NoError(t, filepath.WalkDir(filepath.Join("..", room), func(path string, _ fs.DirEntry, err error) error {
			require.NoError(t, err)
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "testing") {
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					text, err := strconv.Unquote(literal.Value)
					require.NoError(t, err)
					out = append(out, text)
				}
				return true
			})
			return nil
		}))
	}
	return out
}

var quoted = regexp.MustCompile("(?m)^### `(.+)`$")

// TestErrorsOfTroubleshootingExist: every error that the page explains is one that the
// code can say.
func TestErrorsOfTroubleshootingExist(t *testing.T) {
	page, err := os.ReadFile("troubleshooting.md")
	require.NoError(t, err)
	texts := said(t)
	headings := quoted.FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(headings), 30)
	for _, h := range headings {
		parts := strings.Split(h[1], "…")
		assert.True(t, slices.ContainsFunc(texts, func(text string) bool { return containsInOrder(text, parts) }), "no code says: %s", h[1])
	}
}

// containsInOrder says whether parts stand in text one behind another.
func containsInOrder(text string, parts []string) bool {
	for _, part := range parts {
		_, rest, ok := strings.Cut(text, part)
		if !ok {
			return false
		}
		text = rest
	}
	return true
}

// explained are the files whose errors the page has all of: what a build says once its
// options hold. Those that name an option and no more explain themselves.
var explained = []string{
	"provisioner/cis/release.go", "provisioner/cis/session.go", "provisioner/cis/rehearsing.go", "provisioner/cis/sealing.go",
	"builder/image/builder.go", "builder/image/step_*.go", "builder/image/communicator.go",
}

// TestTroubleshootingIsWhole: every error of these files that begins one is on the page.
func TestTroubleshootingIsWhole(t *testing.T) {
	page, err := os.ReadFile("troubleshooting.md")
	require.NoError(t, err)
	headings := quoted.FindAllStringSubmatch(string(page), -1)
	var checked int
	for _, pattern := range explained {
		files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(pattern)))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, path := range files {
			for _, text := range errorsOf(t, path) {
				checked++
				assert.True(t, slices.ContainsFunc(headings, func(h []string) bool {
					return containsInOrder(text, strings.Split(h[1], "…"))
				}), "%s: the page does not explain %q", path, text)
			}
		}
	}
	assert.Greater(t, checked, 20)
}

// errorsOf are the texts of a file's errors but for those that only say where another
// came from, or are a part of one.
func errorsOf(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		function, ok := call.Fun.(*ast.SelectorExpr)
		literal, isText := call.Args[0].(*ast.BasicLit)
		if !ok || !isText || function.Sel.Name != "Errorf" && function.Sel.Name != "New" {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		require.NoError(t, err)
		if !strings.Contains(text, "%w") && len(text) > 30 {
			out = append(out, text)
		}
		return true
	})
	return out
}
