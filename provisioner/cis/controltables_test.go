package cis

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

var update = flag.Bool("update", false, "write docs/controls anew")

// bakedBy says who sees to a control that holds in an image.
func bakedBy(c benchmark.Control, name string) string {
	if strings.HasPrefix(c.Key, "node.hygiene.") {
		return "looked for, and not there"
	}
	text := map[benchmark.Phase]string{
		benchmark.PhaseDefault:  "K3s's default, which nothing in the image overrides",
		benchmark.PhaseBake:     "baked",
		benchmark.PhaseManifest: "baked as a manifest, which K3s applies at its first start",
	}[c.Phase(name)]
	text = cmp.Or(text, "holds in the image")
	if c.Option != "" {
		text += "; option `" + c.Option + "`"
	}
	return text
}

// row is a control in the table: number, level and title; then what is seen to where.
func row(c benchmark.Control, r benchmark.Result, name string) string {
	var image, first, yours string
	text := func(s string) string {
		return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;", "{data}", "`{data}`").Replace(s)
	}
	switch r.Status {
	case benchmark.Pass:
		image = bakedBy(c, name)
	case benchmark.Deferred:
		first = text(cmp.Or(r.Reason, r.Expected))
	case benchmark.Manual:
		yours = text(cmp.Or(r.Reason, r.Remediation))
	case benchmark.NotApplicable:
		image = "not applicable: " + text(r.Reason)
	}
	level := "unknown"
	if r.Level != 0 {
		level = fmt.Sprint(r.Level)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", r.ID, level, text(r.Title), image, first, yours)
}

// controlTable is the page of one benchmark, of what was said of a node that was hardened
// with the defaults.
func controlTable(t *testing.T, name string, r report.Report) string {
	t.Helper()
	results := map[string]benchmark.Result{}
	for _, res := range r.Results {
		results[res.Key] = res
	}
	var rows, own strings.Builder
	for _, c := range benchmark.Controls(name) {
		res, judged := results[c.Key]
		if !judged { // what only a rehearsed first start shows
			continue
		}
		to := &rows
		if c.ID(name) == "" {
			to = &own
		}
		to.WriteString(row(c, res, name))
	}
	const head = "| number | level | what holds | in the image | at first boot | yours |\n| --- | --- | --- | --- | --- | --- |\n"
	return fmt.Sprintf(`# %s: who sees to what

%s.

For a server with K3s %s that was hardened with the defaults: made from the catalogue and the verdicts on such
an image by `+"`make generate`"+`. With other options, or on a base that brings files of its own, the report of the build
is what counts.

- **in the image**: proven before there is an image, or not applicable to K3s.
- **at first boot**: exists only once K3s has run, and is what K3s will do. The block
  [`+"`rehearsal`"+`](../provisioners/cis.mdx#rehearsing-the-first-start) proves most of it before.
- **yours**: a person decides. Say what was decided in an [attestation](../provisioners/cis.mdx#attestations).

Of %d controls %d are proven in the image, %d deferred to first boot, %d yours and %d not applicable.

## CIS

%s
## Of the image, beside CIS

%s`, name, benchmark.FullName(name), r.K3sVersion, len(r.Results), r.Summary[benchmark.Pass], r.Summary[benchmark.Deferred],
		r.Summary[benchmark.Manual], r.Summary[benchmark.NotApplicable], head+rows.String(), head+strings.ReplaceAll(own.String(), "| unknown |", "| |"))
}

// newest is the newest release that a benchmark fits.
func newest(t *testing.T, name string) k3s.Release {
	t.Helper()
	for minor := k3s.NewestMinor; minor > 0; minor-- {
		release := k3s.Release{Major: 1, Minor: minor, Patch: 3, Build: 1}
		if _, err := benchmark.Select(release, name); err == nil {
			return release
		}
	}
	require.Fail(t, "no release", name)
	return k3s.Release{}
}

//go:generate go test -count=1 -run ^TestControlTables$ . -update

// TestControlTables: docs/controls says of every benchmark what the plugin sees to now.
func TestControlTables(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "controls")
	var index strings.Builder
	index.WriteString("# Controls\n\nWho sees to each control: the image, the first boot, or you. A page for each release of the benchmark.\n\n" +
		"| benchmark | controls | in the image | at first boot | yours | not applicable |\n| --- | --- | --- | --- | --- | --- |\n")
	files := map[string]string{}
	for _, name := range benchmark.Benchmarks() {
		x := try(t, newTree(t), map[string]any{"k3s_version": newest(t, name).String(), "benchmark": name}, nil)
		require.NoError(t, x.err, x.log)
		files[name+".md"] = controlTable(t, name, *x.report)
		s := x.report.Summary
		fmt.Fprintf(&index, "| [%s](%s.md) | %d | %d | %d | %d | %d |\n", name, name, len(x.report.Results), s[benchmark.Pass], s[benchmark.Deferred], s[benchmark.Manual], s[benchmark.NotApplicable])
	}
	files["README.md"] = index.String()
	for name, want := range files {
		path := filepath.Join(dir, name)
		if *update {
			require.NoError(t, os.MkdirAll(dir, 0o755))
			require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
			continue
		}
		have, err := os.ReadFile(path)
		require.NoError(t, err, "make generate")
		assert.Equal(t, want, string(have), "%s is not what the plugin does: make generate, and read the difference", name)
	}
}
