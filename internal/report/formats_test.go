package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/defenseunicorns/go-oscal/src/pkg/validation"
	"github.com/jstemmer/go-junit-report/v2/junit"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// nasty would break out of a careless writer of any format.
const nasty = "]]></testcase>\"'`|<script>alert(1)</script>\n\x00\x1b[31m\u202e\xff{{.}} --> ${x} [a](javascript:alert(1)) &amp; \\ \uffff"

// hostile is a report whose every text is nasty, in every status.
func hostile() Report {
	var results []benchmark.Result
	for i, s := range benchmark.Statuses {
		n := string(rune('a' + i))
		results = append(results, benchmark.Result{
			ID: nasty + n, Key: string(rune('0'+i)) + nasty, Title: nasty, Status: s, Section: nasty, Found: nasty,
			Expected: nasty, Reason: nasty, Remediation: nasty,
			Evidence: []benchmark.Evidence{{Source: "/" + nasty, Line: 3, Detail: nasty}, {Source: nasty, Line: -1}},
			Waiver: &benchmark.Waiver{
				Control: nasty, Reason: nasty, Owner: nasty, Role: nasty, Build: nasty,
				Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
			},
		})
	}
	for i := range results {
		if results[i].Status == benchmark.Manual {
			results[i].Attestation = &benchmark.Attestation{Control: nasty, Statement: nasty, By: nasty}
		}
	}
	m := fixtureMeta()
	m.PluginVersion, m.K3sVersion, m.BenchmarkName = nasty, nasty, nasty
	m.Node = Node{nasty, "sqlite", nasty, nasty, nasty, []string{nasty}, nasty, nasty, nasty, nasty, nasty}
	m.Judge.Options = map[string]string{nasty: nasty}
	m.Warnings = []string{nasty}
	m.Drift = &DriftRecord{Subject: []string{nasty}, Changes: []DriftChange{{Kind: "worse", ID: nasty, Key: nasty, Title: nasty}}}
	return New(m, results)
}

// reports are what every format must render into something valid.
func reports() map[string]Report {
	m := fixtureMeta()
	m.Node, m.Judge, m.Drift, m.BenchmarkName = Node{}, Judge{}, nil, ""
	m.Role = "agent"
	return map[string]Report{"fixture": fixture(), "hostile": hostile(), "empty": New(m, nil)}
}

func TestFormatsMatchGolden(t *testing.T) {
	for _, f := range formats() {
		t.Run(f.name, func(t *testing.T) {
			data, err := f.render(newView(fixture()))
			require.NoError(t, err)
			golden(t, f.name, data)
		})
	}
}

func TestFormatsDifferOnlyInTime(t *testing.T) {
	later := fixture()
	later.Created = later.Created.Add(time.Hour)
	for _, f := range formats() {
		if f.name == "report.oscal.json" {
			continue // its UUIDs stand for the content, time included
		}
		a, err := f.render(newView(fixture()))
		require.NoError(t, err)
		b, err := f.render(newView(later))
		require.NoError(t, err)
		assert.Equal(t, string(a), strings.ReplaceAll(string(b), "09:30:00", "08:30:00"), f.name)
	}
}

// validators parse and check each format with something that did not write it.
func TestFormatsAreValid(t *testing.T) {
	validators := map[string]func(*testing.T, Report, []byte){
		"report.json":       func(t *testing.T, _ Report, data []byte) { _, err := LoadReport(data); require.NoError(t, err) },
		"report.junit.xml":  checkJUnit,
		"report.sarif":      checkSARIF,
		"report.oscal.json": checkOSCAL,
		"kube-bench.json":   checkKubeBench,
		"report.md":         checkMarkdown,
		"report.html":       checkHTML,
		"report.csv":        checkCSV,
		"report.xccdf.xml":  checkXCCDF,
	}
	for name, r := range reports() {
		for _, f := range formats() {
			t.Run(name+"/"+f.name, func(t *testing.T) {
				data, err := f.render(newView(r))
				require.NoError(t, err)
				require.Contains(t, validators, f.name)
				validators[f.name](t, r, data)
				assert.NotContains(t, string(data), "\x1b")
				assert.NotContains(t, string(data), "\u202e")
			})
		}
	}
}

