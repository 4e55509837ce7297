package k3s

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// Release is one K3s release, such as v1.36.3+k3s1.
type Release struct {
	Major, Minor, Patch int
	// Pre is the prerelease without its dash, such as "rc1"; usually empty.
	Pre string
	// Build is the number after "+k3s".
	Build int
}

var releasePattern = regexp.MustCompile(`^v(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:-([0-9A-Za-z.]+))?\+k3s(\d{1,3})$`)

// ParseRelease reads the form that K3s's release tags and `k3s --version`
// have: vX.Y.Z+k3sN, also with a prerelease (v1.37.0-rc1+k3s1). The error
// says what was found and what the form is.
func ParseRelease(s string) (Release, error) {
	m := releasePattern.FindStringSubmatch(s)
	if m == nil {
		return Release{}, fmt.Errorf("%q is not a K3s release: write the whole tag, such as v1.36.3+k3s1", s)
	}
	n := func(i int) int { v, _ := strconv.Atoi(m[i]); return v } // the pattern admits only short digit runs
	return Release{Major: n(1), Minor: n(2), Patch: n(3), Pre: m[4], Build: n(5)}, nil
}

// String returns the release as its tag.
func (r Release) String() string {
	pre := ""
	if r.Pre != "" {
		pre = "-" + r.Pre
	}
	return fmt.Sprintf("v%d.%d.%d%s+k3s%d", r.Major, r.Minor, r.Patch, pre, r.Build)
}

// MinorName returns the release line, such as v1.36.
func (r Release) MinorName() string { return fmt.Sprintf("v%d.%d", r.Major, r.Minor) }

// AtLeast says whether r belongs to release line major.minor or a newer one.
func (r Release) AtLeast(major, minor int) bool {
	return cmp.Or(cmp.Compare(r.Major, major), cmp.Compare(r.Minor, minor)) >= 0
}

// Role is what a K3s node runs.
type Role string

// The roles that K3s knows.
const (
	Server Role = "server"
	Agent  Role = "agent"
)

// Both is the role of an image that has the services of both, of which each of
// its nodes runs one. Nothing is resolved for it: see Roles.
const Both Role = "both"

// Roles lists the roles of K3s that r stands for.
func (r Role) Roles() []Role {
	if r == Both {
		return []Role{Server, Agent}
	}
	return []Role{r}
}
