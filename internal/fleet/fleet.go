// Package fleet puts the reports of many images beside each other: images ×
// controls, what differs between images of one kind, values that the servers of
// a cluster must share and do not, waivers by their last day, and what changed
// since an earlier look. It knows of nothing but reports.
package fleet

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/report"
)

// Fleet is what is said of many reports. Field order is the order in fleet.json;
// docs/fleet.schema.json is its schema.
type Fleet struct {
	Created       time.Time `json:"created"`
	PluginVersion string    `json:"plugin_version"`
	// Summary counts the controls of all images by verdict.
	Summary map[benchmark.Status]int `json:"summary"`
	// Unreadable are the files that are no report, which prove nothing.
	Unreadable []Unreadable `json:"unreadable"`
	// Kinds are the images by what they are made for, sorted by name.
	Kinds []Kind `json:"kinds"`
	// Mismatches are values that all servers of a cluster must share and that
	// differ among these images.
	Mismatches []Mismatch `json:"cluster_mismatches"`
	// Waivers in the order in which they end.
	Waivers []Waiver `json:"waivers"`
	// Trend is what changed since an earlier fleet.json; nil where none was given.
	Trend *Trend `json:"trend,omitempty"`
	// Controls are those of any image; Image.Verdicts are in their order.
	Controls []Control `json:"controls"`
	// Images are sorted by kind, then by where their reports lie.
	Images []Image `json:"images"`
}

// Unreadable is a file that is no report.
type Unreadable struct {
	Source string `json:"source"`
	Why    string `json:"why"`
}

// Control is a control that some image was judged by.
type Control struct {
	// Key is its stable name, ID its number in the newest benchmark among the
	// reports, or the key.
	Key   string `json:"key"`
	ID    string `json:"id"`
	Title string `json:"title"`
}

// Image is one report, without its results' texts.
type Image struct {
	// Source is where the report lies.
	Source string `json:"source"`
	// Kind is the name of its Kind.
	Kind          string    `json:"kind"`
	Created       time.Time `json:"created"`
	K3sVersion    string    `json:"k3s_version"`
	Role          string    `json:"role"`
	Benchmark     string    `json:"benchmark"`
	PluginVersion string    `json:"plugin_version"`
	report.Node
	Summary map[benchmark.Status]int `json:"summary"`
	// Verdicts has a letter for each control of the fleet, see Letters.
	Verdicts string `json:"verdicts"`

	cluster map[string]string
	waivers []Waiver
	results map[string]benchmark.Status
}

// letters stand for verdicts in Image.Verdicts; '-' for a control that the report
// does not have.
var letters = map[benchmark.Status]byte{
	benchmark.Pass: 'p', benchmark.Fail: 'f', benchmark.Error: 'e', benchmark.Waived: 'w',
	benchmark.Deferred: 'd', benchmark.Manual: 'm', benchmark.NotApplicable: 'n',
}

// absent stands in Image.Verdicts for a control that the report does not have.
const absent = '-'

// Kind is the images that are made for the same: of one Packer build, in one role.
type Kind struct {
	Name   string `json:"name"`
	Images int    `json:"images"`
	// Failing counts the images with a control that failed or could not be judged.
	Failing int `json:"failing"`
	// Facts are what else differs among them, such as the K3s release, with how
	// many images have each value.
	Facts []Difference `json:"facts"`
	// Differences are the controls whose verdict differs among them.
	Differences []Difference `json:"differences"`

	// counts are the images by control and verdict.
	counts []map[benchmark.Status]int
}

// Difference is something that images have several values of.
type Difference struct {
	// Name is a control's key or the name of a fact.
	Name   string  `json:"name"`
	Values []Value `json:"values"`
}

// Value is one value, and how many images have it.
type Value struct {
	Value  string `json:"value"`
	Images int    `json:"images"`
	// Example is where the report of one of them lies.
	Example string `json:"example"`
}

// Mismatch is a key of K3s that servers have several values of.
type Mismatch = Difference

// Waiver is a waiver and how many images it holds for.
type Waiver struct {
	Control string `json:"control"`
	ID      string `json:"id"`
	Title   string `json:"title"`
	Owner   string `json:"owner"`
	Reason  string `json:"reason"`
	// Expires is its last day, such as 2027-01-31; Days how many are left, below 0
	// for one that is over.
	Expires string `json:"expires"`
	Days    int    `json:"days"`
	Images  int    `json:"images"`
}

// kindOf names the kind of a report: its build and role.
func kindOf(r report.Report) string {
	return strings.TrimPrefix(cmp.Or(r.Node.Build, r.Node.Image)+", ", ", ") + report.Roles(r.Role)
}

// imageOf is a report without what a fleet does not show.
func imageOf(source string, r report.Report) Image {
	i := Image{
		Source: source, Kind: kindOf(r), Created: r.Created, K3sVersion: r.K3sVersion, Role: r.Role, Benchmark: r.Benchmark,
		PluginVersion: r.PluginVersion, Node: r.Node, Summary: r.Summary, cluster: r.Cluster,
		results: make(map[string]benchmark.Status, len(r.Results)),
	}
	for _, res := range r.Results {
		i.results[res.Key] = res.Status
		if w := res.Waiver; w != nil && res.Status == benchmark.Waived {
			i.waivers = append(i.waivers, Waiver{
				Control: res.Key, ID: res.ID, Title: res.Title, Owner: w.Owner, Reason: w.Reason, Expires: w.Expires.Format(time.DateOnly),
			})
		}
	}
	return i
}

