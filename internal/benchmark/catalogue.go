package benchmark

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

//go:embed catalogue/*.yaml
var catalogueFiles embed.FS

// benchmarkTable is the file that is not a list of controls.
const benchmarkTable = "catalogue/benchmarks.yaml"

// benchmark is one CIS release as the K3s documentation applies it.
type benchmark struct {
	name string
	// k3s are the release lines that the K3s documentation names for it.
	k3s []minor
}

// benchmarks returns the embedded table of releases, oldest first. It and the
// catalogue are parts of the program: an error in them is a bug that every test
// finds, so they panic. The table is small and apart, since validating options
// needs no more.
var benchmarks = sync.OnceValue(func() []benchmark { return embedded(readBenchmarks(catalogueFiles.ReadFile)) })

// catalogue returns the embedded controls in the order of the files.
var catalogue = sync.OnceValue(func() []located {
	return embedded(readCatalogue(catalogueFiles.ReadFile, catalogueNames(), Benchmarks()))
})

func embedded[T any](list []T, err error) []T {
	if err != nil {
		panic(fmt.Sprintf("the embedded catalogue is broken: %v", err))
	}
	return list
}

func catalogueNames() []string {
	entries, err := catalogueFiles.ReadDir("catalogue")
	if err != nil {
		panic(err) // embedded
	}
	var out []string
	for _, e := range entries {
		out = append(out, path.Join("catalogue", e.Name()))
	}
	return out
}

func readBenchmarks(read func(string) ([]byte, error)) ([]benchmark, error) {
	raw, err := read(benchmarkTable)
	if err != nil {
		return nil, err
	}
	var list []benchmark
	d := &decoder{name: benchmarkTable}
	d.each(d.document(raw), "the file", func(n *yaml.Node) {
		var b benchmark
		d.fields(n, "a benchmark", map[string]func(*yaml.Node){
			"name": func(n *yaml.Node) { b.name = d.text(n) },
			"k3s":  func(n *yaml.Node) { d.each(n, "k3s", func(n *yaml.Node) { b.k3s = append(b.k3s, *d.line(n)) }) },
		}, "name", "k3s")
		list = append(list, b)
	})
	return list, d.err()
}

// readCatalogue reads files of controls whose ids are of the named benchmarks.
func readCatalogue(read func(string) ([]byte, error), files, known []string) ([]located, error) {
	var all []located
	d := &decoder{}
	for _, f := range files {
		if f == benchmarkTable || f == levelTable {
			continue
		}
		raw, err := read(f)
		if err != nil {
			return nil, err
		}
		d.name = f
		controls := d.controls(raw, known)
		for i := range controls {
			controls[i].control.section = ownSection(controls[i].control.Key)
		}
		all = append(all, controls...)
	}
	return all, d.err()
}

// Benchmarks returns the names of the benchmark releases, oldest first.
func Benchmarks() []string {
	var out []string
	for _, b := range benchmarks() {
		out = append(out, b.name)
	}
	return out
}

// Fitting returns the names of the benchmarks that fit a K3s release, oldest
// first; none for the zero release.
func Fitting(r k3s.Release) []string {
	if r == (k3s.Release{}) {
		return nil
	}
	all := benchmarks()
	line := minor{r.Major, r.Minor}
	var fitting []string
	known := false
	for _, b := range all {
		if slices.Contains(b.k3s, line) {
			fitting = append(fitting, b.name)
		}
		known = known || slices.ContainsFunc(b.k3s, func(m minor) bool { return !r.AtLeast(m.major, m.minor+1) })
	}
	if !known { // newer than every line
		fitting = []string{all[len(all)-1].name}
	}
	return fitting
}

// Select returns the benchmark that name stands for on release r. "auto" and
// "" mean the newest that the K3s documentation has for r's release line; for
// lines newer than any it names, the newest there is. The error of a benchmark
// that does not fit names those that do.
func Select(r k3s.Release, name string) (string, error) {
	all, fitting := benchmarks(), Fitting(r)
	auto := name == "" || name == "auto"
	switch {
	case !auto && !slices.Contains(Benchmarks(), name):
		return "", fmt.Errorf("%q is not a benchmark: use auto, %s", name, strings.Join(Benchmarks(), ", "))
	case len(fitting) == 0:
		return "", fmt.Errorf("no benchmark fits K3s %s: the oldest, %s, begins with K3s %s", r, all[0].name, all[0].k3s[0])
	case auto:
		return fitting[len(fitting)-1], nil
	case !slices.Contains(fitting, name):
		return "", fmt.Errorf("%s does not fit K3s %s: use auto or %s", name, r, strings.Join(fitting, ", "))
	}
	return name, nil
}

// ordered holds, by benchmark, what puts its controls in order, once and when
// somebody asks.
var ordered = sync.OnceValue(func() map[string]func() []Control {
	out := map[string]func() []Control{}
	for _, b := range Benchmarks() {
		out[b] = sync.OnceValue(func() []Control { return order(b) })
	}
	return out
})

// controlsOf returns a benchmark's controls in its own order, then ours. Who
// asks may append to them, and changes none.
func controlsOf(benchmark string) []Control {
	if controls, known := ordered()[benchmark]; known {
		return controls()
	}
	return order(benchmark)
}

// Controls returns a benchmark's controls in its own order, then ours.
func Controls(benchmark string) []Control { return slices.Clone(controlsOf(benchmark)) }

func order(benchmark string) []Control {
	var numbered, own []Control
	for _, c := range catalogue() {
		switch {
		case c.control.ids[benchmark] != "":
			numbered = append(numbered, c.control)
		case c.control.ids == nil || c.control.always:
			own = append(own, c.control)
		}
	}
	slices.SortStableFunc(numbered, func(a, b Control) int { return compareIDs(a.ID(benchmark), b.ID(benchmark)) })
	return slices.Clip(append(numbered, own...))
}

// ownSection is the section of a control that a benchmark does not number:
// "node.hygiene" or "node".
func ownSection(key string) string {
	if strings.HasPrefix(key, "node.hygiene.") {
		return "node.hygiene"
	}
	return "node"
}

// compareIDs orders ids as the benchmark does: 1.2.9 before 1.2.10.
func compareIDs(a, b string) int {
	numbers := func(id string) []int {
		var out []int
		for part := range strings.SplitSeq(id, ".") {
			n, _ := strconv.Atoi(part) // the catalogue's test admits digits alone
			out = append(out, n)
		}
		return out
	}
	return slices.Compare(numbers(a), numbers(b))
}

// Options lists the options of the provisioner that remediations name, each
// once and sorted.
func Options() []string {
	var out []string
	for _, c := range catalogue() {
		if c.control.Option != "" {
			out = append(out, c.control.Option)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
