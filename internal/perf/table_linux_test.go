package perf

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// results is what `make bench` writes to bench-results.json. Durations of ways
// are in seconds, delays in milliseconds.
type results struct {
	Created string `json:"created"`
	// CPUs and Load, the load average of the last minute before and after, say
	// how much the figures can be trusted.
	CPUs      int        `json:"cpus"`
	Load      []string   `json:"load"`
	Ways      []row      `json:"ways"`
	Growth    []row      `json:"growth"`
	Install   []row      `json:"install"`
	CheckPass []speed    `json:"check_pass"`
	Images    []imageRow `json:"images"`
	// Rehearsals are those of a first start.
	Rehearsals []rehearsalRow `json:"rehearsals"`
	Targets    []goal         `json:"targets"`
}

// row is one line of the table.
type row struct {
	Way         string `json:"way"`
	RoundTripMS int64  `json:"round_trip_ms"`
	Files       int    `json:"files"`
	// Seconds is the median of Runs; Adds is less what connecting alone takes.
	Seconds    float64   `json:"seconds"`
	Adds       float64   `json:"adds_seconds"`
	Channels   int       `json:"channels"`
	RoundTrips int       `json:"round_trips"`
	BytesIn    int64     `json:"bytes_in"`
	BytesOut   int64     `json:"bytes_out"`
	Runs       []float64 `json:"runs_seconds"`
}

// speed is one line of the check pass.
type speed struct {
	Name     string  `json:"name"`
	MS       float64 `json:"milliseconds"`
	KiB      float64 `json:"allocated_kib"`
	Allocs   int64   `json:"allocations"`
	Measured int     `json:"runs"`
}

// goal is a target and what was measured for it.
type goal struct {
	What    string  `json:"what"`
	Value   float64 `json:"value"`
	AtMost  float64 `json:"at_most,omitempty"`
	AtLeast float64 `json:"at_least,omitempty"`
	Reached bool    `json:"reached"`
}

func newRow(name string, trip time.Duration, files int, runs []sample, than sample) row {
	m := middle(runs)
	r := row{
		Way: name, RoundTripMS: trip.Milliseconds(), Files: files,
		Seconds: m.seconds, Adds: m.seconds - than.seconds, Channels: m.channels,
		RoundTrips: m.trips - than.trips, BytesIn: m.in - than.in, BytesOut: m.out - than.out,
	}
	for _, s := range runs {
		r.Runs = append(r.Runs, s.seconds)
	}
	return r
}

func atMost(what string, value, limit float64) goal {
	return goal{What: what, Value: value, AtMost: limit, Reached: value <= limit}
}

func atLeast(what string, value, limit float64) goal {
	return goal{What: what, Value: value, AtLeast: limit, Reached: value >= limit}
}

// print writes everything as one table.
func (r results) print(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := "\nround trip\tfiles\tseconds\tadds\tchannels\tround trips\tKiB in\tKiB out\t  way\n"
	fmt.Fprint(t, head)
	for _, rows := range [][]row{r.Ways, r.Growth, r.Install} {
		for i, l := range rows {
			if i > 0 && l.RoundTripMS != rows[i-1].RoundTripMS {
				fmt.Fprintln(t, "\t\t\t\t\t\t\t\t")
			}
			trips := fmt.Sprint(l.RoundTrips)
			if l.RoundTripMS == 0 {
				trips = "-"
			}
			fmt.Fprintf(t, "%d ms\t%d\t%.2f\t%.2f\t%d\t%s\t%.0f\t%.0f\t  %s\n", l.RoundTripMS, l.Files, l.Seconds, l.Adds,
				l.Channels, trips, float64(l.BytesIn)/1024, float64(l.BytesOut)/1024, l.Way)
		}
		fmt.Fprintln(t, "\t\t\t\t\t\t\t\t")
	}
	fmt.Fprint(t, "disk\tseconds\tadds\treread\tMiB\t\t\t\t  image\n")
	for _, i := range r.Images {
		reread := "-"
		if i.Reread > 0 {
			reread = fmt.Sprintf("%.2f", i.Reread)
		}
		fmt.Fprintf(t, "%d GiB\t%.2f\t%.2f\t%s\t%d\t\t\t\t  %s\n", i.GiB, i.Seconds, i.Adds, reread, i.MiB, i.Way)
	}
	fmt.Fprint(t, "\t\t\t\t\t\t\t\t\nround trip\tseconds\tadds\t\t\t\t\t\t  first start\n")
	for _, l := range r.Rehearsals {
		fmt.Fprintf(t, "%d ms\t%.2f\t%.2f\t\t\t\t\t\t  %s\n", l.RoundTripMS, l.Seconds, l.Adds, l.Where)
	}
	fmt.Fprint(t, "\t\t\t\t\t\t\t\t\n\tms\tKiB\tallocations\t\t\t\t\t  check pass\n")
	for _, s := range r.CheckPass {
		fmt.Fprintf(t, "\t%.2f\t%.0f\t%d\t\t\t\t\t  %s\n", s.MS, s.KiB, s.Allocs, s.Name)
	}
	fmt.Fprint(t, "\t\t\t\t\t\t\t\t\n\tmeasured\ttarget\t\t\t\t\t\t  target\n")
	for _, g := range r.Targets {
		limit, verdict := fmt.Sprintf("<= %g", g.AtMost), "reached"
		if g.AtLeast > 0 {
			limit = fmt.Sprintf(">= %g", g.AtLeast)
		}
		if !g.Reached {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "\t%.4g\t%s\t%s\t\t\t\t\t  %s\n", g.Value, limit, verdict, g.What)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n "), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	_, err := fmt.Fprintf(w, "%s\n\n%d CPUs, load average %s before and %s after; see internal/perf/doc.go for how to read this\n",
		strings.Join(lines, "\n"), r.CPUs, r.Load[0], r.Load[len(r.Load)-1])
	return err
}

// write puts the results into a file.
func (r results) write(name string) error {
	for _, rows := range [][]row{r.Ways, r.Growth, r.Install} {
		for i := range rows {
			rows[i].Seconds, rows[i].Adds = rounded(rows[i].Seconds), rounded(rows[i].Adds)
			for k := range rows[i].Runs {
				rows[i].Runs[k] = rounded(rows[i].Runs[k])
			}
		}
	}
	for i := range r.Images {
		r.Images[i].Seconds, r.Images[i].Adds = rounded(r.Images[i].Seconds), rounded(r.Images[i].Adds)
		r.Images[i].Reread = rounded(r.Images[i].Reread)
		for k := range r.Images[i].Runs {
			r.Images[i].Runs[k] = rounded(r.Images[i].Runs[k])
		}
	}
	for i, l := range r.Rehearsals {
		r.Rehearsals[i].Seconds, r.Rehearsals[i].Adds = rounded(l.Seconds), rounded(l.Adds)
		for k := range l.Runs {
			l.Runs[k] = rounded(l.Runs[k])
		}
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o644)
}

func rounded(seconds float64) float64 { return math.Round(seconds*1000) / 1000 }
