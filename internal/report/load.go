package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/k3s-cis/packer-plugin-k3s/docs"
)

// schemaURL names the schema in errors.
const schemaURL = "report.schema.json"

// LoadReport reads a report.json. It accepts what docs/report.schema.json
// describes and nothing else, and moreover refuses a summary that does not
// count the results and two results of one control. Like New it makes every
// text printable. The error names every
// fault with its place, such as /results/3/status.
func LoadReport(data []byte) (Report, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return Report{}, fmt.Errorf("not a report.json: %w", err)
	}
	schema, err := compileSchema()
	if err != nil {
		return Report{}, err
	}
	if err := schema.Validate(doc); err != nil {
		return Report{}, fmt.Errorf("not a report.json: %w", faults(err))
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return Report{}, fmt.Errorf("not a report.json: %w", err)
	}
	if err := r.consistent(); err != nil {
		return Report{}, err
	}
	// The file may have passed through other hands since New cleaned it.
	return New(Meta{
		PluginVersion: r.PluginVersion, Created: r.Created, K3sVersion: r.K3sVersion,
		Role: r.Role, Benchmark: r.Benchmark, Node: r.Node,
	}, r.Results), nil
}

// compileSchema compiles the schema that comes with the plugin.
func compileSchema() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(docs.ReportSchema))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", schemaURL, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(schemaURL, doc); err != nil {
		return nil, fmt.Errorf("read %s: %w", schemaURL, err)
	}
	return c.Compile(schemaURL)
}

// faults turns a validation error into one error a fault, each with its place
// in the document.
func faults(err error) error {
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	printer := message.NewPrinter(language.English)
	var errs []error
	var walk func(*jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if len(e.Causes) == 0 {
			errs = append(errs, fmt.Errorf("/%s: %s", strings.Join(e.InstanceLocation, "/"), e.ErrorKind.LocalizedString(printer)))
		}
		for _, c := range e.Causes {
			walk(c)
		}
	}
	walk(invalid)
	return errors.Join(errs...)
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
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("not a report.json: %w", err)
	}
	return nil
}