func checkJUnit(t *testing.T, r Report, data []byte) {
	var doc junit.Testsuites
	require.NoError(t, xml.Unmarshal(data, &doc))
	assert.Equal(t, len(r.Results), doc.Tests)
	assert.Equal(t, r.Summary[benchmark.Fail], doc.Failures)
	assert.Equal(t, r.Summary[benchmark.Error], doc.Errors)
	assert.Equal(t, len(r.Results)-r.Summary[benchmark.Pass]-r.Summary[benchmark.Fail]-r.Summary[benchmark.Error], doc.Skipped)
	cases := 0
	for _, s := range doc.Suites {
		cases += len(s.Testcases)
		for _, c := range s.Testcases {
			assert.NotEmpty(t, c.Name)
			assert.NotEmpty(t, c.Classname)
			if c.Skipped != nil {
				assert.NotEmpty(t, c.Skipped.Message, c.Name)
			}
		}
	}
	assert.Equal(t, len(r.Results), cases)
}

func checkSARIF(t *testing.T, r Report, data []byte) {
	doc, err := sarif.FromBytes(data)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(), "the library carries the official schema of 2.1.0")
	assert.Equal(t, "2.1.0", doc.Version)
	require.Len(t, doc.Runs, 1)
	run := doc.Runs[0]
	assert.Equal(t, toolName, *run.Tool.Driver.Name)
	require.Len(t, run.Tool.Driver.Rules, len(r.Results))
	shown := r.with(benchmark.Fail, benchmark.Error, benchmark.Waived)
	require.Len(t, run.Results, len(shown))
	for i, res := range run.Results {
		assert.Equal(t, shown[i].Key, *res.RuleID)
		assert.Equal(t, *run.Tool.Driver.Rules[res.RuleIndex].ID, *res.RuleID)
		assert.Equal(t, "fail", res.Kind)
		assert.Equal(t, shown[i].Status == benchmark.Waived, len(res.Suppressions) == 1)
	}
	checkForCodeScanning(t, run)
	// What the library's types would hide: the raw document has both lists.
	var raw struct {
		Runs []struct {
			Results *[]any
			Tool    struct{ Driver struct{ Rules *[]any } }
		}
	}
	require.NoError(t, json.Unmarshal(data, &raw))
	assert.NotNil(t, raw.Runs[0].Results)
	assert.NotNil(t, raw.Runs[0].Tool.Driver.Rules)
}

// checkForCodeScanning holds run against what GitHub's code scanning asks of a
// file beyond SARIF (its documentation of SARIF support, and the rules GH1001,
// GH1003, GH1005 and GH1007 of Microsoft's validator): every location is a line
// of a file, relative to the root, every result has one, every rule says what
// it is and what to do, and nothing is longer than is shown.
func checkForCodeScanning(t *testing.T, run *sarif.Run) {
	assert.LessOrEqual(t, len(run.Results), 5000)
	for _, res := range run.Results {
		assert.NotEmpty(t, *res.Message.Text)
		assert.NotEmpty(t, res.PartialFingerprints)
		require.NotEmpty(t, res.Locations, *res.RuleID)
		assert.LessOrEqual(t, len(res.Locations), 10)
		for _, l := range res.Locations {
			require.NotNil(t, l.PhysicalLocation, *res.RuleID)
			uri, err := url.Parse(*l.PhysicalLocation.ArtifactLocation.URI)
			require.NoError(t, err)
			assert.NotEmpty(t, uri.Path)
			assert.False(t, uri.IsAbs() || strings.HasPrefix(uri.Path, "/"), uri)
			assert.Positive(t, *l.PhysicalLocation.Region.StartLine)
		}
	}
	for _, rule := range run.Tool.Driver.Rules {
		for what, length := range map[string]int{
			*rule.Name: 255, *rule.ShortDescription.Text: 1024, *rule.FullDescription.Text: 1024, *rule.Help.Text: 1 << 20,
		} {
			assert.NotEmpty(t, what, *rule.ID)
			assert.LessOrEqual(t, utf8.RuneCountInString(what), length)
		}
		assert.LessOrEqual(t, len(rule.Properties.Tags), 20)
	}
}

