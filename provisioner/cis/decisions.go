package cis

import (
	"cmp"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
	"github.com/k3s-cis/packer-plugin-k3s/internal/harden"
	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/node"
	"github.com/k3s-cis/packer-plugin-k3s/internal/packerui"
)

// decided puts one line into the log that Packer shows with PACKER_LOG=1: what was
// decided, and why. Values of the node or of options are not for it, since some are
// secrets: it names paths, keys, controls and releases.
func decided(format string, args ...any) {
	if !logging() { // Packer would read every line, for nobody
		return
	}
	log.Print(packerui.Clean("[INFO] k3s-cis: " + fmt.Sprintf(format, args...)))
}

// logging says whether anybody reads that log (Packer's main.go).
func logging() bool { return os.Getenv("PACKER_LOG") != "" && os.Getenv("PACKER_LOG") != "0" }

// step returns what logs, when the step is done, how long it took.
func step(name string) (done func()) {
	start := time.Now()
	return func() { decided("step %s: %s", name, time.Since(start).Round(time.Millisecond)) }
}

// logOptions tells what the session goes by, and what each comes from.
func (s *session) logOptions(mode string, o harden.Options, installed k3s.Release) {
	why := "k3s_version"
	switch {
	case s.inputs.options.Release == (k3s.Release{}):
		why = "the K3s binary in the image"
	case installed != (k3s.Release{}):
		why += ", and the K3s binary in the image says the same"
	}
	decided("mode %s, role %s, reached by %s", mode, o.Role, s.access.name)
	decided("K3s release %s: %s", o.Release, why)
	fitting := strings.Join(benchmark.Fitting(o.Release), ", ")
	if asked := s.config.Benchmark; asked == "" || asked == "auto" {
		decided("benchmark %s: the newest of those that fit the release (%s)", o.Benchmark, fitting)
	} else {
		decided("benchmark %s: the option benchmark, one of those that fit the release (%s)", o.Benchmark, fitting)
	}
	decided("config_layout %s: the guide's keys go there", cmp.Or(string(o.Layout), string(harden.LayoutFile)))
	var given []string
	for name := range s.config.given {
		given = append(given, name)
	}
	slices.Sort(given)
	decided("options given: %s", strings.Join(given, ", "))
}

// logChange tells of each path that was planned what became of it.
func logChange(c node.Change, out *node.Outcome) {
	for _, e := range c.Write {
		switch {
		case slices.Contains(out.Hidden, e.Path):
			decided("file %s: not written, since a booted node would not see it", e.Path)
		case slices.Contains(out.Changed, e.Path):
			decided("file %s: changed", e.Path)
		default:
			decided("file %s: left, since it is as planned already", e.Path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(c.Modes)) {
		if slices.Contains(out.Changed, path) {
			decided("file %s: given mode %04o, its content stays", path, c.Modes[path])
		}
	}
	for _, path := range slices.Sorted(maps.Keys(c.Keep)) {
		decided("file %s: the original is kept as %s", path, c.Keep[path])
	}
	for _, path := range slices.Concat(c.Remove, c.RemoveAll) {
		if slices.Contains(out.Changed, path) {
			decided("file %s: removed", path)
		}
	}
	decided("applied by %s in %s", out.Way, out.Took.Round(time.Millisecond))
}

// logEffective tells what K3s will run with.
func logEffective(e *k3s.Effective, without string) {
	as := string(e.Role)
	if without != "" {
		as += " without what " + without + " says"
	}
	found := "none in the image"
	if e.Service != nil {
		found = e.Service.Path
		if e.Program != "" {
			found += ", which starts " + e.Program
		}
	}
	decided("%s: service: %s", as, found)
	if e.Wrapper != (k3s.Origin{}) {
		decided("%s: it is started by a program of its own at %s: not known what runs", as, e.Wrapper)
	}
	decided("%s: configuration file %s, data directory %s, datastore %s", as, e.ConfigFile, e.DataDir, cmp.Or(string(e.Datastore), "none"))
	for _, key := range slices.Sorted(maps.Keys(e.Settings)) {
		var from []string
		for _, v := range e.Settings[key].Values {
			if at := v.Origin.String(); !slices.Contains(from, at) {
				from = append(from, at)
			}
		}
		decided("%s: key %s from %s", as, key, strings.Join(from, ", "))
	}
	for _, p := range e.Problems {
		decided("%s: problem at %s (%s)", as, p.Origin, p.Consequence)
	}
}

// before are the verdicts on the node as it was found, by keys of controls, and nil
// where nobody would read of them.
func (s *session) before(o harden.Options, have *node.Node) map[string]benchmark.Status {
	if have == nil || !logging() {
		return nil
	}
	defer step("judging the node as it was")()
	var views []benchmark.View
	for _, role := range o.Role.Roles() {
		effective, err := k3s.ResolveDeclared(have, o.Release, role, o.K3sCommand)
		if err != nil {
			decided("the node as it was cannot be judged")
			return nil
		}
		views = append(views, benchmark.View{Name: string(role), Results: benchmark.Evaluate(benchmark.Input{
			Node: have, Effective: effective, Benchmark: o.Benchmark, Role: role, Waivers: s.inputs.waivers,
			Build: s.config.buildName(), Now: time.Now(), Own: s.inputs.controls,
		})})
	}
	out := map[string]benchmark.Status{}
	for _, r := range benchmark.Combine(views) {
		out[r.Key] = r.Status
	}
	return out
}

// logVerdicts tells every verdict with what it rests on, and which of them hardening
// has changed.
func logVerdicts(results []benchmark.Result, before map[string]benchmark.Status) {
	var changed int
	for _, r := range results {
		var on []string
		for _, e := range r.Evidence {
			at := k3s.Origin{Source: e.Source, Line: e.Line}.String()
			if !slices.Contains(on, at) {
				on = append(on, at)
			}
		}
		name := r.ID
		if r.Key != r.ID {
			name += " (" + r.Key + ")"
		}
		decided("control %s: %s, by %s", name, r.Status, cmp.Or(strings.Join(on, ", "), "no evidence"))
		if was, known := before[r.Key]; known && was != r.Status {
			changed++
			decided("control %s: was %s before this build", name, was)
		}
	}
	if before != nil {
		decided("%d of %d controls have another verdict than before this build", changed, len(results))
	}
}
