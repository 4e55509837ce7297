package k3s

import (
	"cmp"
	"slices"
	"strings"

	"github.com/k3s-cis/packer-plugin-k3s/internal/service"
)

// nameSpecifiers are the specifiers of systemd's whose values fit wherever Kubernetes wants a
// name or the value of a label: host name and its first part, IDs of the machine and
// of the boot, architecture (systemd.unit(5)).
var nameSpecifiers = []string{"%H", "%l", "%m", "%b", "%a"}

// openKeys are keys that may hold such a name of which only the running machine knows
// the value: K3s starts with any, and nothing that is judged rests on it.
var openKeys = []string{
	"node-name", "node-label", "node-taint", "node-internal-dns", "node-external-dns", "tls-san", "log", "vmodule",
	"etcd-snapshot-name", "etcd-s3-bucket", "etcd-s3-folder",
}

// openArguments are flags of components likewise.
var openArguments = map[Component][]string{
	APIServer: {"external-hostname"},
	Kubelet:   {"hostname-override", "node-labels", "provider-id"},
	KubeProxy: {"hostname-override"},
}

// openVariables are variables beside those of keys that decide what K3s reads.
var openVariables = []string{"K3S_CONFIG_FILE", "HOME", "PATH"}

// mayBeOpen says whether the value of a key may hold a specifier that only the running
// machine knows.
func mayBeOpen(key Key, v Value) bool {
	if !slices.Contains(nameSpecifiers, v.Open) {
		return false
	}
	if slices.Contains(openKeys, key.Name) {
		return true
	}
	flag, _, _ := strings.Cut(strings.TrimPrefix(v.Text, "--"), "=")
	flag = strings.ReplaceAll(strings.TrimRight(flag, "+-"), "_", "-")
	for component, of := range argumentKeys {
		if of == key.Name {
			return slices.Contains(openArguments[component], flag)
		}
	}
	return false
}

// open reports a value that matters and that only the running machine knows.
func (r *resolver) open(o Origin, specifier string) {
	r.problem(Unreadable, o, "%s", service.Undetermined(specifier))
}

// openCommand reports words up to K3s's own command that only the running machine
// knows, and says whether there are any.
func (r *resolver) openCommand(words []service.Word) bool {
	for _, w := range words {
		if w.Open != "" {
			r.open(Origin{Source: w.Path, Line: w.Line}, w.Open)
			return true
		}
		if w.Text == string(Server) || w.Text == string(Agent) {
			break
		}
	}
	return false
}

// openEnvironment reports variables with such values that K3s reads beside those of
// its keys.
func (r *resolver) openEnvironment(all []service.Variable) {
	for _, v := range all {
		if _, ofKey := variableIndex[v.Name]; v.Open != "" && (slices.Contains(openVariables, v.Name) || !ofKey && strings.HasPrefix(v.Name, "K3S_")) {
			r.open(Origin{Source: v.Path, Line: v.Line}, v.Open)
		}
	}
}

// StandIn is a text with something of the kind in the place of each specifier whose
// value only the running machine knows; one without such a specifier is as it is.
func StandIn(text, open string) string {
	if open == "" {
		return text
	}
	for _, specifier := range nameSpecifiers {
		text = strings.ReplaceAll(text, specifier, "x")
	}
	return text
}

// OpenAt names the first specifier in arguments whose value only the running machine
// knows; "" where all is known.
func OpenAt(args []Argument) string {
	out := ""
	for _, a := range args {
		out = cmp.Or(out, a.Open)
	}
	return out
}
