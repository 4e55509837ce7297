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
	// BenchmarkName is its full name with its version.
	BenchmarkName string `json:"benchmark_name,omitempty"`
	// Warnings are what to know before any result is read.
	Warnings []string `json:"warnings,omitempty"`
	// Node names what was judged: the Packer build and how it was reached.
	Node Node `json:"node"`
	// Cluster are the values of K3s's keys that all servers of a cluster must share;
	// none on an agent.
	Cluster map[string]string `json:"cluster,omitempty"`
	// Judge names by what it was judged.
	Judge Judge `json:"judge,omitzero"`
	// Drift is what changed since an earlier report; nil where none was given.
	Drift *DriftRecord `json:"drift,omitempty"`
	// Installed is what of K3s itself this build put into the image; nil for nothing.
	Installed *Installed `json:"installed,omitempty"`
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
	// What follows is empty where it is not known.

	// Image is the machine's or the image's name.
	Image string `json:"image,omitempty"`
	// OS is the operating system as its os-release names it.
	OS string `json:"os,omitempty"`
	// Kernels are the releases of the kernels that the image may boot.
	Kernels []string `json:"kernels,omitempty"`
	// Architecture is K3s's name of it, such as arm64.
	Architecture string `json:"architecture,omitempty"`
	// Base is what the image was made of, and BaseDigest its digest.
	Base       string `json:"base,omitempty"`
	BaseDigest string `json:"base_digest,omitempty"`
	// Commit is the git commit of the directory that Packer ran in; it ends in
	// -dirty where files that git knows were changed since.
	Commit string `json:"commit,omitempty"`
	// Run is Packer's UUID of its run.
	Run string `json:"run,omitempty"`
}

// Judge names by what a node was judged, beside the plugin's version.
type Judge struct {
	// PluginDigest is the SHA-256 of the plugin's binary, in hexadecimal.
	PluginDigest string `json:"plugin_digest,omitempty"`
	// CatalogueDigest is benchmark.Digest of that plugin.
	CatalogueDigest string `json:"catalogue_digest,omitempty"`
	// Options are the options as they were given, such as audit.max_age, without
	// secrets.
	Options map[string]string `json:"options,omitempty"`
}

// Meta is what a report says besides the results; see Report for the fields.
type Meta struct {
	PluginVersion string
	Created       time.Time
	K3sVersion    string
	Role          string
	Benchmark     string
	BenchmarkName string
	Warnings      []string
	Node          Node
	Cluster       map[string]string
	Judge         Judge
	Drift         *DriftRecord
	Installed     *Installed
}

// Installed is what of K3s itself was put into an image.
type Installed struct {
	// Binary is K3s's, of a release and for an architecture as Go names it.
	Binary       InstalledFile `json:"binary"`
	Release      string        `json:"release"`
	Architecture string        `json:"architecture"`
	// Archives hold container images.
	Archives []InstalledArchive `json:"archives,omitempty"`
	// SELinuxPolicy is a module of the policy, which the node loads when it boots; nil
	// for none.
	SELinuxPolicy *InstalledFile `json:"selinuxPolicy,omitempty"`
}

// InstalledFile is a file of the image that came from the build host.
type InstalledFile struct {
	Path string `json:"path"`
	// SHA256 is its digest in lower-case hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// InstalledArchive is an archive of container images.
type InstalledArchive struct {
	InstalledFile
	// Images are those in it, by their whole names.
	Images []string `json:"images,omitempty"`
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
		BenchmarkName: line(m.BenchmarkName),
		Warnings:      lines(m.Warnings),
		Node:          m.Node.clean(),
		Cluster:       texts(m.Cluster),
		Judge:         m.Judge.clean(),
		Drift:         m.Drift.clean(),
		Installed:     cleanInstalled(m.Installed),
		Results:       make([]benchmark.Result, 0, len(results)),
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
