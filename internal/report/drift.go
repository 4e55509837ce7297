package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// Drift is what changed between two reports, control by control. A control is
// the same in both when its key is, so that reports by different benchmark
// releases can be compared.
type Drift struct {
	// Subject lists what else differs and may explain the rest: the K3s
	// release, the role, the datastore, the benchmark.
	Subject []string
	// Regressions are controls that are further from proven than before. One
	// that was proven and is no longer judged is a regression too, if both
	// reports are about the same benchmark, role and datastore.
	Regressions []Change
	// Improvements are controls that are nearer to proven than before.
	Improvements []Change
	// Others changed without being nearer or further.
	Others []Change
	// New are controls that only the later report has, Gone those that only
	// the earlier one has.
	New, Gone []Change
}

// Change is a control whose verdict differs between two reports.
type Change struct {
	// Result is the later report's, or the earlier's if the control is gone.
	Result benchmark.Result
	// From and To are the verdicts; empty where the report lacks the control.
	From, To benchmark.Status
}

// distance is how far a verdict is from proven. Failing and not being able to
// tell are equally far: neither lets an image be made.
var distance = map[benchmark.Status]int{
	benchmark.Pass:          0,
	benchmark.NotApplicable: 0,
	benchmark.Deferred:      1,
	benchmark.Manual:        1,
	benchmark.Waived:        2,
	benchmark.Error:         3,
	benchmark.Fail:          3,
}

// Compare returns what changed from the earlier to the later report, in the
// order of the later.
func Compare(earlier, later Report) Drift {
	var d Drift
	d.Subject = differences(earlier, later)
	same := earlier.Benchmark == later.Benchmark && earlier.Role == later.Role &&
		earlier.Node.Datastore == later.Node.Datastore
	before := byKey(earlier)
	for _, res := range later.Results {
		old, ok := before[res.Key]
		if !ok {
			d.New = append(d.New, Change{Result: res, To: res.Status})
			continue
		}
		c := Change{Result: res, From: old.Status, To: res.Status}
		switch {
		case c.From == c.To:
		case distance[c.To] > distance[c.From]:
			d.Regressions = append(d.Regressions, c)
		case distance[c.To] < distance[c.From]:
			d.Improvements = append(d.Improvements, c)
		default:
			d.Others = append(d.Others, c)
		}
	}
	after := byKey(later)
	for _, res := range earlier.Results {
		if _, ok := after[res.Key]; ok {
			continue
		}
		c := Change{Result: res, From: res.Status}
		if same && res.Status == benchmark.Pass {
			d.Regressions = append(d.Regressions, c)
		} else {
			d.Gone = append(d.Gone, c)
		}
	}
	return d
}

func byKey(r Report) map[string]benchmark.Result {
	out := make(map[string]benchmark.Result, len(r.Results))
	for _, res := range r.Results {
		out[res.Key] = res
	}
	return out
}

// differences lists what differs in what two reports are about.
func differences(earlier, later Report) []string {
	var out []string
	for _, f := range []struct{ name, from, to string }{
		{"K3s", earlier.K3sVersion, later.K3sVersion},
		{"role", earlier.Role, later.Role},
		{"datastore", earlier.Node.Datastore, later.Node.Datastore},
		{"benchmark", earlier.Benchmark, later.Benchmark},
		{"plugin", earlier.PluginVersion, later.PluginVersion},
	} {
		if f.from != f.to {
			out = append(out, fmt.Sprintf("%s: %s before, %s now", f.name, orNone(f.from), orNone(f.to)))
		}
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Regressed reports whether any control is further from proven than before.
func (d Drift) Regressed() bool { return len(d.Regressions) > 0 }

// Log returns the drift as a block for the Packer log, wrapped, without
// colours. The last line counts what changed.
func (d Drift) Log() string {
	var b strings.Builder
	for _, s := range d.Subject {
		writeWrapped(&b, "", s, 2)
	}
	for _, g := range []struct {
		head    string
		changes []Change
	}{
		{"WORSE   ", d.Regressions},
		{"better  ", d.Improvements},
		{"changed ", d.Others},
		{"new     ", d.New},
		{"gone    ", d.Gone},
	} {
		for _, c := range g.changes {
			writeWrapped(&b, g.head, c.String(), len(g.head))
		}
	}
	b.WriteString("drift: " + d.counts() + "\n")
	return b.String()
}

// DriftRecord is what a report says of how it differs from an earlier one.
type DriftRecord struct {
	// Since is when the earlier report was made.
	Since time.Time `json:"since"`
	// Subject lists what else differs, see Drift.
	Subject []string      `json:"subject"`
	Changes []DriftChange `json:"changes"`
}

// DriftChange is one control in a DriftRecord.
type DriftChange struct {
	// Kind is worse, better, changed, new or gone.
	Kind  string `json:"kind"`
	ID    string `json:"id"`
	Key   string `json:"key"`
	Title string `json:"title"`
	// From and To are the verdicts; empty where the report lacks the control.
	From benchmark.Status `json:"from,omitempty"`
	To   benchmark.Status `json:"to,omitempty"`
}

// heading is the control's number and title.
func (c DriftChange) heading() string {
	return heading(benchmark.Result{ID: c.ID, Key: c.Key, Title: c.Title})
}

// Record makes the drift since the earlier report a part of a report.
func (d Drift) Record(earlier Report) *DriftRecord {
	out := &DriftRecord{Since: earlier.Created, Subject: d.Subject, Changes: []DriftChange{}}
	if out.Subject == nil {
		out.Subject = []string{}
	}
	for _, g := range []struct {
		kind    string
		changes []Change
	}{
		{"worse", d.Regressions}, {"better", d.Improvements}, {"changed", d.Others}, {"new", d.New}, {"gone", d.Gone},
	} {
		for _, c := range g.changes {
			out.Changes = append(out.Changes, DriftChange{g.kind, c.Result.ID, c.Result.Key, c.Result.Title, c.From, c.To})
		}
	}
	return out.clean()
}

// String says a change in one line.
func (c Change) String() string {
	s := fmt.Sprintf("%s: %s before, %s now", heading(c.Result), orAbsent(c.From), orAbsent(c.To))
	if c.To != "" && c.Result.Found != "" {
		s += "; found " + c.Result.Found
	}
	if p := places(c.Result.Evidence); c.To != "" && p != "" {
		s += " (" + p + ")"
	}
	return s
}

// orAbsent names a verdict, or says that there is none.
func orAbsent(s benchmark.Status) string {
	if s == "" {
		return "not judged"
	}
	return words[s]
}

// counts says how much changed.
func (d Drift) counts() string {
	var parts []string
	for _, g := range []struct {
		n    int
		word string
	}{
		{len(d.Regressions), "worse"},
		{len(d.Improvements), "better"},
		{len(d.Others), "changed"},
		{len(d.New), "new"},
		{len(d.Gone), "gone"},
	} {
		if g.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", g.n, g.word))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}
