package cis_test

import (
	"fmt"
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func TestDump(t *testing.T) {
	in := hardened(t, "v1.36.3+k3s1", k3s.Server, "cis-2.1").input(t, "cis-2.1")
	for _, p := range in.Effective.Problems {
		fmt.Println("PROBLEM", p)
	}
	count := map[cis.Status]int{}
	for _, r := range cis.Evaluate(in) {
		count[r.Status]++
		fmt.Printf("%-8s %-40s %-14s %s | %s | %s\n", r.ID, r.Key, r.Status, r.Found, r.Reason, fmt.Sprint(r.Evidence))
	}
	fmt.Println(count)
}