func TestToken(t *testing.T) {
	for in, want := range map[string]string{
		"apiserver.audit-log-path": "apiserver.audit-log-path",
		"9lives":                   "_9lives",
		"-a":                       "_-a",
		"a b/c:d":                  "a_b_c_d",
		"Größe_1":                  "Größe_1",
		"":                         "_",
	} {
		assert.Equal(t, want, token(in))
	}
}

func checkOSCAL(t *testing.T, r Report, data []byte) {
	v, err := validation.NewValidatorDesiredVersion(data, oscalVersion)
	require.NoError(t, err)
	require.NoError(t, v.Validate())
	result, err := v.GetValidationResult()
	require.NoError(t, err)
	require.True(t, result.Valid, "%v", result.Errors)
	var doc struct {
		AR struct {
			Results []struct {
				Observations, Risks []struct{ UUID string }
				Findings            []struct {
					UUID   string
					Target struct{ Status struct{ State string } }
				}
			}
		} `json:"assessment-results"`
	}
	require.NoError(t, json.Unmarshal(data, &doc))
	ar := doc.AR.Results[0]
	assert.Len(t, ar.Observations, len(r.Results))
	states := map[string]int{}
	for _, f := range ar.Findings {
		states[f.Target.Status.State]++
	}
	assert.Equal(t, r.Summary[benchmark.Pass], states["satisfied"])
	bad := r.Summary[benchmark.Fail] + r.Summary[benchmark.Error] + r.Summary[benchmark.Waived]
	assert.Equal(t, bad, states["not-satisfied"])
	assert.Len(t, ar.Risks, bad)
	seen := map[string]bool{}
	for _, o := range ar.Observations {
		assert.False(t, seen[o.UUID], "UUIDs are unique")
		seen[o.UUID] = true
	}
}

// TestOSCALOfWaiversThatStay: people write a far day where they mean no end.
func TestOSCALOfWaiversThatStay(t *testing.T) {
	for year, deadlines := range map[int]int{2998: 1, 2999: 0, 9999: 0} {
		results := fixtureResults()
		for _, res := range results {
			if res.Waiver != nil {
				res.Waiver.Expires = time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC)
			}
		}
		r := New(fixtureMeta(), results)
		data, err := renderOSCAL(newView(r))
		require.NoError(t, err)
		checkOSCAL(t, r, data)
		assert.Equal(t, deadlines, strings.Count(string(data), `"deadline": "2999-01-01T00:00:00Z"`), year)
		assert.Contains(t, string(data), `"value": "`+fmt.Sprint(year)+`-12-31"`)
	}
}

func checkKubeBench(t *testing.T, r Report, data []byte) {
	var doc kbReport
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&doc))
	states := map[string]int{}
	for _, c := range doc.Controls {
		sum := kbTotals{}
		for _, g := range c.Tests {
			assert.Len(t, g.Results, g.Pass+g.Fail+g.Warn+g.Info)
			sum.Pass, sum.Fail, sum.Warn, sum.Info = sum.Pass+g.Pass, sum.Fail+g.Fail, sum.Warn+g.Warn, sum.Info+g.Info
			for _, check := range g.Results {
				states[check.Status]++
				if check.Status == "WARN" || check.Status == "INFO" {
					assert.NotEmpty(t, check.Reason, check.TestNumber)
				}
			}
		}
		assert.Equal(t, sum, c.kbTotals)
	}
	assert.Equal(t, kbTotals{states["PASS"], states["FAIL"], states["WARN"], states["INFO"]}, doc.Totals)
	assert.Equal(t, r.Summary[benchmark.Pass], doc.Totals.Pass)
	assert.Equal(t, len(r.Failed()), doc.Totals.Fail)
	assert.Equal(t, r.Summary[benchmark.NotApplicable], doc.Totals.Info)
}

