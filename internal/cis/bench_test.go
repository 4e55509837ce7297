package cis_test

import (
	"fmt"
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// BenchmarkEvaluate judges a hardened server by the newest benchmark.
func BenchmarkEvaluate(b *testing.B) {
	in := hardened(b, "v1.36.3+k3s1", k3s.Server, "cis-2.1").input(b, "cis-2.1")
	b.ReportAllocs()
	for b.Loop() {
		cis.Evaluate(in)
	}
}

// BenchmarkManifests shows that cost grows linearly with the manifests.
func BenchmarkManifests(b *testing.B) {
	for _, count := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			tr := hardened(b, "v1.36.3+k3s1", k3s.Server, "cis-2.1")
			for i := range count {
				tr.file(fmt.Sprintf("%sown-%d.yaml", manifests, i), 0o600, fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own-%d}\n", i))
			}
			in := tr.input(b, "cis-2.1")
			b.ReportAllocs()
			for b.Loop() {
				cis.Evaluate(in)
			}
		})
	}
}
