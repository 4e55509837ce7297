// Package report writes results for people and for programs. One file a
// format; it knows of nothing but results.
package report

import (
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
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
	Summary map[cis.Status]int `json:"summary"`
	Results []cis.Result       `json:"results"`
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
