package kube

import (
	"cmp"
	_ "embed" // plugins.tsv
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
)

// The admission plugins that this package knows more of than their names.
const (
	podSecurityPlugin      = "PodSecurity"
	eventRateLimitPlugin   = "EventRateLimit"
	alwaysPullImagesPlugin = "AlwaysPullImages"
)

// span is the minors of Kubernetes 1 that have something: from since, up to
// and without until. 0 stands for "before v1.20" and "still there in the newest".
type span struct{ since, until int }

// oldestTable is the minor of Kubernetes 1 that the tables begin with.
const oldestTable = 20

// spanOf reads the two columns of a table that say a span.
func spanOf(since, until string) span {
	var s span
	s.since, _ = strconv.Atoi(since) // empty is 0
	s.until, _ = strconv.Atoi(until)
	return s
}

// tableRows gives the columns of each row of an embedded table.
func tableRows(table string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for row := range strings.Lines(table) {
			if !strings.HasPrefix(row, "#") && !yield(strings.Split(strings.TrimSuffix(row, "\n"), "\t")) {
				return
			}
		}
	}
}

// missing says why release r does not have what has this span, or "".
func (s span) missing(r k3s.Release) string {
	switch {
	case s.until > 0 && r.AtLeast(1, s.until):
		return fmt.Sprintf("Kubernetes v1.%d removed it, and this is %s", s.until, r.MinorName())
	case s.since > 0 && !r.AtLeast(1, s.since):
		return fmt.Sprintf("it came with Kubernetes v1.%d, and this is %s", s.since, r.MinorName())
	}
	return ""
}

// newer says whether r is newer than what this package knows.
func newer(r k3s.Release) bool { return r.AtLeast(1, k3s.NewestMinor+1) }

// pluginTable lists the admission plugins of kube-apiserver v1.20 and newer
// (pkg/kubeapiserver/options/plugins.go); tools/kube-tables makes it.
//
//go:embed plugins.tsv
var pluginTable string

// plugins holds pluginTable by name.
var plugins = sync.OnceValue(func() map[string]span {
	out := map[string]span{}
	for column := range tableRows(pluginTable) {
		out[column[0]] = spanOf(column[1], column[2])
	}
	return out
})

// pluginAdvice says what to do without a plugin that was removed.
var pluginAdvice = map[string]string{
	"PodSecurityPolicy":   "take it out, Pod Security Admission stands in its place",
	"SecurityContextDeny": "take it out, Pod Security Admission stands in its place",
}

// lackingPlugin says why the API server of release r has no admission plugin of
// this name, and what would be right; "" when it has. known is false when the
// release is newer than this package and the plugin may have come with it.
func lackingPlugin(r k3s.Release, name string) (why string, known bool) {
	s, listed := plugins()[name]
	if !listed {
		if newer(r) {
			return fmt.Sprintf("plugin %q is unknown up to Kubernetes v1.%d, and what %s has is not known here", word(name), k3s.NewestMinor, r.MinorName()), false
		}
		advice := "take it out"
		if near := nearest(strings.TrimSpace(name), plugins(), func(_ string, s span) bool { return s.missing(r) == "" }); near != "" {
			advice = "write " + near
		}
		return fmt.Sprintf("plugin %q is unknown; %s", word(name), advice), true
	}
	if missing := s.missing(r); missing != "" {
		return fmt.Sprintf("plugin %q is unknown: %s; %s", name, missing, cmp.Or(pluginAdvice[name], "take it out")), true
	}
	return "", true
}
