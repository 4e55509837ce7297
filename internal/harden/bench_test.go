package harden

import (
	"fmt"
	"testing"
)

// BenchmarkMake plans for a bare node, with the guide's namespaces and with
// hundreds of the user's.
func BenchmarkMake(b *testing.B) {
	for _, namespaces := range []int{0, 100, 1000} {
		b.Run(fmt.Sprint(namespaces), func(b *testing.B) {
			o := newest(b)
			for i := range namespaces {
				o.NetworkPolicies.Namespaces = append(o.NetworkPolicies.Namespaces, fmt.Sprintf("team-%d", i))
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Make(o, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
