package benchmark

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// minor is a K3s release line, such as 1.25.
type minor struct{ major, minor int }

var minorPattern = regexp.MustCompile(`^v?(\d{1,3})\.(\d{1,3})$`)

func parseMinor(s string) (minor, error) {
	m := minorPattern.FindStringSubmatch(s)
	if m == nil {
		return minor{}, fmt.Errorf("%q is not a K3s release line such as 1.25", s)
	}
	major, _ := strconv.Atoi(m[1]) // the pattern admits only short digit runs
	line, _ := strconv.Atoi(m[2])
	return minor{major, line}, nil
}

func (m minor) String() string { return fmt.Sprintf("v%d.%d", m.major, m.minor) }

// reachedBy says whether r belongs to the line or a newer one.
func (m minor) reachedBy(r k3s.Release) bool { return r.AtLeast(m.major, m.minor) }

// patch is one patch release of a line, such as 1.26.7.
type patch struct {
	minor
	patch int
}

var patchPattern = regexp.MustCompile(`^v?(\d{1,3}\.\d{1,3})\.(\d{1,3})$`)

func parsePatch(s string) (patch, error) {
	m := patchPattern.FindStringSubmatch(s)
	if m == nil {
		return patch{}, fmt.Errorf("%q is not a release such as 1.26.7", s)
	}
	line, err := parseMinor(m[1])
	n, _ := strconv.Atoi(m[2])
	return patch{line, n}, err
}

// before says whether r came before a change that first appeared in the given
// patch releases, oldest line first: older lines never had it, newer ones
// always.
func before(r k3s.Release, since []patch) bool {
	for _, p := range since {
		if !p.reachedBy(r) {
			return true
		}
		if r.Major == p.major && r.Minor == p.minor.minor {
			return r.Patch < p.patch
		}
	}
	return false
}
