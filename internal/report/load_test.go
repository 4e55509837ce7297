package report

import (
	"crypto/sha256"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/docs"
	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// edited is the fixture's report.json after edit.
func edited(t *testing.T, edit func(map[string]any)) []byte {
	t.Helper()
	data, err := renderJSON(newView(fixture()))
	require.NoError(t, err)
	var doc map[string]any
	require.NoError(t, json.Unmarshal(data, &doc))
	edit(doc)
	data, err = json.Marshal(doc)
	require.NoError(t, err)
	return data
}

// at is the object at a path of names and indices in a decoded document.
func at(v any, path ...any) map[string]any {
	for _, p := range path {
		switch p := p.(type) {
		case int:
			list, _ := v.([]any)
			v = list[p]
		case string:
			object, _ := v.(map[string]any)
			v = object[p]
		}
	}
	object, _ := v.(map[string]any)
	return object
}

// result is the i-th result of a decoded report.
func result(doc map[string]any, i int) map[string]any { return at(doc, "results", i) }

// loadEveryWay is LoadReport, which a Loader that has read reports before agrees with.
func loadEveryWay(t *testing.T, data []byte) (Report, error) {
	t.Helper()
	want, wantErr := LoadReport(data)
	var l Loader
	_, err := l.Load(edited(t, func(map[string]any) {}))
	require.NoError(t, err)
	for range 2 {
		got, err := l.Load(data)
		assert.Equal(t, wantErr, err)
		assert.Equal(t, want, got)
	}
	return want, wantErr
}

func TestLoadReportRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		edit       func(map[string]any)
	}{
		{"an unknown field", "/: additional properties 'verdict' not allowed", func(d map[string]any) { d["verdict"] = "fine" }},
		{"a missing field", "/: missing property 'role'", func(d map[string]any) { delete(d, "role") }},
		{"an unknown role", "/role: value must be one of 'server', 'agent'", func(d map[string]any) { d["role"] = "boss" }},
		{"a time that is none", "/created: 'yesterday' is not valid date-time", func(d map[string]any) { d["created"] = "yesterday" }},
		{"a time that cannot be", "/created", func(d map[string]any) { d["created"] = "2026-13-01T00:00:00Z" }},
		{"a benchmark without a release", "/benchmark: 'cis' does not match pattern", func(d map[string]any) { d["benchmark"] = "cis" }},
		{"an unknown status", "/results/3/status: value must be one of 'fail', 'error',", func(d map[string]any) { result(d, 3)["status"] = "passed" }},
		{"a pass without evidence", "/results/4/evidence: minItems: got 0, want 1", func(d map[string]any) { result(d, 4)["evidence"] = []any{} }},
		{"no reason for what was not judged", "/results/7: missing property 'reason'", func(d map[string]any) { delete(result(d, 7), "reason") }},
		{"a waived one without waiver", "/results/2: missing property 'waiver'", func(d map[string]any) { delete(result(d, 2), "waiver") }},
		{"a line before the first", "/results/3/evidence/0/line: minimum: got 0, want 1", func(d map[string]any) {
			at(d, "results", 3, "evidence", 0)["line"] = 0
		}},
		{"another letter case", "/: additional properties 'Role' not allowed", func(d map[string]any) { d["Role"] = "agent" }},
		{"null for a list", "/results: got null, want array", func(d map[string]any) { d["results"] = nil }},
		{"a number with a fraction", "/summary/pass: got number, want integer", func(d map[string]any) {
			at(d, "summary")["pass"] = 5.5
		}},
		{"a summary that does not count", "/summary: says", func(d map[string]any) { at(d, "summary")["pass"] = 9 }},
		{"one control twice", `/results/1/key: "files.etcd-datadir.mode" is also the key of /results/0`, func(d map[string]any) {
			result(d, 1)["key"] = result(d, 0)["key"]
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := loadEveryWay(t, edited(t, c.edit))
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "not a report.json")
		})
	}
	_, err := loadEveryWay(t, edited(t, func(map[string]any) {}))
	require.NoError(t, err, "without an edit it is accepted")
}

// TestLoadReportTakesNoNumberAndTimeThatCannotBeDecoded, though the schema does.
func TestLoadReportTakesNoNumberAndTimeThatCannotBeDecoded(t *testing.T) {
	for member, values := range map[string][]any{
		"line":    {json.Number("7.0"), json.Number("1e2"), json.Number("99999999999999999999")},
		"expires": {"2027-03-31t00:00:00z", "2027-06-30T23:59:60Z"},
	} {
		for _, value := range values {
			_, err := loadEveryWay(t, edited(t, func(d map[string]any) {
				place := at(d, "results", 2, "waiver")
				if member == "line" {
					place = at(d, "results", 2, "evidence", 0)
				}
				require.Contains(t, place, member)
				place[member] = value
			}))
			assert.ErrorContains(t, err, "not a report.json", "%v", value)
		}
	}
}

