package benchmark

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// lasting says of a pass whether it holds whatever configuration file the first
// boot writes, or with which key, and flag of a component, that could take it
// back.
func (x *examination) lasting(v *verdict, key, flag string, outlasts bool) {
	if !x.in.ConfigToCome || v.status != Pass {
		return
	}
	file := path.Base(x.in.Effective.ConfigFile)
	in := ""
	if flag != "" {
		in = flag + " in "
	}
	known, _ := k3s.FindKey(key)
	switch {
	case !outlasts:
		v.revocable, v.reason = true, fmt.Sprintf("a %s written at first boot could take it back, with %s%s", file, in, key)
	case len(known.Aliases) > 0:
		// K3s merges the two names apart and takes that last which it met last.
		v.revocable, v.reason = true, fmt.Sprintf("a %s written at first boot could take it back, with %s%s, another name of %s, behind that key", file, in, strings.Join(known.Aliases, " or "), key)
	default:
		v.reason = fmt.Sprintf("holds whatever %s is written at first boot: K3s reads %s behind it", file, v.evidence[len(v.evidence)-1].Source)
	}
}

// outlasts says whether the values of a flag meet the condition whatever a
// configuration file to come says of it.
func (a argument) outlasts(x *examination, from []k3s.Argument) bool {
	e := x.in.Effective
	if a.moved != nil { // which another file could do, whatever the flag says
		return false
	}
	behind := slices.DeleteFunc(slices.Clone(from), func(f k3s.Argument) bool { return !e.BehindConfigFile(f.Origin) })
	if !k3s.JoinsValues(a.program, a.flag) {
		return len(from) > 0 && len(behind) > 0 && from[len(from)-1] == behind[len(behind)-1]
	}
	var values []string
	for _, f := range behind {
		values = append(values, f.Value)
	}
	more := a.predicate.name == "contains" || a.predicate.name == "contains_any" || a.predicate.name == "present"
	return more && len(behind) > 0 && a.predicate.holds(x.in.Benchmark, strings.Join(values, ","))
}

// View is one of several ways to look at the same node: as one of its roles, or
// with another configuration file.
type View struct {
	// Name says in a few words what is special about it; "" for nothing.
	Name    string
	Results []Result
}

// worst orders statuses by which of several views decides.
var worst = []Status{Fail, Error, Waived, Manual, Deferred, Pass, NotApplicable}

// Combine makes one list of results of several views of a node, all of the same
// controls: each gets the worst of its verdicts, those views left out to which
// it does not apply, and says which view that is where the others differ.
func Combine(views []View) []Result {
	if len(views) == 1 {
		return views[0].Results
	}
	out := make([]Result, len(views[0].Results))
	for i := range out {
		var of []View
		for _, v := range views {
			if r := v.Results[i]; r.Status != NotApplicable {
				of = append(of, View{v.Name, []Result{r}})
			}
		}
		out[i] = views[0].Results[i]
		if len(of) > 0 {
			out[i] = combineViews(of)
		}
	}
	return out
}

// combineViews makes one result of one control's result in each of the views.
func combineViews(views []View) Result {
	deciding := slices.MinFunc(views, func(a, b View) int {
		return slices.Index(worst, a.Results[0].Status) - slices.Index(worst, b.Results[0].Status)
	}).Results[0].Status
	var found, reasons []string
	var out Result
	alike := !slices.ContainsFunc(views, func(v View) bool {
		return v.Results[0].Status != deciding || v.Results[0].Found != views[0].Results[0].Found
	})
	for _, v := range views {
		r := v.Results[0]
		if r.Status != deciding {
			continue
		}
		evidence, revocable := append(out.Evidence, r.Evidence...), out.revocable || r.revocable
		if len(found) == 0 {
			out = r
		}
		out.Evidence, out.revocable = evidence, revocable
		said := r.Found
		if !alike && v.Name != "" {
			said = v.Name + ": " + r.Found
		}
		if !slices.Contains(found, said) {
			found = append(found, said)
		}
		if r.Reason != "" && !slices.Contains(reasons, r.Reason) {
			reasons = append(reasons, r.Reason)
		}
	}
	out.Found, out.Reason, out.Evidence = oneLine(strings.Join(found, "; ")), oneLine(strings.Join(reasons, "; ")), limited(out.Evidence)
	return out
}
