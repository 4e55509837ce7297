package report

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// fact is one thing that a report says of what was judged and by what.
type fact struct {
	// name is for programs, label for people.
	name, label, value string
}

// facts say what was judged and by what, without what is not known. Options are
// apart, see options.
func (r Report) facts() []fact {
	all := []fact{
		{"k3s_version", "K3s", r.K3sVersion},
		{"role", "Role", Roles(r.Role)},
		{"datastore", "Datastore", r.Node.Datastore},
		{"benchmark", "Benchmark", r.Benchmark},
		{"benchmark_name", "Benchmark's name", r.BenchmarkName},
		{"levels", "Levels", r.levels()},
		{"build", "Packer build", r.Node.Build},
		{"image", "Image", r.Node.Image},
		{"os", "System", r.Node.OS},
		{"kernels", "Kernel", strings.Join(r.Node.Kernels, ", ")},
		{"architecture", "Architecture", r.Node.Architecture},
		{"base", "Base", r.Node.Base},
		{"base_digest", "Base's digest", r.Node.BaseDigest},
		{"commit", "Source's commit", r.Node.Commit},
		{"run", "Packer run", r.Node.Run},
		{"access", "Read through", r.Node.Access},
		{"created", "Judged", r.Created.Format(time.RFC3339)},
		{"plugin_version", "Plugin", r.PluginVersion},
		{"plugin_digest", "Plugin's SHA-256", r.Judge.PluginDigest},
		{"catalogue_digest", "Catalogue's SHA-256", r.Judge.CatalogueDigest},
	}
	return slices.DeleteFunc(all, func(f fact) bool { return f.value == "" })
}

// warnings are the report's, for formats that list facts.
func (r Report) warnings() []fact {
	var out []fact
	for _, w := range r.Warnings {
		out = append(out, fact{"warning", "Warning", w})
	}
	return out
}

// options are the options as they were given, by name.
func (r Report) options() []fact {
	var out []fact
	for _, name := range slices.Sorted(maps.Keys(r.Judge.Options)) {
		out = append(out, fact{"option." + name, name, r.Judge.Options[name]})
	}
	return out
}

// levels counts the benchmark's controls by the level of CIS's profiles.
func (r Report) levels() string {
	n := map[int]int{}
	for _, res := range r.Results {
		if from(res) == fromCIS {
			n[res.Level]++
		}
	}
	var parts []string
	for _, l := range []int{1, 2, 0} {
		if n[l] > 0 {
			parts = append(parts, strconv.Itoa(n[l])+" of "+levelName(l))
		}
	}
	return strings.Join(parts, ", ")
}

// levelName says a level of CIS's profiles.
func levelName(level int) string {
	if level == 0 {
		return "unknown level"
	}
	return "level " + strconv.Itoa(level)
}

// levelOf says the level of a control that CIS numbers, "" of another.
func levelOf(res benchmark.Result) string {
	switch {
	case from(res) != fromCIS:
		return ""
	case res.Level == 0:
		return "unknown"
	}
	return strconv.Itoa(res.Level)
}

// labelOf names the verdict on a control on its own.
func labelOf(res benchmark.Result) string {
	if res.Attestation != nil {
		return strings.ToUpper(benchmark.Attested[:1]) + benchmark.Attested[1:]
	}
	return labels[res.Status]
}

// attested returns the results that a person attests, in order.
func (r Report) attested() []benchmark.Result {
	return slices.DeleteFunc(r.with(benchmark.Manual), func(res benchmark.Result) bool { return res.Attestation == nil })
}

// scope says for which nodes alone a waiver holds; "" for all.
func scope(w *benchmark.Waiver) string {
	var parts []string
	if w.Role != "" {
		parts = append(parts, "role "+w.Role)
	}
	if w.Build != "" {
		parts = append(parts, "build "+w.Build)
	}
	return strings.Join(parts, ", ")
}

// identity says the warnings and the facts in one line.
func (r Report) identity() string {
	var parts []string
	for _, f := range append(r.warnings(), r.facts()...) {
		parts = append(parts, f.name+" "+f.value)
	}
	return strings.Join(parts, "; ")
}
