package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
)

// LoadReport reads a report.json. It accepts what docs/report.schema.json
// describes and nothing else, and moreover refuses numbers with a fraction or
// exponent, times in small letters or with a leap second, a summary that does
// not count the results and two results of one control. Like New it makes every
// text printable. The error names every fault with its place, such as
// /results/3/status.
func LoadReport(data []byte) (Report, error) {
	doc, err := decode(data)
	if err != nil {
		return Report{}, fmt.Errorf("not a report.json: %w", err)
	}
	var wrong faults
	reportShape()(&wrong, "", doc)
	if err := wrong.err(); err != nil {
		return Report{}, fmt.Errorf("not a report.json: %w", err)
	}
	// Not from data: of a name that stands there twice only the last value was
	// checked, and the decoder would mix the two.
	checked, err := json.Marshal(doc)
	if err != nil {
		return Report{}, err
	}
	var r Report
	if err := json.Unmarshal(checked, &r); err != nil {
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
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("not a report.json: %w", err)
	}
	return nil
}
