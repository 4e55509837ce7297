package report

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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

func TestLoadReportRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		edit       func(map[string]any)
	}{
		{"an unknown field", `/: "verdict" is not known here`, func(d map[string]any) { d["verdict"] = "fine" }},
		{"a missing field", `/: "role" is missing`, func(d map[string]any) { delete(d, "role") }},
		{"an unknown role", `/role: found "boss", want one of server, agent`, func(d map[string]any) { d["role"] = "boss" }},
		{"a time that is none", `/created: found "yesterday", want a time in UTC`, func(d map[string]any) { d["created"] = "yesterday" }},
		{"a time that cannot be", "/created", func(d map[string]any) { d["created"] = "2026-13-01T00:00:00Z" }},
		{"a benchmark without a release", `/benchmark: found "cis", want a CIS release such as cis-2.1`, func(d map[string]any) { d["benchmark"] = "cis" }},
		{"an unknown status", `/results/3/status: found "passed", want one of fail, error,`, func(d map[string]any) { result(d, 3)["status"] = "passed" }},
		{"a pass without evidence", "/results/4/evidence: found an empty list, want evidence of the status pass", func(d map[string]any) { result(d, 4)["evidence"] = []any{} }},
		{"no reason for what was not judged", `/results/7: "reason" is missing, which the status manual asks for`, func(d map[string]any) { delete(result(d, 7), "reason") }},
		{"a waived one without waiver", `/results/2: "waiver" is missing, which the status waived asks for`, func(d map[string]any) { delete(result(d, 2), "waiver") }},
		{"a line before the first", "/results/3/evidence/0/line: found 0, want a whole number from 1", func(d map[string]any) {
			at(d, "results", 3, "evidence", 0)["line"] = 0
		}},
		{"another letter case", `/: "Role" is not known here`, func(d map[string]any) { d["Role"] = "agent" }},
		{"null for a list", "/results: found null, want a list", func(d map[string]any) { d["results"] = nil }},
		{"a number with a fraction", "/summary/pass: found 5.5, want a whole number from 0", func(d map[string]any) {
			at(d, "summary")["pass"] = 5.5
		}},
		{"a summary that does not count", "/summary: says", func(d map[string]any) { at(d, "summary")["pass"] = 9 }},
		{"one control twice", `/results/1/key: "files.etcd-datadir.mode" is also the key of /results/0`, func(d map[string]any) {
			result(d, 1)["key"] = result(d, 0)["key"]
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := LoadReport(edited(t, c.edit))
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "not a report.json")
		})
	}
	_, err := LoadReport(edited(t, func(map[string]any) {}))
	require.NoError(t, err, "without an edit it is accepted")
}

func TestLoadReportMakesTextsPrintable(t *testing.T) {
	r, err := LoadReport(edited(t, func(d map[string]any) { result(d, 0)["title"] = "\x1b[2J" }))
	require.NoError(t, err)
	assert.Equal(t, `\x1b[2J`, r.Results[0].Title)
}

func TestLoadReportNamesEveryFault(t *testing.T) {
	_, err := LoadReport(edited(t, func(d map[string]any) {
		d["role"] = "boss"
		result(d, 0)["status"] = "ok"
	}))
	require.ErrorContains(t, err, "/role")
	require.ErrorContains(t, err, "/results/0/status")
}

func TestLoadReportRefusesWhatIsNoJSON(t *testing.T) {
	for _, data := range []string{"", "null", "[]", "{}", "{", `{"a":1} {"b":2}`, "\x00", strings.Repeat("[", 100000)} {
		_, err := LoadReport([]byte(data))
		require.ErrorContains(t, err, "not a report.json", "%.20q", data)
	}
}

func TestLoadReportNamesTheLineOfWhatIsNoJSON(t *testing.T) {
	_, err := LoadReport([]byte("{\n  \"role\": server\n}"))
	require.ErrorContains(t, err, "not a report.json: line 2: invalid character 's'")
	_, err = LoadReport([]byte("{}\n{}"))
	require.ErrorContains(t, err, "more follows")
}

func TestLoadReportReadsWhatItChecked(t *testing.T) {
	data := string(edited(t, func(map[string]any) {}))
	twice := strings.Replace(data, `"node":{`, `"node":{"datastore":"paper"},"node":{`, 1)
	require.NotEqual(t, data, twice)
	twice = strings.Replace(twice, `,"datastore":"sqlite"`, "", 1)
	r, err := LoadReport([]byte(twice))
	require.NoError(t, err)
	assert.Empty(t, r.Node.Datastore, "the first of two values of a name was not checked and does not count")
}

// TestSchemaDescribesEverything keeps the schema a document, not only a check.
func TestSchemaDescribesEverything(t *testing.T) {
	data, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	var schema struct {
		Schema     string `json:"$schema"`
		Properties map[string]map[string]any
		Defs       map[string]struct {
			Properties map[string]map[string]any
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(data, &schema))
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
	schema := compileSchema(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := LoadReport(data)
		if err != nil {
			return
		}
		doc, err := decode(data)
		require.NoError(t, err)
		require.NoError(t, schema.Validate(doc), "what is accepted is what the schema describes")
		// What is accepted can be written and read again, and says the same.
		again, err := renderJSON(newView(r))
		require.NoError(t, err)
		back, err := LoadReport(again)
		require.NoError(t, err)
		require.Equal(t, r, back)
		for _, format := range formats() {
			_, err := format.render(newView(r))
			require.NoError(t, err)
		}
	})
}
