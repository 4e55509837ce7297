package report

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"sync"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// Loader reads many reports. Images of one kind have mostly the same results, letter
// for letter: each is held against the schema once. It is good for any number of
// reports at the same time; the zero value is ready.
type Loader struct {
	mu sync.Mutex
	// known are results that the schema allows, by the digest of their JSON.
	known map[[sha256.Size]byte]benchmark.Result
}

// maxKnown is how many results are remembered: some kinds of images with a benchmark
// each, in some ten megabytes.
const maxKnown = 1 << 14

// Load reads a report.json as LoadReport does.
func (l *Loader) Load(data []byte) (Report, error) {
	r, err := l.load(data)
	if err != nil { // says what is wrong with the report as a whole
		return LoadReport(data)
	}
	return r.cleaned(), nil
}

// load reads the results each by itself, and the report as one without results. Its
// errors do not say where in the report something is wrong.
func (l *Loader) load(data []byte) (Report, error) {
	var r Report
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return r, err
	}
	var results []json.RawMessage
	if err := json.Unmarshal(parts["results"], &results); err != nil {
		return r, err
	}
	if results == nil {
		return r, errors.New("no results")
	}
	parts["results"] = json.RawMessage("[]")
	rest, err := json.Marshal(parts)
	if err != nil {
		return r, err
	}
	if err := check(reportSchema, rest, &r); err != nil {
		return r, err
	}
	r.Results = make([]benchmark.Result, 0, len(results))
	for _, data := range results {
		res, err := l.result(data)
		if err != nil {
			return r, err
		}
		r.Results = append(r.Results, res)
	}
	return r, r.consistent()
}

// result reads one result.
func (l *Loader) result(data []byte) (benchmark.Result, error) {
	digest := sha256.Sum256(data)
	l.mu.Lock()
	res, known := l.known[digest]
	l.mu.Unlock()
	if known {
		return res, nil
	}
	if err := check(resultSchema, data, &res); err != nil {
		return res, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil || len(l.known) >= maxKnown {
		l.known = map[[sha256.Size]byte]benchmark.Result{}
	}
	l.known[digest] = res
	return res, nil
}
