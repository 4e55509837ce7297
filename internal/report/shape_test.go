package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// schemaFile is the schema of report.json.
var schemaFile = filepath.Join("..", "..", "docs", "report.schema.json")

// compileSchema makes a validator of docs/report.schema.json.
func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile(schemaFile)
	require.NoError(t, err)
	return schema
}

// schemaFaults are the places where doc is not what schema describes.
func schemaFaults(t testing.TB, schema *jsonschema.Schema, doc any) map[string]bool {
	t.Helper()
	places := map[string]bool{}
	err := schema.Validate(doc)
	if err == nil {
		return places
	}
	var invalid *jsonschema.ValidationError
	require.ErrorAs(t, err, &invalid)
	var walk func(*jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if len(e.Causes) == 0 {
			places["/"+strings.Join(e.InstanceLocation, "/")] = true
		}
		for _, c := range e.Causes {
			walk(c)
		}
	}
	walk(invalid)
	return places
}

// shapeFaults are the places where doc is not what shape accepts.
func shapeFaults(shape check, doc any) map[string]bool {
	var wrong faults
	shape(&wrong, "", doc)
	places := map[string]bool{}
	for _, err := range wrong {
		place, _, _ := strings.Cut(err.Error(), ": ")
		places[place] = true
	}
	return places
}

// values replace, one after the other, every value of a report.
var values = []any{
	nil, true, json.Number("-1"), json.Number("0"), json.Number("1"), json.Number("1.5"),
	"", "x", "pass", "manual", "waived", "server", "etcd", "cis-2", "cis-2.1\n", "cis-2.1",
	"2026-11-23", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T9:30:00Z",
	"2026-11-23T09:30:00", "2026-11-23T09:30:00Z", "2026-11-23T09:30:00,5Z", "2026-11-23T09:30:00.5Z", "2026-11-23T09:30:00+01:00",
	"2026-11-23T09:30:00+24:00", "2026-11-23T09:30:00-01:60", "2026-11-23T09:30:00+1:00", "2026-11-23T09:60:00Z", "2026-11-23 09:30:00Z",
	[]any{},
	[]any{nil},
	[]any{map[string]any{}},
	map[string]any{},
	map[string]any{"x": "x"},
}

// eachChange calls yield with doc changed in one place, for every place: each
// value replaced by each of values, each name left out, and names added to each
// object.
func eachChange(doc any, yield func(what string, doc any)) {
	var walk func(at string, v any, set func(any))
	walk = func(at string, v any, set func(any)) {
		for _, other := range values {
			set(other)
			yield(fmt.Sprintf("%s is %#v", at, other), doc)
		}
		set(v)
		switch v := v.(type) {
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s/%d", at, i), e, func(n any) { v[i] = n })
			}
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				old := v[name]
				walk(at+"/"+name, old, func(n any) { v[name] = n })
				delete(v, name)
				yield(at+"/"+name+" is missing", doc)
				v[name] = old
			}
			for _, name := range []string{"", "Status", "x"} {
				v[name] = "x"
				yield(fmt.Sprintf("%s/%s is added", at, name), doc)
				delete(v, name)
			}
		}
	}
	walk("", doc, func(n any) { doc = n })
}

// decoded is r as its report.json decodes.
func decoded(t *testing.T, r Report) any {
	t.Helper()
	data, err := renderJSON(newView(r))
	require.NoError(t, err)
	doc, err := decode(data)
	require.NoError(t, err)
	return doc
}

func TestShapeIsWhatTheSchemaDescribes(t *testing.T) {
	var results []benchmark.Result
	seen := map[benchmark.Status]bool{}
	for _, res := range fixtureResults() {
		if !seen[res.Status] {
			results = append(results, res)
		}
		seen[res.Status] = true
	}
	require.Len(t, seen, len(benchmark.Statuses))
	schema, shape := compileSchema(t), reportShape()
	doc := decoded(t, New(fixtureMeta(), results))
	require.Empty(t, schemaFaults(t, schema, doc))
	require.Empty(t, shapeFaults(shape, doc))
	changes, refused := 0, 0
	eachChange(doc, func(what string, doc any) {
		want, got := schemaFaults(t, schema, doc), shapeFaults(shape, doc)
		if strings.HasSuffix(what, "/status is missing") {
			// The schema then asks for what any status would.
			require.Subset(t, want, got, what)
			want = got
		}
		require.Equal(t, want, got, what)
		changes++
		if len(got) > 0 {
			refused++
		}
	})
	t.Logf("%d changes, of which %d are refused", changes, refused)
	assert.Greater(t, refused, changes/2)
	assert.Less(t, refused, changes)
}

func TestShapeTakesNoNumberAndTimeThatCannotBeDecoded(t *testing.T) {
	schema, shape := compileSchema(t), reportShape()
	for _, c := range []struct {
		at    string
		value any
	}{
		{"line", json.Number("7.0")},
		{"line", json.Number("1e2")},
		{"line", json.Number("99999999999999999999")},
		{"expires", "2027-03-31t00:00:00z"},
		{"expires", "2027-06-30T23:59:60Z"},
	} {
		doc := decoded(t, fixture())
		place := at(doc, "results", 2, "waiver")
		if c.at == "line" {
			place = at(doc, "results", 2, "evidence", 0)
		}
		require.Contains(t, place, c.at)
		place[c.at] = c.value
		assert.Empty(t, schemaFaults(t, schema, doc), "%v", c.value)
		assert.Len(t, shapeFaults(shape, doc), 1, "%v", c.value)
	}
}
