package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// Where a control comes from. CIS numbers its own; the plugin's checks of the
// image and the user's controls have only a key.
const (
	fromCIS   = "cis"
	fromImage = "image"
	fromOwn   = "own"
)

// The plugin's own controls of the image stand in the section node or in one
// below it; see package benchmark.
const (
	imageSection   = "node"
	hygieneSection = "node.hygiene"
)

// from says whose control res is about.
func from(res benchmark.Result) string {
	switch {
	case res.ID != res.Key:
		return fromCIS
	case res.Section == imageSection || strings.HasPrefix(res.Section, imageSection+"."):
		return fromImage
	default:
		return fromOwn
	}
}

// section is a part of a report: a benchmark section, the image's hygiene or
// the user's own controls.
type section struct {
	// ID is the benchmark's number, such as "1.2", or fromImage, hygiene or
	// fromOwn.
	ID      string
	Title   string
	Results []benchmark.Result
	Summary map[benchmark.Status]int
}

// hygiene is the section of what an image must not carry.
const hygiene = fromImage + ".hygiene"

// numbered reports whether the benchmark numbers the section.
func (s section) numbered() bool { return from(s.Results[0]) == fromCIS }

// chapters are the titles of the benchmark's chapters and sections, in own
// words. CIS renumbered "General policies" from 5.7 to 5.6 with release 1.11.
var chapters = map[string]string{
	"1":       "Control plane",
	"1.1":     "Control plane files",
	"1.2":     "API server",
	"1.3":     "Controller manager",
	"1.4":     "Scheduler",
	"2":       "etcd",
	"3":       "Control plane configuration",
	"3.1":     "Authentication and authorization",
	"3.2":     "Logging",
	"4":       "Worker node",
	"4.1":     "Worker node files",
	"4.2":     "Kubelet",
	"4.3":     "kube-proxy",
	"5":       "Policies",
	"5.1":     "RBAC and service accounts",
	"5.2":     "Pod security",
	"5.3":     "Network policies",
	"5.4":     "Secrets",
	"5.5":     "Admission control",
	"5.6":     "General policies",
	"5.7":     "General policies",
	fromImage: "Image",
	hygiene:   "Image hygiene",
	fromOwn:   "Own controls",
}

// sectionID is the section that res stands in.
func sectionID(res benchmark.Result) string {
	if f := from(res); f != fromCIS {
		if res.Section == hygieneSection {
			return hygiene
		}
		return f
	}
	if res.Section != "" {
		return res.Section
	}
	if i := strings.LastIndexByte(res.ID, '.'); i > 0 {
		return res.ID[:i]
	}
	return res.ID
}

// sections returns the results by section: the benchmark's in its order, then
// the image's, then the user's own.
func (r Report) sections() []section {
	var out []section
	index := map[string]int{}
	at, size := make([]int, len(r.Results)), []int{}
	for n, res := range r.Results {
		id := sectionID(res)
		i, ok := index[id]
		if !ok {
			i = len(out)
			index[id] = i
			title := chapters[id]
			if title == "" {
				title = "Section " + id
			}
			out, size = append(out, section{ID: id, Title: title}), append(size, 0)
		}
		at[n] = i
		size[i]++
	}
	// All sections share one array: results are large, and to make room for
	// them again and again costs more than to look at them twice.
	all := make([]benchmark.Result, len(r.Results))
	for i := range out {
		out[i].Results, all = all[:0:size[i]], all[size[i]:]
	}
	for n, i := range at {
		out[i].Results = append(out[i].Results, r.Results[n])
	}
	for i := range out {
		out[i].Summary = count(out[i].Results)
	}
	slices.SortStableFunc(out, func(a, b section) int { return compareSections(a.ID, b.ID) })
	return out
}

// rank puts the sections that have a name behind those that have a number.
var rank = map[string]int{fromImage: 1, hygiene: 2, fromOwn: 3}

// compareSections orders "1.10" after "1.9", and names after numbers.
func compareSections(a, b string) int {
	if c := cmp.Compare(rank[a], rank[b]); c != 0 {
		return c
	}
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; i < len(as) && i < len(bs); i++ {
		an, _ := strconv.Atoi(as[i])
		bn, _ := strconv.Atoi(bs[i])
		if c := cmp.Or(cmp.Compare(an, bn), cmp.Compare(as[i], bs[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(as), len(bs))
}
