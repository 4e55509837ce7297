package safetext

import (
	"iter"
	"strings"

	"github.com/agext/levenshtein"
)

// maxEdits is how many letters a name may differ in from the one that was meant.
const maxEdits = 2

// Nearest is the one of known names that a misspelt one was most likely meant to
// be: the one with the fewest letters to change, of several the first in the
// alphabet. It is "" where more than two letters would have to change. Capitals and
// an underscore for a dash count as no change.
func Nearest(name string, known iter.Seq[string]) string {
	name = plainSpelling(name)
	best, near := maxEdits+1, ""
	for k := range known {
		spelt := plainSpelling(k)
		apart := len(name) - len(spelt) // there are at least as many edits
		if max(apart, -apart) > best {
			continue
		}
		if d := levenshtein.Distance(name, spelt, nil); d < best || d == best && near != "" && k < near {
			best, near = d, k
		}
	}
	return near
}

func plainSpelling(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }
