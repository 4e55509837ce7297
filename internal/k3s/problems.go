package k3s

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
