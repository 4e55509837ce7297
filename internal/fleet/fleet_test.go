package fleet

import (
	"bytes"
	"encoding/csv"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

// small is a report of three controls.
func small(build string, audit benchmark.Status, encryption string) report.Report {
	evidence := []benchmark.Evidence{{Source: "/etc/rancher/k3s/config.yaml", Detail: "x"}}
	results := []benchmark.Result{
		{
			ID: "1.2.9", Key: "apiserver.admission.eventratelimit", Title: "EventRateLimit admission on", Status: benchmark.Waived, Section: "1.2", Evidence: evidence,
			Waiver: &benchmark.Waiver{Control: "1.2.9", Reason: "Limits are set at the ingress.", Owner: "platform@example.com", Expires: today.AddDate(0, 0, 20)},
		},
		{ID: "1.2.16", Key: "apiserver.audit-log-path", Title: "Audit log path set", Status: audit, Section: "1.2", Reason: "it depends", Evidence: evidence},
		{ID: "node.unit.mode", Key: "node.unit.mode", Title: "=Unit", Status: benchmark.Pass, Section: "node", Evidence: evidence},
	}
	return report.New(report.Meta{
		PluginVersion: "0.1.0", Created: today, K3sVersion: "v1.36.3+k3s1", Role: "server", Benchmark: "cis-2.1",
		Node: report.Node{Build: build, Access: "ssh", Datastore: "sqlite"}, Cluster: map[string]string{"secrets-encryption": encryption},
	}, results)
}

// run runs the command and returns its exit code and all that it said.
func run(t *testing.T, arguments ...string) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	code = Main(arguments, today, "0.1.0", &out, &out)
	return code, out.String()
}

func TestFleet(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "a/report.json"), small("qemu.node", benchmark.Pass, "true"))
	write(t, filepath.Join(dir, "b/report.json"), small("qemu.node", benchmark.Pass, "true"))
	write(t, filepath.Join(dir, "c/deep/report.json"), small("qemu.node", benchmark.Fail, "false"))
	write(t, filepath.Join(dir, "d/other.json"), small("k3s-image.edge", benchmark.Pass, "true"))

	code, said := run(t, "--out", out, filepath.Join(dir, "[abc]"), filepath.Join(dir, "d/*.json"))
	assert.Equal(t, exitViolated, code, said)
	assert.Contains(t, said, "images: 4, of which 1 fail; kinds: 2; controls: 3; verdicts: 7 proven, 1 failed, 0 could not be judged, 4 waived")
	assert.Contains(t, said, "1 image has a control that failed")

	f, err := Earlier(filepath.Join(out, "fleet.json"))
	require.NoError(t, err)
	require.Len(t, f.Kinds, 2)
	k := f.Kinds[1]
	assert.Equal(t, "qemu.node, server", k.Name)
	assert.Equal(t, []Difference{{"apiserver.audit-log-path", []Value{
		{"pass", 2, filepath.Join(dir, "a/report.json")}, {"fail", 1, filepath.Join(dir, "c/deep/report.json")},
	}}}, k.Differences)
	assert.Equal(t, "secrets-encryption", f.Mismatches[0].Name)
	assert.Equal(t, 3, f.Mismatches[0].Values[0].Images)
	assert.Equal(t, []Waiver{{
		"apiserver.admission.eventratelimit", "1.2.9", "EventRateLimit admission on", "platform@example.com", "Limits are set at the ingress.",
		"2026-12-16", 20, 4,
	}}, f.Waivers)
	assert.Equal(t, "wpp", f.Images[0].Verdicts)

	table, err := os.ReadFile(filepath.Join(out, "fleet.csv"))
	require.NoError(t, err)
	records, err := csv.NewReader(bytes.NewReader(table)).ReadAll()
	require.NoError(t, err)
	assert.Len(t, records, 5)
	assert.Equal(t, "1.2.16 apiserver.audit-log-path", records[0][len(records[0])-2])
	assert.Equal(t, "fail", records[4][len(records[4])-2])
	page, err := os.ReadFile(filepath.Join(out, "fleet.md"))
	require.NoError(t, err)
	assert.Contains(t, string(page), `| secrets-encryption | true: 3, false: 1 (`)
	assert.Contains(t, string(page), "| within 30 days | 2026-12-16 |")
}

func TestPolicy(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "a/report.json"), small("qemu.node", benchmark.Pass, "true"))
	write(t, filepath.Join(dir, "b/report.json"), small("qemu.node", benchmark.Manual, "false"))
	_, said := run(t, "--out", out, dir)
	assert.NotContains(t, said, "violated")
	before := filepath.Join(out, "before.json")
	require.NoError(t, os.Rename(filepath.Join(out, "fleet.json"), before))
	for _, c := range []struct {
		policy string
		code   int
		said   string
	}{
		{"fail", exitFine, ""},
		{"none", exitFine, ""},
		{"waivers", exitFine, ""},
		{"waivers=20", exitFine, ""},
		{"waivers=21", exitViolated, "1 waiver ended or end within 21 days"},
		{"fail,cluster", exitViolated, "1 value that all servers must share differs"},
		{"difference", exitViolated, "1 kind has images that differ in a verdict"},
		{"worse", exitError, "worse needs --since"},
		{"waivers=x", exitError, "write how many days"},
		{"everything", exitError, `"everything" is none of`},
		{"fail=3", exitError, `"fail=3" is none of`},
	} {
		code, said := run(t, "--out", out, "--fail-on", c.policy, dir)
		assert.Equal(t, c.code, code, "%s: %s", c.policy, said)
		assert.Contains(t, said, c.said, c.policy)
	}

	// A waiver that is over, and a control that fails on more images than before.
	write(t, filepath.Join(dir, "b/report.json"), small("qemu.node", benchmark.Error, "false"))
	var b bytes.Buffer
	code := Main([]string{"--out", out, "--since", before, "--fail-on", "worse,waivers", dir}, today.AddDate(0, 0, 40), "0.1.0", &b, &b)
	assert.Equal(t, exitViolated, code)
	assert.Contains(t, b.String(), "1 waiver ended; 1 control fails on more images than before")
	f, err := Earlier(filepath.Join(out, "fleet.json"))
	require.NoError(t, err)
	assert.Equal(t, []Shift{{"qemu.node, server", "apiserver.audit-log-path", 0, 2, 1, 2}}, f.Trend.Worse)
	assert.Empty(t, f.Trend.Better)
}