// failing says whether a control of the image failed or could not be judged.
func (i Image) failing() bool { return i.Summary[benchmark.Fail]+i.Summary[benchmark.Error] > 0 }

// assemble says of images what there is to say.
func assemble(images []Image, controls []Control, unreadable []Unreadable, now time.Time, version string) *Fleet {
	f := &Fleet{
		Created: now.UTC().Truncate(time.Second), PluginVersion: version, Summary: map[benchmark.Status]int{},
		Unreadable: unreadable, Controls: controls, Images: images, Kinds: []Kind{}, Mismatches: []Mismatch{}, Waivers: []Waiver{},
	}
	slices.SortStableFunc(f.Images, func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Source, b.Source))
	})
	for _, s := range benchmark.Statuses {
		f.Summary[s] = 0
	}
	for n := range f.Images {
		i := &f.Images[n]
		line := make([]byte, len(controls))
		for c, control := range controls {
			line[c] = absent
			if s, judged := i.results[control.Key]; judged {
				line[c] = letters[s]
			}
		}
		i.Verdicts = string(line)
		for s, count := range i.Summary {
			f.Summary[s] += count
		}
	}
	for first := 0; first < len(f.Images); {
		last := first
		for last < len(f.Images) && f.Images[last].Kind == f.Images[first].Kind {
			last++
		}
		f.Kinds = append(f.Kinds, newKind(f.Images[first:last], controls))
		first = last
	}
	f.Mismatches = mismatches(f.Images)
	f.Waivers = waivers(f.Images, f.Created)
	return f
}

// newKind compares the images of one kind.
func newKind(images []Image, controls []Control) Kind {
	k := Kind{Name: images[0].Kind, Images: len(images), Facts: []Difference{}, Differences: []Difference{}}
	for _, i := range images {
		if i.failing() {
			k.Failing++
		}
	}
	for _, fact := range []struct {
		name string
		of   func(Image) string
	}{
		{"k3s_version", func(i Image) string { return i.K3sVersion }},
		{"benchmark", func(i Image) string { return i.Benchmark }},
		{"datastore", func(i Image) string { return i.Datastore }},
		{"os", func(i Image) string { return i.OS }},
		{"kernels", func(i Image) string { return strings.Join(i.Kernels, ", ") }},
		{"architecture", func(i Image) string { return i.Architecture }},
		{"plugin_version", func(i Image) string { return i.PluginVersion }},
	} {
		k.Facts = append(k.Facts, several(fact.name, images, fact.of)...)
	}
	for n, c := range controls {
		verdict := func(i Image) string { return string(statusOf(i.Verdicts[n])) }
		k.Differences = append(k.Differences, several(c.Key, images, verdict)...)
		counts := map[benchmark.Status]int{}
		for _, i := range images {
			counts[statusOf(i.Verdicts[n])]++
		}
		k.counts = append(k.counts, counts)
	}
	return k
}

// statusOf is the verdict of a letter; "" for a control that the report lacks.
func statusOf(letter byte) benchmark.Status {
	for s, l := range letters {
		if l == letter {
			return s
		}
	}
	return ""
}

// several is the difference among images in one thing, most frequent first; none
// where they all have the same.
func several(name string, images []Image, of func(Image) string) []Difference {
	d := Difference{Name: name}
	at := map[string]int{}
	for _, i := range images {
		v := of(i)
		n, known := at[v]
		if !known {
			n = len(d.Values)
			at[v] = n
			d.Values = append(d.Values, Value{Value: v, Example: i.Source})
		}
		d.Values[n].Images++
	}
	if len(d.Values) < 2 {
		return nil
	}
	slices.SortStableFunc(d.Values, func(a, b Value) int {
		return cmp.Or(cmp.Compare(b.Images, a.Images), cmp.Compare(a.Value, b.Value))
	})
	return []Difference{d}
}

// mismatches compares what all servers of a cluster must share.
func mismatches(images []Image) []Mismatch {
	keys := map[string]bool{}
	var servers []Image
	for _, i := range images {
		if len(i.cluster) > 0 {
			servers = append(servers, i)
		}
		for key := range i.cluster {
			keys[key] = true
		}
	}
	out := []Mismatch{}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		having := slices.DeleteFunc(slices.Clone(servers), func(i Image) bool {
			_, has := i.cluster[key] // a release that does not have the key shares nothing of it
			return !has
		})
		out = append(out, several(key, having, func(i Image) string { return i.cluster[key] })...)
	}
	return out
}

// waivers counts the images by waiver, in the order in which they end.
func waivers(images []Image, now time.Time) []Waiver {
	at := map[Waiver]int{}
	for _, i := range images {
		for _, w := range i.waivers {
			at[w]++
		}
	}
	out := []Waiver{}
	today := now.UTC().Truncate(24 * time.Hour)
	for w, n := range at {
		last, err := time.Parse(time.DateOnly, w.Expires)
		if err != nil {
			continue // a year beyond what people write
		}
		w.Images, w.Days = n, int(last.Sub(today).Hours()/24)
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b Waiver) int {
		return cmp.Or(cmp.Compare(a.Expires, b.Expires), report.CompareIDs(a.ID, b.ID), cmp.Compare(a.Control, b.Control),
			cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}
