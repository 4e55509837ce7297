package cis_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/k3s-cis/packer-plugin-k3s/internal/cis"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

func TestMatrix(t *testing.T) {
	guide := map[string]string{}
	raw, _ := os.ReadFile("testdata/ids.tsv")
	for _, l := range strings.Split(string(raw), "\n")[1:] {
		f := strings.Split(l, "\t")
		if len(f) > 6 {
			guide["cis-"+f[0]+f[2]] = f[6] + " " + f[3]
		}
	}
	for _, c := range []struct{ rel, bench string }{{"v1.36.3+k3s1", "cis-2.1"}, {"v1.36.3+k3s1", "cis-2.0"}, {"v1.34.1+k3s1", "cis-1.12"}, {"v1.32.1+k3s1", "cis-1.11"}, {"v1.29.1+k3s1", "cis-1.10"}, {"v1.27.1+k3s1", "cis-1.9"}, {"v1.26.1+k3s1", "cis-1.8"}, {"v1.25.1+k3s1", "cis-1.7"}, {"v1.24.1+k3s1", "cis-1.24"}, {"v1.23.1+k3s1", "cis-1.23"}, {"v1.21.1+k3s1", "cis-1.6"}} {
		for _, role := range []k3s.Role{k3s.Server, k3s.Agent} {
			in := hardened(t, c.rel, role, c.bench).input(t, c.bench)
			for _, p := range in.Effective.Problems {
				fmt.Println("PROBLEM", p)
			}
			count := map[cis.Status]int{}
			for _, r := range cis.Evaluate(in) {
				count[r.Status]++
				g := guide[c.bench+r.Key]
				if r.Status == cis.Fail || r.Status == cis.Error || role == k3s.Server && strings.HasPrefix(g, "pass") && r.Status != cis.Pass && r.Status != cis.Deferred && r.Status != cis.NotApplicable {
					fmt.Printf("   %-8s %-40s %-14s guide %s| %s | %s \n", r.ID, r.Key, r.Status, g, r.Found, r.Reason)
				}
			}
			fmt.Println(c, role, count)
		}
	}
}
