package fleet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// policy is what makes a fleet fail.
type policy struct {
	fail, cluster, difference, worse, waivers bool
	// days is how many days a waiver must last at least.
	days int
}

// policyWords say what --fail-on takes.
const policyWords = "fail, waivers, waivers=DAYS, cluster, difference, worse or none"

// parsePolicy reads what --fail-on says.
func parsePolicy(text string) (policy, error) {
	var p policy
	for word := range strings.SplitSeq(text, ",") {
		name, days, has := strings.Cut(strings.TrimSpace(word), "=")
		flag, known := map[string]*bool{
			"fail": &p.fail, "cluster": &p.cluster, "difference": &p.difference, "worse": &p.worse, "waivers": &p.waivers, "none": new(bool),
		}[name]
		if !known || has && name != "waivers" {
			return p, fmt.Errorf("--fail-on: %q is none of %s", word, policyWords)
		}
		*flag = true
		if has {
			n, err := strconv.Atoi(days)
			if err != nil || n < 0 {
				return p, fmt.Errorf("--fail-on: waivers=%q: write how many days a waiver must last, such as waivers=30", days)
			}
			p.days = n
		}
	}
	return p, nil
}

// violations say in a line each what of the policy the fleet violates. A file that
// is no report violates every policy: nothing is known of its image.
func (p policy) violations(f *Fleet) []string {
	var out []string
	say := func(when bool, n int, one, many string) {
		if when && n > 0 {
			text := many
			if n == 1 {
				text = one
			}
			out = append(out, fmt.Sprintf("%d %s", n, text))
		}
	}
	say(true, len(f.Unreadable), "file is no report", "files are no reports")
	say(p.fail, f.failing(), "image has a control that failed or could not be judged", "images have controls that failed or could not be judged")
	ending := 0
	for _, w := range f.Waivers {
		if w.Days < p.days {
			ending++
		}
	}
	what := "ended"
	if p.days > 0 {
		what = fmt.Sprintf("ended or end within %d days", p.days)
	}
	say(p.waivers, ending, "waiver "+what, "waivers "+what)
	say(p.cluster, len(f.Mismatches), "value that all servers must share differs", "values that all servers must share differ")
	differing := slices.DeleteFunc(slices.Clone(f.Kinds), func(k Kind) bool { return len(k.Differences) == 0 })
	say(p.difference, len(differing), "kind has images that differ in a verdict", "kinds have images that differ in a verdict")
	if f.Trend != nil {
		say(p.worse, len(f.Trend.Worse), "control fails on more images than before", "controls fail on more images than before")
	}
	return out
}

// verdict says the fleet in one line.
func (f *Fleet) verdict() string {
	return fmt.Sprintf("images: %d, of which %d fail; kinds: %d; controls: %d; verdicts: %d proven, %d failed, %d could not be judged, %d waived",
		len(f.Images), f.failing(), len(f.Kinds), len(f.Controls), f.Summary[benchmark.Pass], f.Summary[benchmark.Fail], f.Summary[benchmark.Error],
		f.Summary[benchmark.Waived])
}