// TestKubeBenchShape holds the fields and their order against those that
// kube-bench --json prints (package check: OverallControls, Controls, Group,
// Check, Summary).
func TestKubeBenchShape(t *testing.T) {
	data, err := renderKubeBench(newView(fixture()))
	require.NoError(t, err)
	assert.Equal(t, []string{"Controls", "Totals"}, fields(t, data))
	var doc struct {
		Controls []json.RawMessage
		Totals   json.RawMessage
	}
	require.NoError(t, json.Unmarshal(data, &doc))
	assert.Equal(t, []string{"total_pass", "total_fail", "total_warn", "total_info"}, fields(t, doc.Totals))
	assert.Equal(t, []string{
		"id", "version", "detected_version", "text", "node_type", "tests",
		"total_pass", "total_fail", "total_warn", "total_info",
	}, fields(t, doc.Controls[0]))
	var chapter struct{ Tests []json.RawMessage }
	require.NoError(t, json.Unmarshal(doc.Controls[0], &chapter))
	assert.Equal(t, []string{"section", "type", "pass", "fail", "warn", "info", "desc", "results"}, fields(t, chapter.Tests[0]))
	var group struct{ Results []json.RawMessage }
	require.NoError(t, json.Unmarshal(chapter.Tests[0], &group))
	assert.Equal(t, []string{
		"test_number", "test_desc", "audit", "AuditEnv", "AuditConfig", "type", "remediation", "test_info",
		"status", "actual_value", "scored", "IsMultiple", "expected_result", "reason",
	}, fields(t, group.Results[0]))
}

// fields lists the names in a JSON object, in their order.
func fields(t *testing.T, data []byte) []string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	_, err := d.Token()
	require.NoError(t, err)
	var names []string
	for d.More() {
		name, err := d.Token()
		require.NoError(t, err)
		require.IsType(t, "", name)
		names = append(names, fmt.Sprint(name))
		var value json.RawMessage
		require.NoError(t, d.Decode(&value))
	}
	return names
}

func checkMarkdown(t *testing.T, r Report, data []byte) {
	s := string(data)
	assert.NotContains(t, s, "<script")
	assert.NotRegexp(t, `(^|[^\\])\]\(`, s, "no link that the report did not write")
	columns := 0
	for _, l := range strings.Split(s, "\n") {
		if !strings.HasPrefix(l, "|") {
			columns = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(l, `\|`, ""), "|")
		if columns == 0 {
			columns = n
		}
		assert.Equal(t, columns, n, l)
	}
	for _, res := range r.Results {
		assert.Contains(t, s, md(heading(res)))
	}
}

func checkCSV(t *testing.T, r Report, data []byte) {
	records, err := csv.NewReader(bytes.NewReader(data)).ReadAll() // each as wide as the first
	require.NoError(t, err)
	require.Len(t, records, 1+len(r.Results))
	for i, res := range r.Results {
		assert.Equal(t, Cell(res.Key), records[i+1][1])
		assert.Equal(t, string(res.Status), records[i+1][5])
		for _, cell := range records[i+1] {
			assert.NotRegexp(t, "^[=+@-]", cell, "a program may take it for a formula")
		}
	}
}

// xccdfSchema is where Debian's openscap-common has XCCDF's schema.
const xccdfSchema = "/usr/share/openscap/schemas/xccdf/1.2/xccdf_1.2.xsd"

