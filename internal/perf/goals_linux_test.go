package perf

import "strings"

// goals compares what was measured with what is aimed at.
func (r results) goals() []goal {
	mine, bare := r.find(ours), r.find(sshBytes)
	channels := 0
	for _, l := range append(append([]row{}, r.Ways...), r.Growth...) {
		if strings.HasPrefix(l.Way, ours) {
			channels = max(channels, l.Channels)
		}
	}
	list := []goal{
		atMost("what ours adds at 50 ms, in what one ssh command with the same bytes adds", mine.Adds/bare.Adds, 2.0),
		atMost("SSH channels that ours opens, however many files", float64(channels), 1),
	}
	if n := len(r.Growth); n > 1 {
		few, many := r.Growth[0], r.Growth[n-1]
		// More bytes need acknowledgements, which the count cannot tell
		// from waiting.
		list = append(list, atMost("round trips that 990 files more add, acknowledgements included", float64(many.RoundTrips-few.RoundTrips), 2))
	}
	named := map[string]speed{}
	for _, s := range r.CheckPass {
		named[s.Name] = s
	}
	return append(list,
		atMost("milliseconds to evaluate the full catalogue", named["Evaluate"].MS, 100),
		atMost("milliseconds to collect and judge a whole mounted root", named["MountedRoot"].MS, 300),
		atMost("cost of 10,000 manifests, in that of 1,000 (linear is 10)", named["Manifests/10000"].MS/named["Manifests/1000"].MS, 12),
	)
}
