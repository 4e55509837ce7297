// Package report writes results for people and for programs. One file a
// format; it knows of nothing but results.
package report

import (
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// Report is everything that a report says. Field order is the order in
// report.json; docs/report.schema.json is its schema.
type Report struct {
	PluginVersion string `json:"plugin_version"`
	// Created is when the node was judged.
	Created    time.Time `json:"created"`
	K3sVersion string    `json:"k3s_version"`
	Role       string    `json:"role"`
	// Benchmark is the CIS release, such as cis-2.1.
	Benchmark string `json:"benchmark"`
	// Node names what was judged: the Packer build and how it was reached.
	Node Node `json:"node"`
	// Summary counts results by status; every status is present.
	Summary map[benchmark.Status]int `json:"summary"`
	Results []benchmark.Result       `json:"results"`
}

// Node names what was judged.
type Node struct {
	// Build is Packer's name of the build, such as qemu.node.
	Build string `json:"build"`
	// Datastore is sqlite, etcd or external; empty on an agent.
	Datastore string `json:"datastore,omitempty"`
	// Access says how the evidence was collected: "ssh", "root directory", ….
	Access string `json:"access"`
}

// Meta is what a report says besides the results; see Report for the fields.
type Meta struct {
	PluginVersion string
	Created       time.Time
	K3sVersion    string
	Role          string
	Benchmark     string
	Node          Node
}

// New makes the report of results, in their order. Created is kept to the
// second, in UTC, so that no format depends on the clock's precision or zone.
//
// The texts of results come from the node, which may be hostile: New makes
// them printable UTF-8 of bounded length (see safetext), so that no format can be
// broken out of by a control character and no terminal be driven by one.
func New(m Meta, results []benchmark.Result) Report {
	r := Report{
		PluginVersion: line(m.PluginVersion),
		Created:       m.Created.UTC().Truncate(time.Second),
		K3sVersion:    line(m.K3sVersion),
		Role:          line(m.Role),
		Benchmark:     line(m.Benchmark),
		Node: Node{
			Build:     line(m.Node.Build),
			Datastore: line(m.Node.Datastore),
			Access:    line(m.Node.Access),
		},
		Results: make([]benchmark.Result, 0, len(results)),
	}
	for _, res := range results {
		r.Results = append(r.Results, cleanResult(res))
	}
	r.Summary = count(r.Results)
	return r
}

// Roles is a report's role in words.
func Roles(role string) string {
	if role == string(k3s.Both) {
		return "server and agent"
	}
	return role
}

// Failed returns the results that fail a build: fail and error, in order.
func (r Report) Failed() []benchmark.Result {
	return r.with(benchmark.Fail, benchmark.Error)
}

// with returns the results that have one of the statuses, in order.
func (r Report) with(statuses ...benchmark.Status) []benchmark.Result {
	var out []benchmark.Result
	for _, res := range r.Results {
		for _, s := range statuses {
			if res.Status == s {
				out = append(out, res)
			}
		}
	}
	return out
}

// count counts results by status; every status is present.
func count(results []benchmark.Result) map[benchmark.Status]int {
	n := make(map[benchmark.Status]int, len(benchmark.Statuses))
	for _, s := range benchmark.Statuses {
		n[s] = 0
	}
	for _, res := range results {
		n[res.Status]++
	}
	return n
}
