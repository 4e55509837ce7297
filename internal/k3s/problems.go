package k3s

import (
	"slices"
	"strings"
)

// mustHaveValue are API server arguments that K3s itself reads and crashes on
// when they stand there without a value (pkg/cli/server/server.go,
// getArgValueFromList).
var mustHaveValue = map[string]bool{
	"tls-min-version": true, "tls-cipher-suites": true, "authorization-config": true, "authentication-config": true,
}

// fatalArgument reports an argument that crashes K3s before the component
// sees it. Flags that a component does not know are not looked at here.
func (r *resolver) fatalArgument(c Component, a Argument, given bool) {
	if c == APIServer && !given && mustHaveValue[a.Name] {
		r.problem(Fatal, a.Origin, "%s has no value, and K3s crashes on it: write %s=VALUE", a.Name, a.Name)
	}
}

// contradictions are settings that K3s refuses together with, or without,
// another one (pkg/cli/server/server.go).
var contradictions = []struct {
	key   string
	other string
	// with is true when other must not be set, false when it must be.
	with bool
	text string
}{
	{"disable-etcd", "server", false, "K3s exits: disable-etcd needs a server to join"},
	{"cluster-reset-restore-path", "cluster-reset", false, "K3s exits: cluster-reset-restore-path needs cluster-reset"},
	{"cluster-reset", "server", true, "K3s exits: cluster-reset does not go together with server"},
}

// schemes are what kine has a datastore for by the beginning of its address
// (kine's pkg/drivers); of newer releases of K3s may be more.
var schemes = []string{"sqlite", "mysql", "postgres", "postgresql", "nats", "jetstream", "dqlite", "http", "https"}

// newSchemes are those that kine got in 2026; whether a release of K3s has them is
// not known here.
var newSchemes = []string{"unix", "unixs", "litestream", "memory", "t4"}

// checkDatastore reports an address of a datastore that kine does not know, and
// settings that it makes vain (pkg/cluster/managed.go; kine, drivers.New and before
// that endpoint.ParseStorageEndpoint).
func (r *resolver) checkDatastore() {
	endpoint := r.effective.Settings[datastoreEndpoint].Values
	if len(endpoint) == 0 || endpoint[0].Text == "" || r.role != Server {
		return
	}
	text, origin := endpoint[0].Text, endpoint[0].Origin
	if r.effective.Datastore == EtcdStore { // K3s's own
		return
	}
	if r.effective.Bool("cluster-init") {
		r.problem(Ignored, r.effective.Settings["cluster-init"].Values[0].Origin, "cluster-init is not heeded, since datastore-endpoint at %s names a datastore: K3s starts no etcd; take one of them out", origin)
	}
	scheme, _, has := strings.Cut(text, "://")
	switch {
	case !has && r.release.AtLeast(1, 33):
		r.problem(Fatal, origin, "datastore-endpoint is no address such as postgres://…, and K3s exits")
	case !has:
		r.problem(Ignored, origin, "datastore-endpoint is no address such as postgres://…: by its patch release K3s exits, or passes it over and takes SQLite")
	case slices.Contains(newSchemes, scheme):
		r.problem(Unknown, origin, "whether K3s %s has a datastore for %s:// is not known: see K3s's documentation of that release", r.release, scheme)
	case !slices.Contains(schemes, scheme):
		r.problem(Fatal, origin, "K3s has no datastore for addresses as datastore-endpoint's, and exits: write one that begins with one of %s://", strings.Join(schemes, "://, "))
	}
}

// checkSchedule reports a schedule of etcd's snapshots that is none.
func (r *resolver) checkSchedule() {
	values := r.effective.Settings["etcd-snapshot-schedule-cron"].Values
	if len(values) == 0 || values[0].Text == "" || r.effective.Datastore != EtcdStore || r.effective.Bool("etcd-disable-snapshots") {
		return
	}
	if consequence, says := scheduleFault(values[0].Text); says != "" {
		r.problem(consequence, values[0].Origin, "etcd-snapshot-schedule-cron %s", says)
	}
}

// contradict reports settings that stop K3s because of one another.
func (r *resolver) contradict() {
	on := func(key string) bool {
		k, _ := FindKey(key)
		return k.Kind == Boolean && r.effective.Bool(key) || k.Kind != Boolean && r.effective.Text(key) != ""
	}
	for _, c := range contradictions {
		if on(c.key) && on(c.other) == c.with {
			r.problem(Fatal, r.effective.Settings[c.key].Values[0].Origin, "%s", c.text)
		}
	}
}