// TestNoReport: a file that is no report is named and violates every policy.
func TestNoReport(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "a/report.json"), small("qemu.node", benchmark.Pass, "true"))
	write(t, filepath.Join(dir, "b/report.json"), map[string]string{"a": "b"})
	code, said := run(t, "--out", out, "--fail-on", "none", dir)
	assert.Equal(t, exitViolated, code)
	assert.Contains(t, said, filepath.Join(dir, "b/report.json")+": not a report.json")
	assert.Contains(t, said, "1 file is no report")

	for argument, want := range map[string]string{
		filepath.Join(dir, "*.html"): "is no file, no folder and no pattern",
		t.TempDir():                  "has no report.json in it",
	} {
		code, said := run(t, "--out", out, argument)
		assert.Equal(t, exitError, code)
		assert.Contains(t, said, want)
	}
	code, said = run(t)
	assert.Equal(t, exitError, code)
	assert.Contains(t, said, "Usage: packer-plugin-k3s fleet")
	require.NoError(t, os.WriteFile(filepath.Join(out, "old.json"), []byte(`{"controls": [{}], "images": [{"verdicts": "pp"}]}`), 0o600))
	code, said = run(t, "--out", out, "--since", filepath.Join(out, "old.json"), dir)
	assert.Equal(t, exitError, code)
	assert.Contains(t, said, "is no fleet.json")
}

// TestEveryLetter: each verdict has a letter of its own, and back.
func TestEveryLetter(t *testing.T) {
	seen := map[byte]bool{}
	for _, s := range benchmark.Statuses {
		l, known := letters[s]
		require.True(t, known, s)
		assert.False(t, seen[l], s)
		seen[l] = true
		assert.Equal(t, s, statusOf(l))
		assert.Contains(t, worst, s)
	}
	assert.Empty(t, statusOf(absent))
}

// TestFleetIsValid holds fleet.json against its schema.
func TestFleetIsValid(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	madeUp(t, dir, 12, 3)
	write(t, filepath.Join(dir, "no/report.json"), "")
	_, said := run(t, "--out", out, dir)
	before := filepath.Join(out, "before.json")
	require.NoError(t, os.Rename(filepath.Join(out, "fleet.json"), before), said)
	run(t, "--out", out, "--since", before, dir)
	schema, err := jsonschema.NewCompiler().Compile("../../docs/fleet.schema.json")
	require.NoError(t, err)
	for _, file := range []string{"fleet.json", "before.json"} {
		data, err := os.Open(filepath.Join(out, file))
		require.NoError(t, err)
		defer data.Close()
		doc, err := jsonschema.UnmarshalJSON(data)
		require.NoError(t, err)
		require.NoError(t, schema.Validate(doc), file)
	}
}

// TestPageIsNotBrokenByHostileText: texts of reports may be hostile.
func TestPageIsNotBrokenByHostileText(t *testing.T) {
	const nasty = "</script><script>alert(1)</script>\"'`|<b>&\n=1+1"
	dir, out := t.TempDir(), t.TempDir()
	r := small(nasty, benchmark.Fail, nasty)
	r.K3sVersion, r.Node.OS, r.Results[1].Title = nasty, nasty, nasty
	write(t, filepath.Join(dir, "report.json"), r)
	write(t, filepath.Join(dir, "b/report.json"), small(nasty, benchmark.Pass, "x"))
	_, said := run(t, "--out", out, dir)
	data, err := os.ReadFile(filepath.Join(out, "fleet.html"))
	require.NoError(t, err, said)
	page := string(data)
	assert.Equal(t, 2, strings.Count(page, "<script"), "the data and the page's own script")
	assert.NotContains(t, page, "<b>")
	assert.NotContains(t, page, "ZgotmplZ")
	for _, outside := range []string{"http://", "https://", "src=", "url(", "@import"} {
		assert.NotContains(t, page, outside, "the page needs no network")
	}
	text, err := os.ReadFile(filepath.Join(out, "fleet.md"))
	require.NoError(t, err)
	assert.NotContains(t, string(text), "<script")
}

// TestDocumentationNamesEveryOption holds docs/fleet.md against what the command
// says of itself, and the reverse.
func TestDocumentationNamesEveryOption(t *testing.T) {
	page, err := os.ReadFile("../../docs/fleet.md")
	require.NoError(t, err)
	_, said := run(t, "--help")
	options := regexp.MustCompile(`(?m)^  -([a-z-]+)`).FindAllStringSubmatch(said, -1)
	require.NotEmpty(t, options)
	for _, o := range options {
		assert.Contains(t, string(page), "| `--"+o[1]+" ")
	}
	assert.Len(t, options, strings.Count(string(page), "| `--"))
	for _, word := range []string{"fail", "waivers", "cluster", "difference", "worse", "none"} {
		_, err := parsePolicy(word)
		require.NoError(t, err)
		assert.Contains(t, string(page), "| `"+word+"` |")
	}
}