func checkXCCDF(t *testing.T, r Report, data []byte) {
	var doc xccdfBenchmark
	require.NoError(t, xml.Unmarshal(data, &doc))
	rules, results := map[string]bool{}, map[string]bool{}
	for _, g := range doc.Groups {
		assert.Regexp(t, `^xccdf_[a-z0-9.-]+_group_.`, g.ID)
		for _, rule := range g.Rules {
			assert.Regexp(t, `^xccdf_[a-z0-9.-]+_rule_.`, rule.ID)
			assert.False(t, rules[rule.ID], "one rule a control: %s", rule.ID)
			rules[rule.ID] = true
		}
	}
	assert.Len(t, rules, len(r.Results))
	assert.NotContains(t, string(data), "SV-", "no id of a STIG")
	if len(r.Results) == 0 {
		assert.Nil(t, doc.TestResult)
	} else {
		counts := map[string]int{}
		for _, res := range doc.TestResult.Results {
			assert.True(t, rules[res.Rule])
			results[res.Rule] = true
			counts[res.Result]++
		}
		assert.Len(t, results, len(r.Results))
		assert.Equal(t, r.Summary[benchmark.Pass], counts["pass"], "nothing passes but what is proven")
		assert.Equal(t, r.Summary[benchmark.Fail]+r.Summary[benchmark.Waived], counts["fail"])
		assert.Equal(t, strconv.Itoa(counts["pass"]), doc.TestResult.Score.Points)
	}
}

// TestXCCDFIsValid holds the reports against the schema itself.
func TestXCCDFIsValid(t *testing.T) {
	xmllint, err := exec.LookPath("xmllint")
	if _, missing := os.Stat(xccdfSchema); err != nil || missing != nil {
		t.Skip("needs libxml2-utils and openscap-common, which make test installs")
	}
	for name, r := range reports() {
		data, err := renderXCCDF(newView(r))
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "report.xccdf.xml")
		require.NoError(t, os.WriteFile(file, data, 0o600))
		out, err := exec.CommandContext(t.Context(), xmllint, "--nonet", "--noout", "--schema", xccdfSchema, file).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
}

// TestXCCDFOrder holds the order of elements against the one in XCCDF 1.2's schema,
// for hosts that do not have it.
func TestXCCDFOrder(t *testing.T) {
	data, err := renderXCCDF(newView(fixture()))
	require.NoError(t, err)
	children := map[string][]string{}
	var path []string
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		token, err := d.Token()
		if err != nil {
			break
		}
		switch e := token.(type) {
		case xml.StartElement:
			if n := len(path); n > 0 && !slices.Contains(children[path[n-1]], e.Name.Local) {
				children[path[n-1]] = append(children[path[n-1]], e.Name.Local)
			}
			path = append(path, e.Name.Local)
		case xml.EndElement:
			path = path[:len(path)-1]
		}
	}
	assert.Equal(t, map[string][]string{
		"Benchmark":    {"status", "title", "description", "version", "Group", "TestResult"},
		"Group":        {"title", "Rule"},
		"Rule":         {"title", "description", "ident", "fixtext"},
		"TestResult":   {"benchmark", "title", "target", "target-facts", "rule-result", "score"},
		"target-facts": {"fact"},
		"rule-result":  {"result", "ident", "message"},
	}, children)
}

// TestAttestedInEveryFormat: a person's word is in each, and is no pass.
func TestAttestedInEveryFormat(t *testing.T) {
	for _, f := range formats() {
		r := fixture()
		for i := range r.Results {
			if a := r.Results[i].Attestation; a != nil {
				r.Results[i].Reason = a.String() + "; " + r.Results[i].Reason
			}
		}
		data, err := f.render(newView(r))
		require.NoError(t, err)
		assert.Contains(t, string(data), "ttested by a person", f.name)
		assert.Contains(t, string(data), "Jo Smith", f.name)
		assert.Contains(t, string(data), "2027-05-01", f.name)
	}
	assert.Equal(t, 1, fixture().Summary[benchmark.Manual])
	assert.Contains(t, fixture().Log(), "attested by a person: 1 of 1 manual")
}

func checkHTML(t *testing.T, r Report, data []byte) {
	s := string(data)
	assert.Equal(t, 1, strings.Count(s, "<script"), "only the page's own script")
	assert.Equal(t, len(r.Results), strings.Count(s, `<details`))
	assert.NotContains(t, s, "ZgotmplZ", "nothing in a place where html/template refuses it")
	assert.NotContains(t, s, "javascript:alert(1)\"")
	for _, outside := range []string{"http://", "https://", "src=", "url(", "@import"} {
		if r.PluginVersion == fixtureMeta().PluginVersion {
			assert.NotContains(t, s, outside, "the page needs no network")
		}
	}
}