func TestLoadReportMakesTextsPrintable(t *testing.T) {
	r, err := loadEveryWay(t, edited(t, func(d map[string]any) { result(d, 0)["title"] = "\x1b[2J" }))
	require.NoError(t, err)
	assert.Equal(t, `\x1b[2J`, r.Results[0].Title)
}

func TestLoadReportNamesEveryFault(t *testing.T) {
	_, err := loadEveryWay(t, edited(t, func(d map[string]any) {
		d["role"] = "boss"
		result(d, 0)["status"] = "ok"
	}))
	require.ErrorContains(t, err, "/role")
	require.ErrorContains(t, err, "/results/0/status")
}

func TestLoadReportRefusesWhatIsNoJSON(t *testing.T) {
	for _, data := range []string{"", "null", "[]", "{}", "{", `{"a":1} {"b":2}`, "\x00", strings.Repeat("[", 100000)} {
		_, err := loadEveryWay(t, []byte(data))
		require.ErrorContains(t, err, "not a report.json", "%.20q", data)
	}
}

func TestLoadReportNamesTheLineOfWhatIsNoJSON(t *testing.T) {
	_, err := loadEveryWay(t, []byte("{\n  \"role\": server\n}"))
	require.ErrorContains(t, err, "not a report.json: line 2: invalid character 's'")
	_, err = loadEveryWay(t, []byte("{}\n{}"))
	require.ErrorContains(t, err, "more follows")
}

func TestLoadReportReadsWhatItChecked(t *testing.T) {
	data := string(edited(t, func(map[string]any) {}))
	twice := strings.Replace(data, `"node":{`, `"node":{"datastore":"paper"},"node":{`, 1)
	require.NotEqual(t, data, twice)
	twice = strings.Replace(twice, `,"datastore":"sqlite"`, "", 1)
	r, err := loadEveryWay(t, []byte(twice))
	require.NoError(t, err)
	assert.Empty(t, r.Node.Datastore, "the first of two values of a name was not checked and does not count")
}

// TestSchemaDescribesEverything keeps the schema a document, not only a check.
func TestSchemaDescribesEverything(t *testing.T) {
	var schema struct {
		Schema     string `json:"$schema"`
		Properties map[string]map[string]any
		Defs       map[string]struct {
			Properties map[string]map[string]any
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(docs.ReportSchema, &schema))
	assert.Equal(t, "https://json-schema.org/draft/2020-12/schema", schema.Schema)
	described := func(name string, p map[string]any) {
		ref, _ := p["$ref"].(string)
		local := strings.HasPrefix(ref, "#/$defs/") && ref != "#/$defs/name"
		assert.True(t, p["description"] != nil || local, "%s has no description", name)
	}
	for name, p := range schema.Properties {
		described(name, p)
	}
	for def, d := range schema.Defs {
		for name, p := range d.Properties {
			described(def+"."+name, p)
		}
	}
}

func FuzzLoadReport(f *testing.F) {
	golden, err := os.ReadFile("testdata/report.json")
	require.NoError(f, err)
	f.Add(golden)
	f.Add([]byte(`{"plugin_version":"1"}`))
	f.Add([]byte(`[`))
	schema, err := reportSchema()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := loadEveryWay(t, data)
		if err != nil {
			return
		}
		doc, err := decode(data)
		require.NoError(t, err)
		require.NoError(t, schema.Validate(doc), "what is accepted is what the schema describes")
		// What is accepted can be written and read again, and says the same.
		again, err := renderJSON(newView(r))
		require.NoError(t, err)
		back, err := loadEveryWay(t, again)
		require.NoError(t, err)
		require.Equal(t, r, back)
		for _, format := range formats() {
			_, err := format.render(newView(r))
			require.NoError(t, err)
		}
	})
}

// TestLoaderForgets: it does not keep results without bound.
func TestLoaderForgets(t *testing.T) {
	var l Loader
	_, err := l.Load(edited(t, func(map[string]any) {}))
	require.NoError(t, err)
	for i := range maxKnown {
		l.known[[sha256.Size]byte{byte(i), byte(i >> 8)}] = benchmark.Result{}
	}
	_, err = l.Load(edited(t, func(d map[string]any) { result(d, 0)["title"] = "another" }))
	require.NoError(t, err)
	assert.Less(t, len(l.known), maxKnown)
}
