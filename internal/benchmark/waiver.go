package benchmark

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// expired says whether the last day of a waiver is over.
func (w Waiver) expired(now time.Time) bool {
	return !now.Before(w.Expires.Truncate(24 * time.Hour).Add(24 * time.Hour))
}

// covers says whether w speaks of a control, by its id or its key.
func (w Waiver) covers(id, key string) bool { return w.Control == id || w.Control == key }

// in says whether w holds for a role and a build, which a waiver may name with
// or without the builder's type.
func (w Waiver) in(role k3s.Role, build string) bool {
	_, name, _ := strings.Cut(build, ".")
	return (w.Role == "" || slices.Contains(role.Roles(), k3s.Role(w.Role))) && (w.Build == "" || w.Build == build || w.Build == name)
}

// complete says whether w names a reason and an owner.
func (w Waiver) complete() bool {
	return strings.TrimSpace(w.Reason) != "" && strings.TrimSpace(w.Owner) != ""
}

// applyWaiver turns a failed result into a waived one where a waiver holds.
func applyWaiver(r *Result, in Input) {
	if r.Status != Fail {
		return
	}
	for _, w := range in.Waivers {
		if w.covers(r.ID, r.Key) && w.in(in.Role, in.Build) && w.complete() && !w.expired(in.Now) {
			r.Status, r.Waiver = Waived, &w
			r.Reason = oneLine(fmt.Sprintf("waived by %s until %s: %s", w.Owner, w.Expires.Format(time.DateOnly), w.Reason))
			return
		}
	}
}

// Any stands for a benchmark that is not known yet.
const Any = ""

// everyControl are the controls of all benchmarks.
func everyControl() []Control {
	var out []Control
	for _, c := range catalogue() {
		out = append(out, c.control)
	}
	return out
}

// CheckWaivers returns what is wrong with waivers before any node was seen:
// an unknown control, a duplicate, an expired one, no reason or owner, a role
// that K3s does not have.
func CheckWaivers(ws []Waiver, benchmark string, role k3s.Role, own []Control, now time.Time) []error {
	if len(ws) == 0 {
		return nil // without reading the catalogue
	}
	controls := append(controlsOf(benchmark), own...)
	if benchmark == Any {
		controls = slices.Concat(everyControl(), own)
	}
	var errs []error
	seen := map[Waiver]bool{}
	for _, w := range ws {
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("waiver %q: %s", w.Control, fmt.Sprintf(format, args...)))
		}
		i := slices.IndexFunc(controls, func(c Control) bool {
			return w.Control == c.Key || benchmark != Any && w.Control == c.ID(benchmark) || benchmark == Any && slices.Contains(slices.Collect(maps.Values(c.ids)), w.Control)
		})
		switch {
		case strings.TrimSpace(w.Control) == "":
			fail("control is missing: give a control's id or key")
		case i < 0 && benchmark == Any:
			fail("no benchmark has a control of that id or key")
		case i < 0:
			fail("%s has no control of that id or key", benchmark)
		default:
			scope := Waiver{Control: controls[i].Key, Role: w.Role, Build: w.Build}
			if seen[scope] {
				fail("there is a second waiver for the same control and scope")
			}
			seen[scope] = true
			if w.in(role, w.Build) && !slices.ContainsFunc(role.Roles(), func(r k3s.Role) bool { return slices.Contains(controls[i].roles, r) }) {
				fail("the control is not one of the role %s", role)
			}
		}
		if strings.TrimSpace(w.Reason) == "" {
			fail("reason is missing: say why the failure is accepted")
		}
		if strings.TrimSpace(w.Owner) == "" {
			fail("owner is missing: say who accepts the failure")
		}
		if w.Role != "" && w.Role != string(k3s.Server) && w.Role != string(k3s.Agent) {
			fail("role is %q: use server or agent, or leave it out", w.Role)
		}
		switch {
		case w.Expires.IsZero():
			fail("expires is missing: give the last day on which the waiver holds")
		case w.expired(now):
			fail("it expired on %s: remediate the control or renew the waiver", w.Expires.Format(time.DateOnly))
		}
	}
	return errs
}

// Elsewhere returns the waivers that are for another role or build.
func Elsewhere(ws []Waiver, role k3s.Role, build string) []Waiver {
	return slices.DeleteFunc(slices.Clone(ws), func(w Waiver) bool { return w.in(role, build) })
}

// UnneededWaivers returns the waivers for a role and a build that no failed
// control needed.
func UnneededWaivers(results []Result, ws []Waiver, role k3s.Role, build string) []Waiver {
	var out []Waiver
	for _, w := range ws {
		if w.in(role, build) && !slices.ContainsFunc(results, func(r Result) bool { return r.Waiver != nil && *r.Waiver == w }) {
			out = append(out, w)
		}
	}
	return out
}
