package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/k3s-cis/packer-plugin-k3s/docs"
)

// LoadReport reads a report.json. It accepts what docs/report.schema.json
// describes and nothing else, and moreover refuses whole numbers with a fraction
// or exponent, times in small letters or with a leap second, a summary that does
// not count the results and two results of one control. Like New it makes every
// text printable. The error names every fault with its place, such as
// /results/3/status.
func LoadReport(data []byte) (Report, error) {
	r, err := load(data)
	if err != nil {
		return Report{}, fmt.Errorf("not a report.json: %w", err)
	}
	return r.cleaned(), nil
}

// cleaned is a report whose texts may be printed: its file may have passed through
// other hands since New cleaned it.
func (r Report) cleaned() Report {
	return New(Meta{
		PluginVersion: r.PluginVersion, Created: r.Created, K3sVersion: r.K3sVersion,
		Role: r.Role, Benchmark: r.Benchmark, BenchmarkName: r.BenchmarkName, Warnings: r.Warnings, Node: r.Node,
		Cluster: r.Cluster, Judge: r.Judge, Drift: r.Drift, Installed: r.Installed,
	}, r.Results)
}

func load(data []byte) (Report, error) {
	var r Report
	if err := check(reportSchema, data, &r); err != nil {
		return r, err
	}
	return r, r.consistent()
}

// check decodes JSON that a schema allows.
func check(schema func() (*jsonschema.Schema, error), data []byte, into any) error {
	doc, err := decode(data)
	if err != nil {
		return err
	}
	allowed, err := schema()
	if err != nil {
		return err
	}
	if err := allowed.Validate(doc); err != nil {
		return faults(err)
	}
	// Not from data: of a name that stands there twice only the last value was
	// checked, and the decoder would mix the two.
	checked, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return json.Unmarshal(checked, into)
}

// Validators of report.json and of one of its results, made once: they are good for
// any number of reports at the same time.
var (
	reportSchema = sync.OnceValues(func() (*jsonschema.Schema, error) { return compileSchema("") })
	resultSchema = sync.OnceValues(func() (*jsonschema.Schema, error) { return compileSchema("#/$defs/result") })
)

// compileSchema makes a validator of a part of report.json.
func compileSchema(part string) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(docs.ReportSchema))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(schemaName, doc); err != nil {
		return nil, err
	}
	return c.Compile(schemaName + part)
}

// schemaName is what the schema is called while it is compiled.
const schemaName = "report.schema.json"

// faults names each fault that the schema finds, with its place.
func faults(err error) error {
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	if len(invalid.Causes) == 0 {
		place := "/" + strings.Join(invalid.InstanceLocation, "/")
		return fmt.Errorf("%s: %s", place, invalid.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
	}
	var errs []error
	for _, cause := range invalid.Causes {
		errs = append(errs, faults(cause))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) }) // else it is any order
	return errors.Join(errs...)
}

// decode returns the one JSON value in data, its numbers as they are written.
func decode(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(data[:syntax.Offset], []byte("\n")), err)
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("more follows after byte %d, where the report ends", d.InputOffset())
	}
	return doc, nil
}

// consistent returns what a schema cannot say is wrong with r.
func (r Report) consistent() error {
	var errs []error
	if want := count(r.Results); !maps.Equal(r.Summary, want) {
		errs = append(errs, fmt.Errorf("/summary: says %v, but the results count %v", r.Summary, want))
	}
	seen := map[string]int{}
	for i, res := range r.Results {
		if first, ok := seen[res.Key]; ok {
			errs = append(errs, fmt.Errorf("/results/%d/key: %q is also the key of /results/%d", i, res.Key, first))
			continue
		}
		seen[res.Key] = i
	}
	return errors.Join(errs...)
}
